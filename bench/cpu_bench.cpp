// All benchmarks of the CPU backend: cpu_bench [--quick] [Google Benchmark's options].
#include <omp.h>

#include <fstream>
#include <string_view>

#include "bench/cases.hpp"

namespace gramstep::bench {
namespace {

/// Bytes that can be had without pushing anything out; the most there is where nobody says.
std::int64_t available_bytes() {
  std::ifstream lines("/proc/meminfo");
  for (std::string key; lines >> key;) {
    std::int64_t kibibytes = 0;
    if (key == "MemAvailable:" && lines >> kibibytes) return kibibytes * 1024;
  }
  return std::numeric_limits<std::int64_t>::max();
}

/// The processor's name as Linux tells it.
std::string cpu_model() {
  std::ifstream lines("/proc/cpuinfo");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

}  // namespace

void add_benchmark(const std::string& name, std::int64_t floats,
                   const std::function<void(benchmark::State&)>& body) {
  const auto run = [=](benchmark::State& state) {
    const std::int64_t needed = floats * 4 + (std::int64_t{1} << 28), there = available_bytes();
    if (needed <= there) return body(state);
    const std::string message = "left out: needs " + std::to_string(needed >> 20) + " MiB, got " +
                                std::to_string(there >> 20) + " MiB";
    state.SkipWithError(message.c_str());
  };
  benchmark::RegisterBenchmark(name.c_str(), run)
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMillisecond);
}

}  // namespace gramstep::bench

int main(int argc, char** argv) {
  using namespace gramstep::bench;
  Extent extent;
  if (argc > 1 && std::string_view(argv[1]) == "--quick") {
    extent.quick = true;
    argv[1] = argv[0];
    ++argv;
    --argc;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("cpu_model", cpu_model());
  benchmark::AddCustomContext("cpu_isa", std::string(gramstep::cpu_isa()));
  benchmark::AddCustomContext("threads", std::to_string(omp_get_max_threads()));
  benchmark::AddCustomContext("compiler", GRAMSTEP_BENCH_COMPILER);
  register_gram(extent);
  register_update(extent);
  register_step(extent);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
