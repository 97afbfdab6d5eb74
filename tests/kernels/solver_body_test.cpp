// Every aggregator's solve, block-parallel under the fiber runner: the bits of one thread.
#include "gramstep/aggregators/traits.hpp"
#include "tests/aggregators/problems.hpp"
#include "tests/every_aggregator.hpp"
#include "tests/kernels/stage_rig.hpp"

namespace gramstep::test {
namespace {

/// What an aggregator reads and writes.
struct Memory {
  std::vector<double> gram, losses, state, next_state, scratch, weights;
  std::vector<Solution> solutions;  // of every thread

  template <class A>
  Memory(const A& aggregator, const std::vector<double>& its_gram, int tasks, int threads)
      : gram(its_gram),
        state(static_cast<std::size_t>(aggregators::state_size<A>(tasks)), NAN),
        next_state(state.size(), NAN),
        scratch(static_cast<std::size_t>(aggregator.scratch(tasks)), NAN),
        weights(static_cast<std::size_t>(tasks), NAN),
        solutions(static_cast<std::size_t>(threads)) {
    for (int k = 0; k < tasks; ++k) losses.push_back(0.5 + 0.25 * k);
  }

  GramProblem problem(int tasks, std::int64_t step) {
    return {tasks, gram.data(),  losses.data(),     step,
            0,     state.data(), next_state.data(), scratch.data()};
  }

  /// What the next step finds.
  void advance() {
    state = next_state;
    std::ranges::fill(next_state, NAN);
    std::ranges::fill(weights, NAN);
    for (double& loss : losses) loss *= 0.75;
  }
};

/// A kernel body that is an aggregator alone.
template <class A>
struct SolverBody {
  static constexpr int threads = kernels::plan_threads;
  const A& aggregator;
  GramProblem problem;
  double* weights;
  Solution* solutions;

  struct Shared {};

  template <class X>
  void operator()(const X& x, Shared&) const {
    solutions[x.thread()] = aggregator.weights(x, problem, weights);
  }
};

template <class A>
void expect_bits_of_one_thread(const A& aggregator, const std::vector<double>& gram, int tasks,
                               simt::Launch launch) {
  launch.blocks = 1;
  launch.threads = SolverBody<A>::threads;
  Memory one(aggregator, gram, tasks, 1), block(aggregator, gram, tasks, launch.threads);
  for (std::int64_t step = 1; step <= 3; ++step) {
    one.solutions[0] =
        aggregator.weights(kernels::SingleThread{}, one.problem(tasks, step), one.weights.data());
    simt::run(launch, SolverBody<A>{aggregator, block.problem(tasks, step), block.weights.data(),
                                    block.solutions.data()});
    EXPECT_TRUE(same_bits(block.weights, one.weights)) << tasks << " tasks, step " << step;
    EXPECT_TRUE(same_bits(block.next_state, one.next_state)) << "state, step " << step;
    for (const Solution& each : block.solutions) {
      ASSERT_EQ(each.iterations, one.solutions[0].iterations);
      ASSERT_EQ(each.residual, one.solutions[0].residual);
    }
    one.advance();
    block.advance();
  }
}

class SolverBodyTest : public ::testing::TestWithParam<std::string> {};

TEST_P(SolverBodyTest, HasTheBitsOfOneThreadInEveryOrder) {
  for (const int tasks : {1, 2, 3, 8, 17, 33, 64}) {
    const auto aggregator = made_for(GetParam(), tasks);
    if (!aggregator) continue;
    for (const simt::Launch& order : every_order) {
      if (tasks > 17 && order.order != simt::Order::random) continue;
      // Half the rank in one order, so that both ways to a pseudo-inverse are gone.
      const Kind kind = order.order == simt::Order::reverse ? Kind::deficient : Kind::strong;
      const Problem problem = make_problem(kind, tasks, 7);
      std::visit(
          [&](const auto& held) {
            if constexpr (!aggregators::Elementwise<std::decay_t<decltype(held)>>) {
              expect_bits_of_one_thread(held, problem.gram, tasks, order);
            }
          },
          *aggregator);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Aggregators, SolverBodyTest, ::testing::ValuesIn(every_name()),
                         [](const auto& each) { return each.param; });

}  // namespace
}  // namespace gramstep::test
