// PCGrad: each task's gradient, projected off the gradients it conflicts with.
#pragma once

#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/aggregators/task_order.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1 {

/// PCGrad's name for the order of its projections.
using PCGradOrder = TaskOrder;

/// Gradient surgery: PCGrad.
///
///   for every task i:  c = e_i;  for every other task j in order:  s = c . G[:, j];
///                      if s < 0:  c_j -= s / G_jj
///   w = the sum of the c, or their mean
///
/// so that d = J^T w is the sum of the projected gradients, none of which was ever formed.
/// Source: Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, algorithm 1.
/// K = 2: g_i . d >= 0. No conflict: equals Sum. Weights are >= 1 (sum).
/// Degenerate input: a zero row is in conflict with nobody and gets weight 1; opposite rows cancel;
/// duplicate rows and any rank are no special case; one task gets weight 1.
/// Deterministic: the order depends on (seed, step, group, task) alone, on every device.
struct PCGrad {
  Reduction reduction = Reduction::sum;    ///< sum of the projected gradients, or their mean
  PCGradOrder order = PCGradOrder::fresh;  ///< fresh, or fixed
  std::uint64_t seed = 0;                  ///< of the fresh order

  static constexpr std::string_view name = "PCGrad";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("reduction", self.reduction);
    visit("order", self.order);
    visit("seed", self.seed);
  }
  /// Doubles of scratch for K tasks: the coefficients c of every task.
  static constexpr std::int64_t scratch(int tasks) { return std::int64_t{tasks} * tasks; }
  /// Any options fit any number of tasks.
  void validate(int /*tasks*/) const {}

  /// Writes the order in which task `i` meets all K tasks, itself among them, into met [K].
  GRAMSTEP_BODY void meet(int i, int tasks, std::int64_t step, unsigned char* met,
                          std::int64_t group = 0) const {
    write_task_order(order, seed, i, tasks, step, group, met);
  }

  /// Writes the weights [K]; one block, every thread of it calls. A thread a task.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    solvers::for_each(
        x, tasks, [&](int i) { project(i, problem, problem.scratch + std::int64_t{i} * tasks); });
    x.sync();
    solvers::for_each(x, tasks, [&](int j) {
      double sum = 0;
      for (int i = 0; i < tasks; ++i) sum += problem.scratch[std::int64_t{i} * tasks + j];
      w[j] = reduction == Reduction::mean ? sum / tasks : sum;
    });
    x.sync();
    return {};
  }

 private:
  GRAMSTEP_BODY void project(int i, const GramProblem& problem, double* c) const {
    const int tasks = problem.tasks;
    unsigned char met[max_tasks];
    meet(i, tasks, problem.step, met, problem.group);
    for (int j = 0; j < tasks; ++j) c[j] = j == i ? 1.0 : 0.0;
    for (int turn = 0; turn < tasks; ++turn) {
      const int j = met[turn];
      if (j == i) continue;
      const double* column = problem.gram + std::int64_t{j} * tasks;  // G is symmetric
      double s = 0;
      for (int l = 0; l < tasks; ++l) s += c[l] * column[l];
      if (s < 0) c[j] -= s / column[j];
    }
  }
};

}  // namespace gramstep::inline v1
