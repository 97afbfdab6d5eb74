// FairGrad: alpha-fair shares of the progress.
#pragma once

#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/newton.hpp"

namespace gramstep::inline v1 {

/// Fair resource allocation in multi-task learning: FairGrad.
///
///   w > 0 with (G w)_i = w_i^(-1/alpha) for every task
///
/// so that d maximises the alpha-fair utility sum_i (g_i . d)^(1 - alpha) / (1 - alpha) under a
/// bound on its length: alpha to 0 asks for the most progress in sum, 1 is proportional fairness,
/// which is Nash-MTL without normalisation and clip, and alpha to infinity serves the worst-off
/// task.
/// Source: Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024,
/// algorithm 1. Solved by damped Newton steps to rounding, not by nonlinear least squares.
/// Where norms lie many orders apart and alpha is not 1, g_i . d may be smaller against its terms than
/// double resolves: the weights are then right to the ridge, and the residual tells of the rest.
/// A factor s on all gradients multiplies w by s^(-2 alpha / (1 + alpha)).
/// Degenerate input: a zero row gets weight 0 and takes no part, all zero: all weights 0; opposite
/// rows, or any rows of which a convex combination is 0, have no solution: their weights end where
/// a ridge of 1e-8 on the cosine matrix stops their growth, and the residual is about 1; duplicate
/// rows get the same weight; a rank below K is otherwise no special case. One task gets weight 1.
/// Deterministic: the same bits for any number of threads on one device.
struct FairGrad {
  double alpha = 1;  ///< fairness, finite, >= 0.1; the paper's runs use 2

  static constexpr std::string_view name = "FairGrad";
  static constexpr std::string_view promise = "g_i . d = w_i^(-1/alpha) for every task";
  static constexpr double tolerance = 1e-6;

  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("alpha", self.alpha);
  }
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int tasks) { return solvers::Newton::scratch(tasks); }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int /*tasks*/) const { expect_in("FairGrad.alpha", alpha, 0.1); }

  /// Writes the weights [K]; one block, every thread of it calls. The residual is the largest
  /// |(g_i . d) w_i^(1/alpha) - 1|.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    if (problem.tasks == 1) {
      if (x.thread() == 0) w[0] = 1;
      x.sync();
      return {};
    }
    solvers::Newton newton{.tasks = problem.tasks, .alpha = alpha, .memory = problem.scratch};
    newton.solve(x, problem.gram, w);
    return {newton.iterations, newton.residual};
  }
};

}  // namespace gramstep::inline v1
