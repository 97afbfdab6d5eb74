// GLS: the geometric mean of the losses.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/pivot.hpp"
#include "gramstep/solvers/softmax.hpp"

namespace gramstep::inline v1 {

/// Geometric loss strategy.
///
///   L = (l_1 l_2 ... l_K)^(1/K),   w_i = dL/dl_i = L / (K l_i)
///
/// worked out from the mean of log l_i, so that no product leaves the range of double.
/// Source: Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss
/// Strategy for Multi-Task Learning", CVPR Workshops 2019. LibMTL takes the root of the
/// product itself, and the weights that it reports are not those of its gradient.
/// Losses: > 0.
/// Promises nothing of the gradients; the Gram matrix is not read. Every w_i l_i is L / K.
/// Rescaling all losses does not change w; rescaling one changes only the length of d. Reordering
/// the tasks reorders w.
/// Degenerate input: one task gets weight 1. Equal losses get 1 / K each.
/// Deterministic.
struct GLS {
  static constexpr std::string_view name = "GLS";
  static constexpr bool needs_losses = true;
  static constexpr bool needs_positive_losses = true;
  /// There are no options.
  template <class Self, class Visit>
  static void options(Self& /*self*/, const Visit& /*visit*/) {}
  /// Doubles of scratch for K tasks: log l.
  static constexpr std::int64_t scratch(int tasks) { return tasks; }
  /// Nothing can be wrong.
  void validate(int /*tasks*/) const {}

  /// Writes the weights [K]; one block, every thread of it calls. A thread a task.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    double* logs = problem.scratch;
    // Relative to the first loss: equal losses have logarithms of exactly 0.
    const double first = problem.losses[0];
    solvers::for_each(x, tasks, [&](int i) { logs[i] = log(problem.losses[i] / first); });
    x.sync();
    const double mean = solvers::sum(logs, tasks) / tasks;
    solvers::for_each(x, tasks, [&](int i) { w[i] = exp(mean - logs[i]) / tasks; });
    x.sync();
    return {};
  }
};

}  // namespace gramstep::inline v1
