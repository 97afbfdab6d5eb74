// Calls an aggregator on one Gram matrix, in a block of one thread, amid poisoned memory.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "gramstep/aggregators/common.hpp"
#include "kernels/context.hpp"

namespace gramstep::test {

/// What an aggregator made of one Gram matrix.
template <class A>
struct Solved {
  std::vector<double> w;
  Solution solution;
  std::vector<double> next_state;  // the pieces of plan_states, one after another
};

/// Doubles of plan state that A keeps for K tasks.
template <class A>
std::int64_t state_size([[maybe_unused]] int tasks) {
  std::int64_t size = 0;
  if constexpr (requires { A::plan_states; }) {
    for (const PlanState& piece : A::plan_states) size += piece.size(tasks);
  }
  return size;
}

/// Scratch, weights and next_state are NaN before; losses that are not given are NaN as well.
template <class A>
Solved<A> solve(const A& aggregator, const std::vector<double>& gram, int tasks,
                std::vector<double> losses = {}, std::int64_t step = 1,
                std::vector<double> state = {}) {
  const auto poisoned = [](std::int64_t size) {
    return std::vector<double>(static_cast<std::size_t>(size), NAN);
  };
  if (losses.empty()) losses = poisoned(tasks);
  if (state.empty()) state = poisoned(state_size<A>(tasks));
  std::vector<double> scratch = poisoned(A::scratch(tasks));
  Solved<A> solved{poisoned(tasks), {}, poisoned(state_size<A>(tasks))};
  const GramProblem problem{.tasks = tasks,
                            .gram = gram.data(),
                            .losses = losses.data(),
                            .step = step,
                            .group = 0,
                            .state = state.data(),
                            .next_state = solved.next_state.data(),
                            .scratch = scratch.data()};
  solved.solution = aggregator.weights(kernels::SingleThread{}, problem, solved.w.data());
  return solved;
}

}  // namespace gramstep::test
