// Scale-invariant: the sum of the logarithms of the losses.
#pragma once

#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1 {

/// Scale-invariant linear scalarization.
///
///   L = sum_i log l_i,   w_i = dL/dl_i = 1 / l_i
///
/// Source: the baseline "SI" of Navon et al., "Multi-Task Learning as a Bargaining Game", ICML
/// 2022, section 6; the authors' code may weight the logarithms, which this does not.
/// Losses: > 0.
/// Promises nothing of the gradients; the Gram matrix is not read. d does not change when any loss
/// is rescaled, its gradient with it. Reordering the tasks reorders w.
/// Degenerate input: none; every task, also an only one, gets 1 / l_i. A weight is an fp32 number
/// for losses of 1e-38 and above.
/// Deterministic.
struct ScaleInvariant {
  static constexpr std::string_view name = "ScaleInvariant";
  static constexpr bool needs_losses = true;
  static constexpr bool needs_positive_losses = true;
  /// There are no options.
  template <class Self, class Visit>
  static void options(Self& /*self*/, const Visit& /*visit*/) {}
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int /*tasks*/) { return 0; }
  /// Nothing can be wrong.
  void validate(int /*tasks*/) const {}

  /// Writes the weights [K]; one block, every thread of it calls. A thread a task.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    solvers::for_each(x, problem.tasks, [&](int i) { w[i] = 1.0 / problem.losses[i]; });
    x.sync();
    return {};
  }
};

}  // namespace gramstep::inline v1
