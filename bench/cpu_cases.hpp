// The grid of benchmarks on the CPU.
#pragma once

#include "bench/memory.hpp"
#include "bench/pairing.hpp"
#include "bench/subject.hpp"

namespace gramstep::bench {

/// How much is measured: all of it, or a little of everything in a second or two.
struct Extent {
  bool quick = false;

  std::vector<int> tasks() const {
    return quick ? std::vector{1, 3} : std::vector{1, 2, 4, 8, 16, 32};
  }
  std::vector<std::int64_t> sizes() const {
    return quick ? std::vector<std::int64_t>{10'000}
                 : std::vector<std::int64_t>{10'000, 100'000, 1'000'000, large(), 100'000'000};
  }
  /// Arrays of 64 MiB.
  std::int64_t large() const { return quick ? 1 << 16 : 1 << 24; }
  /// 256 segments, and many of 1024 elements.
  std::vector<Case> segmented(int tasks) const {
    const int many = quick ? 64 : 4096;
    return {{"AdamW", tasks, large(), 256}, {"AdamW", tasks, 1024 * many, many}};
  }
  Budget budget() const { return quick ? Budget{0.01, 3, 20} : Budget{1.0, 7, 1001}; }
};

void register_gram(const Extent& extent);
void register_update(const Extent& extent);
void register_precision(const Extent& extent);
void register_matrices(const Extent& extent);
void register_step(const Extent& extent);
void register_weights(const Extent& extent);

/// Registers a benchmark that needs this many floats; it says so where there is less memory.
void add_cpu_benchmark(const std::string& name, std::int64_t floats,
                       const std::function<void(benchmark::State&)>& body);

}  // namespace gramstep::bench
