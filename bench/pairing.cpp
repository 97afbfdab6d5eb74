#include "bench/pairing.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>

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

/// The median over rounds of times a by times b.
double median_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (std::size_t round = 0; round < a.size(); ++round) ratios.push_back(a[round] / b[round]);
  return median(std::move(ratios));
}

/// Seconds by contender, then by round.
using Times = std::vector<std::vector<double>>;

Times time_rounds(const std::vector<Contender>& contenders, const Timer& timer,
                  const Budget& budget) {
  const auto time = [&](const Contender& contender) {
    contender.prepare();
    return timer(contender.run);
  };
  for (const Contender& contender : contenders) time(contender);
  Times times(contenders.size());
  const Clock::time_point begin = Clock::now();
  for (int round = 0; round < budget.most; ++round) {
    if (round >= budget.least && seconds_since(begin) > budget.seconds) break;
    for (std::size_t turn = 0; turn < contenders.size(); ++turn) {
      const std::size_t who = round % 2 == 0 ? turn : contenders.size() - 1 - turn;
      times[who].push_back(time(contenders[who]));
    }
  }
  return times;
}

}  // namespace

double time_on_cpu(const std::function<void()>& run) {
  const Clock::time_point begin = Clock::now();
  run();
  return seconds_since(begin);
}

void compare(benchmark::State& state, const std::vector<Contender>& contenders, const Timer& timer,
             const Budget& budget) {
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
        const auto at = static_cast<std::size_t>(floor - contenders.begin());
        state.counters[prefix + "ratio"] = median_ratio(times[at], times[who]);
      }
    }
    state.counters["rounds"] = static_cast<double>(times[0].size());
  }
}

void add_benchmark(const std::string& name, const std::function<void(benchmark::State&)>& body) {
  benchmark::RegisterBenchmark(name.c_str(), body)
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMillisecond);
}

bool initialize(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  const auto is_quick = [](const char* each) { return std::string_view(each) == "--quick"; };
  const bool quick = std::erase_if(arguments, is_quick) > 0;
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) std::exit(2);
  return quick;
}

}  // namespace gramstep::bench
