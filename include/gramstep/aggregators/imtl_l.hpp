// IMTL-L: every loss at a learned scale of its own, so that all count alike.
#pragma once

#include <array>
#include <cmath>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/learned.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1 {

/// Impartial multi-task learning by losses: learned scales that bring every loss to 1.
///
///   L = sum_i exp(s_i) l_i - s_i,   w_i = exp(s_i),   dL/ds_i = w_i l_i - 1
///
/// with s_i learned by gradient descent on L beside the parameters. A step's weights use s before
/// its own update, as one optimizer over parameters and s would.
/// Source: Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, loss balance with
/// base e. LibMTL has it only together with IMTL-G, and leaves s to the model's own
/// optimizer.
/// Losses: any finite. s_i rests where exp(s_i) = 1 / l_i, so that every w_i l_i tends to 1.
/// State: "log_scales" s [K]; "exp_avg" and "exp_avg_sq" [K], Adam's moments of s.
/// Promises nothing of the gradients; the Gram matrix is not read. Tasks do not see one another:
/// reordering them reorders w.
/// Degenerate input: one task is no special case. Equal losses get equal weights. A loss that stays
/// at 0 or below has no best s: its weight grows, up to exp(80), where s stops.
/// Deterministic.
struct IMTLL {
  double lr = 1e-3;                    ///< of s, in [0, 1e50)
  double initial = 0;                  ///< s before the first step, in [-80, 80)
  ScalarRule rule = ScalarRule::adam;  ///< how s descends

  static constexpr std::string_view name = "IMTLL";
  static constexpr bool needs_losses = true;
  static constexpr std::array<PlanState, 3> plan_states{
      {{"log_scales", Extent::task}, {"exp_avg", Extent::task}, {"exp_avg_sq", Extent::task}}};
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
    expect_in("IMTLL.lr", lr, 0, solvers::rate_limit);
    expect_in("IMTLL.initial", initial, -solvers::log_limit, solvers::log_limit);
  }

  /// Writes the weights [K]; one block, every thread of it calls. A thread a task.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const solvers::Scalars s(problem, initial);
    solvers::for_each(x, problem.tasks, [&](int i) {
      w[i] = exp(s.value(i));
      const double learned = s.learn({rule, lr}, i, w[i] * problem.losses[i] - 1, problem.step);
      s.put(i, solvers::within(learned, solvers::log_limit));
    });
    x.sync();
    return {};
  }
};

}  // namespace gramstep::inline v1
