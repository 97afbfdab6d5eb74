// The grid of benchmarks on the CPU.
#pragma once

#include "bench/pairing.hpp"
#include "bench/subject.hpp"

namespace gramstep::bench {

/// How much is measured: everything, or a little of everything in a few seconds.
struct Extent {
  bool quick = false;

  std::vector<int> tasks() const { return quick ? std::vector{1, 3} : std::vector{1, 2, 4, 8, 16, 32}; }
  std::vector<std::int64_t> sizes() const {
    return quick ? std::vector<std::int64_t>{10'000}
                 : std::vector<std::int64_t>{10'000, 100'000, 1'000'000, large(), 100'000'000};
  }
  /// Arrays of 64 MiB, twice a usual L3.
  std::int64_t large() const { return quick ? 1 << 16 : 1 << 24; }
  Budget budget() const { return quick ? Budget{0.02, 3, 20} : Budget{}; }
};

void register_gram(const Extent& extent);
void register_update(const Extent& extent);
void register_step(const Extent& extent);

/// Registers a benchmark that `body` sets up and runs, or says that it needs more memory than there is.
void add_benchmark(const std::string& name, std::int64_t floats,
                   const std::function<void(benchmark::State&)>& body);

}  // namespace gramstep::bench
