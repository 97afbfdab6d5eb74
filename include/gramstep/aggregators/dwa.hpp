// DWA: more weight for the losses that fall more slowly.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/rules/common.hpp"
#include "gramstep/solvers/pivot.hpp"
#include "gramstep/solvers/softmax.hpp"

namespace gramstep::inline v1 {

/// Dynamic weight average.
///
///   r_i = l_i(e - 1) / l_i(e - 2),   w_i = K exp(r_i / T) / sum_j exp(r_j / T)
///
/// with l_i(e) the mean loss of task i over period e, a number of steps. All weights are 1 in the
/// first two periods.
/// Source: Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019,
/// equation 7. The authors and LibMTL average over an epoch: give its number of steps as `period`
/// for the same; a period of 1 compares single batches.
/// Losses: > 0.
/// State: "running_sum" [K], the losses added up since the period began; "last_mean" and
/// "mean_before" [K], the means of the two periods before it. A skipped step counts in no period.
/// Promises w_i >= 0 that add up to K. Rescaling a loss, all periods alike, does not change w;
/// reordering the tasks reorders w. The Gram matrix is not read.
/// Degenerate input: one task gets weight 1. Losses that change by equal factors get weight 1. A
/// quotient above all others by more than about 750 T takes all the weight.
/// Deterministic.
struct DWA {
  double temperature = 2;  ///< T, finite, > 0: the larger, the more equal the weights
  int period = 1;          ///< steps whose losses are averaged, >= 1

  static constexpr std::string_view name = "DWA";
  static constexpr std::string_view promise = "w_i >= 0 and the sum of w is K";
  static constexpr double tolerance = 1e-12;
  static constexpr bool needs_losses = true;
  static constexpr bool needs_positive_losses = true;
  static constexpr std::array<PlanState, 3> plan_states{
      {{"running_sum", Extent::task}, {"last_mean", Extent::task}, {"mean_before", Extent::task}}};
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("temperature", self.temperature);
    visit("period", self.period);
  }
  /// Doubles of scratch for K tasks: the quotients r.
  static constexpr std::int64_t scratch(int tasks) { return tasks; }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int /*tasks*/) const {
    expect_in("DWA.temperature", temperature, 0);
    expect(temperature > 0, "DWA.temperature", temperature, "a number > 0");
    expect_in("DWA.period", period, 1);
  }

  /// Writes the weights [K]; one block, every thread of it calls. A thread a task.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    const std::int64_t ended = (problem.step - 1) / period;  // periods before this one
    const std::int64_t place = (problem.step - 1) % period;
    const double* state = problem.state;
    double* next = problem.next_state;
    double* quotients = problem.scratch;
    solvers::for_each(x, tasks, [&](int i) {
      const double sum = (place > 0 ? state[i] : 0) + problem.losses[i];
      const double last = ended > 0 ? state[tasks + i] : 0;
      const double before = ended > 1 ? state[2 * tasks + i] : 0;
      quotients[i] = ended > 1 ? last / before : 1;
      const bool ends = place == period - 1;
      next[i] = ends ? 0 : sum;
      next[tasks + i] = ends ? sum / period : last;
      next[2 * tasks + i] = ends ? last : before;
    });
    solvers::softmax(x, quotients, tasks, temperature, tasks, w);
    return {0, solvers::miss_of_total(w, tasks, tasks)};
  }
};

}  // namespace gramstep::inline v1
