// What an aggregator may leave out, and what is meant then.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "gramstep/aggregators/common.hpp"

namespace gramstep::inline v1::aggregators {

/// The property that A's weights have, in words; empty where it promises nothing.
template <class A>
constexpr std::string_view promise() {
  if constexpr (requires { A::promise; }) return A::promise;
  return {};
}

/// The largest Solution::residual at which A's promise counts as kept.
template <class A>
constexpr double tolerance() {
  if constexpr (requires { A::tolerance; }) return A::tolerance;
  return infinity;
}

/// The names and sizes of the state that the plan keeps for A.
template <class A>
constexpr std::span<const PlanState> plan_states() {
  if constexpr (requires { A::plan_states; }) return A::plan_states;
  return {};
}

/// Doubles of plan state for K tasks.
template <class A>
constexpr std::int64_t state_size(int tasks) {
  std::int64_t size = 0;
  for (const PlanState& state : plan_states<A>()) size += state.size(tasks);
  return size;
}

/// Whether A reads the losses.
template <class A>
constexpr bool needs_losses(const A& aggregator) {
  if constexpr (requires { aggregator.needs_losses(); }) {
    return aggregator.needs_losses();
  } else if constexpr (requires { A::needs_losses; }) {
    return A::needs_losses;
  }
  return false;
}

/// Whether A takes logarithms or quotients of the losses, so that they must be > 0.
template <class A>
constexpr bool needs_positive_losses(const A& aggregator) {
  if constexpr (requires { aggregator.needs_positive_losses(); }) {
    return aggregator.needs_positive_losses();
  } else if constexpr (requires { A::needs_positive_losses; }) {
    return A::needs_positive_losses;
  }
  return false;
}

/// Whether A can do part of its work before there is a Gram matrix: it has
///   void prepare(const X& x, const GramProblem& problem) const
/// which writes nothing but the scratch and reads neither G, losses nor state; one block, every thread of it
/// calls. A GPU calls it while the gram stage runs.
template <class A, class X>
concept Prepared =
    requires(const A& a, const X& x, const GramProblem& problem) { a.prepare(x, problem); };

/// Whether A works on a momentum of every task's gradient: it has
///   TaskMomentum momentum(std::int64_t step, double loss) const
template <class A>
concept WithMomentum = requires(const A& a) { a.momentum(std::int64_t{1}, 1.0); };

/// Whether A combines the rows element by element instead of by weights: it has
///   void combine(const Elements& elements, int tasks, std::int64_t step, std::int64_t index,
///                float (&d)[Width]) const
/// for any Width, whose elements do not depend on it; see ElementsOf.
template <class A>
concept Elementwise = A::elementwise;

}  // namespace gramstep::inline v1::aggregators
