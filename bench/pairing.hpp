// Pairing: contenders timed in turn, so that what slows the machine for a while slows all of them.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace gramstep::bench {

/// Something whose run is timed.
struct Contender {
  std::string name;
  std::function<void()> run;
  std::function<std::int64_t()> bytes;    // that one run moves; asked for after the last
  std::function<void()> prepare = [] {};  // before every run, not timed
};

/// The bytes of a contender that always moves as many.
inline std::function<std::int64_t()> always(std::int64_t bytes) {
  return [bytes] { return bytes; };
}

/// Runs a function and returns how many seconds it took.
using Timer = std::function<double(const std::function<void()>&)>;

/// By the CPU's clock.
double time_on_cpu(const std::function<void()>& run);

/// How long contenders are timed: `most` rounds or `seconds`, but at least `least` rounds.
struct Budget {
  double seconds;
  int least;
  int most;
};

/// Times all contenders round by round, in both orders in turn. The first is the subject, whose
/// median time is the benchmark's. Counters, medians over rounds, those of the others with
/// "<name>." before:
///   seconds, bytes, GB/s
///   ratio   the time of the contender named "floor" by its own
///   times   its own time by the subject's
void compare(benchmark::State& state, const std::vector<Contender>& contenders, const Timer& timer,
             const Budget& budget);

/// Registers a benchmark; `body` calls compare() once.
void add_benchmark(const std::string& name, const std::function<void(benchmark::State&)>& body);

/// Takes "--quick" out of a program's arguments, hands the rest to Google Benchmark, and says
/// whether it was there. Ends the program where an argument is unknown.
bool initialize(int argc, char** argv);

}  // namespace gramstep::bench
