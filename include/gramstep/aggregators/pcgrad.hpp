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
  /// Doubles of scratch for K tasks: a row for every task, 1 / G_jj, and the orders, a byte a turn.
  static constexpr std::int64_t scratch(int tasks) {
    const std::int64_t pairs = std::int64_t{tasks} * tasks;
    return pairs + tasks + (pairs + 7) / 8;
  }
  /// Any options fit any number of tasks.
  void validate(int /*tasks*/) const {}

  /// Writes the order in which task `i` meets all K tasks, itself among them, into met [K].
  GRAMSTEP_BODY void meet(int i, int tasks, std::int64_t step, unsigned char* met,
                          std::int64_t group = 0) const {
    write_task_order(order, seed, i, tasks, step, group, met);
  }

  /// Draws the orders, which do not depend on G; see aggregators::Prepared.
  template <class X>
  GRAMSTEP_BODY void prepare(const X& x, const GramProblem& problem) const {
    unsigned char* met = scratch_of(problem).met;
    solvers::for_each(x, problem.tasks, [&](int i) {
      meet(i, problem.tasks, problem.step, met + i * problem.tasks, problem.group);
    });
  }

  /// Writes the weights [K]; one block, every thread of it calls. A warp a task: a thread a task waited for
  /// sums of K terms K times, 260 us of an H100 for K = 64.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    const Scratch scratch = scratch_of(problem);
    if (!problem.prepared) prepare(x, problem);
    solvers::for_each(x, tasks,
                      [&](int i) { scratch.inverses[i] = 1.0 / problem.gram[i * tasks + i]; });
    x.sync();
    const solvers::Team<X> team{x};
    team.share_out(tasks, tasks, [&](int i, int) { project(team, i, problem, scratch); });
    x.sync();
    solvers::for_each(x, tasks, [&](int j) {
      const double sum = solvers::sum_of(tasks, [&](int i) { return scratch.rows[i * tasks + j]; });
      w[j] = reduction == Reduction::mean ? sum / tasks : sum;
    });
    x.sync();
    return {};
  }

 private:
  struct Scratch {
    double* rows;        // [K, K]
    double* inverses;    // [K]
    unsigned char* met;  // [K, K]
  };
  GRAMSTEP_BODY static Scratch scratch_of(const GramProblem& problem) {
    double* inverses = problem.scratch + std::int64_t{problem.tasks} * problem.tasks;
    return {problem.scratch, inverses, reinterpret_cast<unsigned char*>(inverses + problem.tasks)};
  }

  /// Makes row i task i's coefficients c. Until a task is met its place has c . G[:, j], which is added to
  /// wherever c changes, so that nobody waits for a sum; from then on it stays.
  template <class X>
  GRAMSTEP_BODY void project(const X& x, int i, const GramProblem& problem,
                             const Scratch& scratch) const {
    const int tasks = problem.tasks;
    double* row = scratch.rows + i * tasks;
    solvers::for_each(x, tasks, [&](int j) { row[j] = problem.gram[i * tasks + j]; });
    x.sync();
    std::uint64_t met = std::uint64_t{1} << i;  // a bit a task
    GRAMSTEP_ROLLED
    for (int turn = 0; turn < tasks; ++turn) {
      const int j = scratch.met[i * tasks + turn];
      const double s = row[j];
      met |= std::uint64_t{1} << j;
      if (j == i || !(s < 0)) continue;
      const double share = s * scratch.inverses[j];
      solvers::for_each(x, tasks, [&](int l) {
        if ((met >> l & 1) == 0) row[l] -= share * problem.gram[j * tasks + l];
      });
      x.sync();
    }
    x.sync();
    solvers::for_each(x, tasks, [&](int j) {
      row[j] = j == i ? 1.0 : row[j] < 0 ? -(row[j] * scratch.inverses[j]) : 0.0;
    });
  }
};

}  // namespace gramstep::inline v1
