// GradNorm: weights under which the tasks' gradients have the lengths that their progress asks for.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/learned.hpp"
#include "gramstep/solvers/pivot.hpp"
#include "gramstep/solvers/softmax.hpp"

namespace gramstep::inline v1 {

/// Gradient normalization.
///
///   n_i = |g_i|,   N = the mean of w_i n_i
///   r_i = (l_i / l_i(first)) / (the mean of that over tasks)
///   w descends on sum_i |w_i n_i - N r_i^alpha|, where N r_i^alpha is held constant
///
/// so that a task that trains slowly, r_i > 1, gets a longer gradient. The derivative to w_i is
/// sign(w_i n_i - N r_i^alpha) n_i / (the mean of n): divided by the mean norm, unlike in the
/// paper, so that lr means the same whatever the gradients' scale. No step takes more than half of
/// a weight, nor takes one below 1e-30, so that all stay > 0; then w is rescaled to a sum of K. A step's weights are
/// those from before its own update; they start at 1.
/// Source: Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
/// Multitask Networks", ICML 2018, algorithm 1. The paper takes norms of w_i g_i on the last shared
/// layer only, here they are those of G. LibMTL learns logits of a softmax instead of w, does not
/// hold w down, and divides by the mean losses of the first epoch: give those as `initial_losses`.
/// Losses: > 0.
/// State: "task_weights" [K]; "exp_avg" and "exp_avg_sq" [K], Adam's moments of them;
/// "first_losses" [K], those of step 1.
/// Promises w_i > 0 that add up to K. w(s^2 G) = w(G). Rescaling a loss and its first value does
/// not change r. Reordering the tasks reorders w.
/// Degenerate input: one task gets weight 1. A task with a zero gradient has nothing to learn from:
/// its weight changes by the rescaling and by past momentum alone, and so do all where all are
/// zero. A w_i n_i within 1e-12 of its target counts as there, so that rounding moves no weight.
/// Deterministic.
struct GradNorm {
  double alpha = 1.5;                  ///< how strongly a slow task is helped, in [0, 100)
  double lr = 0.025;                   ///< of w, in [0, 1e50)
  ScalarRule rule = ScalarRule::adam;  ///< how w descends
  TaskValues initial_losses = {};      ///< one number > 0 a task instead of the first step's losses

  static constexpr std::string_view name = "GradNorm";
  static constexpr std::string_view promise = "w_i > 0 and the sum of w is K";
  static constexpr double tolerance = 1e-12;
  static constexpr bool needs_losses = true;
  static constexpr bool needs_positive_losses = true;
  static constexpr std::array<PlanState, 4> plan_states{{{"task_weights", Extent::task},
                                                         {"exp_avg", Extent::task},
                                                         {"exp_avg_sq", Extent::task},
                                                         {"first_losses", Extent::task}}};
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("alpha", self.alpha);
    visit("lr", self.lr);
    visit("rule", self.rule);
    visit("initial_losses", self.initial_losses);
  }
  /// Doubles of scratch for K tasks: norms, loss quotients, weights not yet rescaled.
  static constexpr std::int64_t scratch(int tasks) { return 3 * std::int64_t{tasks}; }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int tasks) const {
    expect_in("GradNorm.alpha", alpha, 0, 100);
    expect_in("GradNorm.lr", lr, 0, solvers::rate_limit);
    expect_preference("GradNorm.initial_losses", initial_losses, tasks);
  }

  /// Writes the weights [K]; one block, every thread of it calls. A thread a task.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    const solvers::Scalars kept(problem, 1);
    const double* first = problem.step == 1 ? problem.losses : problem.state + 3 * tasks;
    double* norms = problem.scratch;
    double* quotients = norms + tasks;
    double* learned = quotients + tasks;
    solvers::for_each(x, tasks, [&](int i) {
      w[i] = kept.value(i);
      // An only task's norm changes nothing, and may be NaN.
      norms[i] = tasks == 1 ? 0.0 : sqrt(problem.gram[i * tasks + i]);
      quotients[i] = problem.losses[i] / initial_losses.value_or(i, first[i]);
      problem.next_state[3 * tasks + i] = first[i];
    });
    x.sync();
    const double mean_norm = solvers::sum(norms, tasks) / tasks;
    const double mean_length = solvers::dot(w, norms, tasks) / tasks;
    const double mean_quotient = solvers::sum(quotients, tasks) / tasks;
    solvers::for_each(x, tasks, [&](int i) {
      const double target = mean_length * pow(quotients[i] / mean_quotient, alpha);
      const double gradient =
          direction(w[i] * norms[i], target) * (mean_norm > 0 ? norms[i] / mean_norm : 0.0);
      const double least = fmax(0.5 * w[i], 1e-30);
      learned[i] = fmax(kept.learn({rule, lr}, i, gradient, problem.step), least);
    });
    x.sync();
    const double all = solvers::sum(learned, tasks);
    solvers::for_each(x, tasks, [&](int i) { kept.put(i, tasks * learned[i] / all); });
    x.sync();
    return {0, solvers::miss_of_total(w, tasks, tasks)};
  }

 private:
  /// The sign of value - target, 0 where rounding may have decided it; both are >= 0.
  GRAMSTEP_BODY static double direction(double value, double target) {
    const double difference = value - target;
    if (fabs(difference) <= 1e-12 * fmax(value, target)) return 0;
    return difference > 0 ? 1 : -1;
  }
};

}  // namespace gramstep::inline v1
