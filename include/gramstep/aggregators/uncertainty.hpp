// Uncertainty weighting: every loss against a learned variance of its own.
#pragma once

#include <array>
#include <cmath>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/learned.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1 {

/// Weighting by homoscedastic uncertainty: a noisy task counts less, at a price for its noise.
///
///   L = sum_i 1/2 exp(-s_i) l_i + 1/2 s_i,   w_i = 1/2 exp(-s_i),   dL/ds_i = 1/2 - w_i l_i
///
/// with s_i = log sigma_i^2 learned by gradient descent on L beside the parameters. A step's
/// weights use s before its own update, as one optimizer over parameters and s would.
/// Source: Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for
/// Scene Geometry and Semantics", CVPR 2018, equation 7 in its regression form for every task.
/// LibMTL has the same loss, starts s at -0.5 and leaves s to the model's own optimizer.
/// Losses: any finite. s_i rests where exp(s_i) = l_i, so that every w_i l_i tends to 1/2.
/// State: "log_variances" s [K]; "exp_avg" and "exp_avg_sq" [K], Adam's moments of s.
/// Promises nothing of the gradients; the Gram matrix is not read. Tasks do not see one another:
/// reordering them reorders w.
/// Degenerate input: one task is no special case. Equal losses get equal weights. A loss that stays
/// at 0 or below has no best s: its weight grows, up to 1/2 exp(80), where s stops.
/// Deterministic.
struct UncertaintyWeighting {
  double lr = 1e-3;                    ///< of s, in [0, 1e50)
  double initial = 0;                  ///< s before the first step, in [-80, 80)
  ScalarRule rule = ScalarRule::adam;  ///< how s descends

  static constexpr std::string_view name = "UncertaintyWeighting";
  static constexpr bool needs_losses = true;
  static constexpr std::array<PlanState, 3> plan_states{
      {{"log_variances", Extent::task}, {"exp_avg", Extent::task}, {"exp_avg_sq", Extent::task}}};
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("initial", self.initial);
    visit("rule", self.rule);
  }
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int /*tasks*/) { return 0; }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int /*tasks*/) const {
    expect_in("UncertaintyWeighting.lr", lr, 0, solvers::rate_limit);
    expect_in("UncertaintyWeighting.initial", initial, -solvers::log_limit, solvers::log_limit);
  }

  /// Writes the weights [K]; one block, every thread of it calls. A thread a task.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const solvers::Scalars s(problem, initial);
    solvers::for_each(x, problem.tasks, [&](int i) {
      w[i] = 0.5 * exp(-s.value(i));
      const double learned = s.learn({rule, lr}, i, 0.5 - w[i] * problem.losses[i], problem.step);
      s.put(i, solvers::within(learned, solvers::log_limit));
    });
    x.sync();
    return {};
  }
};

}  // namespace gramstep::inline v1
