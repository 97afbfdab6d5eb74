// The plan's solves alone: weights of a Gram matrix, by method and number of tasks.
#include <cmath>
#include <random>

#include "bench/cpu_cases.hpp"
#include "bench/solves.hpp"
#include "gramstep/aggregators/traits.hpp"
#include "kernels/context.hpp"

namespace gramstep::bench {
namespace {

/// One thread that counts the barriers it passes: as many as a block passes on a GPU, each the length of
/// the slowest thread's share.
struct CountingThread : kernels::SingleThread {
  std::int64_t* barriers;
  void sync() const { ++*barriers; }
};

/// How many barriers one solve takes.
std::int64_t barriers_of(const Solve& solve) {
  std::int64_t barriers = 0;
  const auto count = [&](const auto& held) {
    using A = std::decay_t<decltype(held)>;
    if constexpr (!aggregators::Elementwise<A>) {
      const auto doubles = [](std::int64_t size) {
        return std::vector<double>(static_cast<std::size_t>(size));
      };
      std::vector<double> scratch = doubles(held.scratch(solve.tasks));
      std::vector<double> state = doubles(aggregators::state_size<A>(solve.tasks));
      std::vector<double> next = state, weights = doubles(solve.tasks);
      const std::vector<double> losses(solve.losses.begin(), solve.losses.end());
      CountingThread x;
      x.barriers = &barriers;
      held.weights(x,
                   GramProblem{solve.tasks, solve.gram.data(), losses.data(), 1, 0, state.data(),
                               next.data(), scratch.data()},
                   weights.data());
    }
  };
  std::visit(count, solve.aggregator);
  return barriers;
}

void measure(benchmark::State& state, const Solve& solve, const Budget& budget) {
  Aggregation aggregation(solve.options(cpu(1)));
  std::vector<double> weights(static_cast<std::size_t>(solve.batch * solve.tasks));
  const auto run = [&] { aggregation.weights(solve.gram, weights, solve.losses); };
  // What a call costs without a solve.
  Solve nothing = solve;
  nothing.aggregator = Sum{};
  Aggregation sum(nothing.options(cpu(1)));
  compare(state,
          {{"weights", run, always(0)},
           {"sum", [&] { sum.weights(solve.gram, weights, solve.losses); }, always(0)}},
          time_on_cpu, budget);
  state.counters["iterations"] = aggregation.solutions()[0].iterations;
  state.counters["barriers"] = static_cast<double>(barriers_of(solve));
}

}  // namespace

void register_weights(const Extent& extent) {
  const Budget budget = extent.quick ? Budget{0.001, 3, 20} : Budget{0.05, 21, 2001};
  for (const Solve& solve : solves(extent.quick)) {
    add_benchmark(solve.name("weights"),
                  [=](benchmark::State& state) { measure(state, solve, budget); });
  }
}

}  // namespace gramstep::bench
