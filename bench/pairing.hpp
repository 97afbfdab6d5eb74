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
  std::function<std::int64_t()> bytes;  // that one run moves; asked for after the runs
  std::function<void()> run;
  std::function<void()> prepare = [] {};  // before every run, not timed
};

/// The bytes of a contender that always moves as many.
inline std::function<std::int64_t()> always(std::int64_t bytes) {
  return [bytes] { return bytes; };
}

/// Runs a function and returns how many seconds it took.
using Timer = std::function<double(const std::function<void()>&)>;

/// The CPU's clock.
double time_on_cpu(const std::function<void()>& run);

/// The CPU's clock after a pause in which the threads of another run time, which spin for a while when
/// their work is done, go to sleep.
double time_on_cpu_rested(const std::function<void()>& run);

/// How long contenders are timed.
struct Budget {
  double seconds = 1.0;  // for all rounds of one benchmark
  int least = 7;         // rounds, however long they take
  int most = 1001;
};

/// Times all contenders round by round, in both orders in turn. The first is the subject, whose median
/// time is the benchmark's. Counters, each a median over rounds, of the others with "<name>." before:
///   seconds, bytes, GB/s
///   ratio   the time of the contender named "floor" by its own
///   times   its own time by the subject's
void compare(benchmark::State& state, const std::vector<Contender>& contenders,
             const Timer& timer, const Budget& budget);

}  // namespace gramstep::bench
