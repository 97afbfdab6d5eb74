// All benchmarks of the CPU backend: cpu_bench [--quick] [Google Benchmark's options].
#include <omp.h>

#include <fstream>
#include <limits>

#include "bench/cpu_cases.hpp"

namespace gramstep::bench {
namespace {

/// Bytes that can be had without pushing anything out, where the system says.
std::int64_t available_bytes() {
  std::ifstream lines("/proc/meminfo");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("MemAvailable:")) return std::stoll(line.substr(13)) * 1024;
  }
  return std::numeric_limits<std::int64_t>::max();
}

/// The processor's name, where the system says.
std::string cpu_model() {
  std::ifstream lines("/proc/cpuinfo");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

}  // namespace

void add_cpu_benchmark(const std::string& name, std::int64_t floats,
                       const std::function<void(benchmark::State&)>& body) {
  constexpr std::int64_t reserve = std::int64_t{512} << 20;
  add_benchmark(name, [=](benchmark::State& state) {
    const std::int64_t needed = floats * 4 + reserve, there = available_bytes();
    if (needed <= there) return body(state);
    const std::string message = "left out: needs " + std::to_string(needed >> 20) + " MiB, got " +
                                std::to_string(there >> 20) + " MiB";
    state.SkipWithError(message.c_str());
  });
}

}  // namespace gramstep::bench

int main(int argc, char** argv) {
  using namespace gramstep::bench;
  const Extent extent{.quick = initialize(argc, argv)};
  benchmark::AddCustomContext("cpu_model", cpu_model());
  benchmark::AddCustomContext("cpu_isa", std::string(gramstep::cpu_isa()));
  benchmark::AddCustomContext("threads", std::to_string(omp_get_max_threads()));
  benchmark::AddCustomContext("compiler", GRAMSTEP_BENCH_COMPILER);
  register_gram(extent);
  register_update(extent);
  register_precision(extent);
  register_matrices(extent);
  register_step(extent);
  register_weights(extent);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
