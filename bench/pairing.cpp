#include "bench/pairing.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

namespace gramstep::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Times by contender, then by round.
using Times = std::vector<std::vector<double>>;

Times time_rounds(const std::vector<Contender>& contenders, const Timer& timer,
                  const Budget& budget) {
  for (const Contender& contender : contenders) contender.run();
  Times times(contenders.size());
  const Clock::time_point begin = Clock::now();
  for (int round = 0; round < budget.most; ++round) {
    if (round >= budget.least && seconds_since(begin) > budget.seconds) break;
    for (std::size_t turn = 0; turn < contenders.size(); ++turn) {
      const std::size_t who = round % 2 == 0 ? turn : contenders.size() - 1 - turn;
      contenders[who].prepare();
      times[who].push_back(timer(contenders[who].run));
    }
  }
  return times;
}

/// The median over rounds of times a by times b.
double median_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (std::size_t round = 0; round < a.size(); ++round) ratios.push_back(a[round] / b[round]);
  return median(std::move(ratios));
}

}  // namespace

double time_on_cpu(const std::function<void()>& run) {
  const Clock::time_point begin = Clock::now();
  run();
  return seconds_since(begin);
}

double time_on_cpu_rested(const std::function<void()>& run) {
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
  // Wakes this run time's own threads.
#pragma omp parallel
  benchmark::ClobberMemory();
  return time_on_cpu(run);
}

void compare(benchmark::State& state, const std::vector<Contender>& contenders,
             const Timer& timer, const Budget& budget) {
  for (auto _ : state) {
    const Times times = time_rounds(contenders, timer, budget);
    state.SetIterationTime(median(times[0]));
    const auto floor = std::ranges::find(contenders, "floor", &Contender::name);
    for (std::size_t who = 0; who < contenders.size(); ++who) {
      const std::string prefix = who == 0 ? "" : contenders[who].name + ".";
      const double seconds = median(times[who]);
      const auto bytes = static_cast<double>(contenders[who].bytes());
      state.counters[prefix + "seconds"] = seconds;
      state.counters[prefix + "bytes"] = bytes;
      state.counters[prefix + "GB/s"] = bytes / seconds * 1e-9;
      if (who > 0) state.counters[prefix + "times"] = median_ratio(times[who], times[0]);
      if (floor != contenders.end()) {
        state.counters[prefix + "ratio"] =
            median_ratio(times[static_cast<std::size_t>(floor - contenders.begin())], times[who]);
      }
    }
    state.counters["rounds"] = static_cast<double>(times[0].size());
  }
}

}  // namespace gramstep::bench
