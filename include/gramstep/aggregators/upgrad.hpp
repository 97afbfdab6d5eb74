// UPGrad: every task's gradient projected to where no task is opposed, and the projections added.
#pragma once

#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/dual_cone.hpp"

namespace gramstep::inline v1 {

/// Unconflicting projection of gradients: UPGrad.
///
///   w = sum_k preference_k v(e_k)
///   v(u) = argmin v^T (G / tr G + epsilon I) v  subject to  v >= u
///
/// so that d is the preferred combination of the projections of every gradient onto the dual cone
/// of all, and g_i . d >= -epsilon tr(G) w_i. Linear in a factor on any one gradient, but for
/// epsilon.
/// Source: Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024;
/// the regularisation is TorchJD's, but for its absolute threshold below which it takes G for zero.
/// Solved exactly, by pivots, a warp a task.
/// Degenerate input: epsilon is relative to all of G, so that a row much shorter than the others is
/// hardly protected; a zero row gets its preference; duplicate rows with the same preference get
/// the same weight; opposite rows and any rank are no special case; all rows zero: the preference.
/// One task gets its preference.
/// Deterministic: the same bits for any number of threads.
struct UPGrad {
  TaskValues preference = {};  ///< finite and > 0, one a task; empty: 1/K each
  double epsilon = 1e-4;       ///< regularisation relative to tr G, finite, >= 0; 1e-10 at least

  static constexpr std::string_view name = "UPGrad";
  static constexpr std::string_view promise = "g_i . d >= -epsilon tr(G) w_i for every task";
  static constexpr double tolerance = 1e-9;
  static constexpr int most_teams = 8;

  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("preference", self.preference);
    visit("epsilon", self.epsilon);
  }
  /// Doubles of scratch for K tasks: G's, every task's projection and pivots, a path a team.
  static constexpr std::int64_t scratch(int tasks) {
    return solvers::DualCone::scratch(tasks) + (std::int64_t{tasks} + 1) * tasks +
           most_teams * solvers::Path::own_scratch(tasks);
  }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int tasks) const {
    expect_preference("UPGrad.preference", preference, tasks);
    expect_in("UPGrad.epsilon", epsilon, 0);
  }

  /// Writes the weights [K]; one block, every thread of it calls. The residual is the largest
  /// -(g_i . d / tr G + epsilon w_i) / (m_i sum_j m_j w_j), m_i^2 = G_ii / tr G + epsilon.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    if (tasks == 1) {
      if (x.thread() == 0) w[0] = preference.value_or(0, 1);
      x.sync();
      return {};
    }
    solvers::DualCone cone{.tasks = tasks, .ridge = epsilon, .memory = problem.scratch};
    cone.prepare(x, problem.gram);
    double* projections = problem.scratch + solvers::DualCone::scratch(tasks);  // [K, K]
    double* pivots = projections + std::int64_t{tasks} * tasks;                 // [K]
    double* paths = pivots + tasks;
    const solvers::Team<X> team{x};
    team.share_out(tasks, most_teams, [&](int k, int which) {
      solvers::Path path = cone.path();
      path.own = paths + which * solvers::Path::own_scratch(tasks);
      const double* row = cone.matrix() + k * tasks;
      solvers::for_each(team, tasks, [&](int i) {
        path.q0()[i] = i == k ? row[i] + cone.ridge : row[i];
        path.q1()[i] = cone.q1()[i];
      });
      team.sync();
      const int used = cone.solve(team, path);
      solvers::for_each(team, tasks, [&](int i) {
        projections[k * tasks + i] = path.is_passive(i) ? fmax(path.alpha()[i], 0.0) : 0.0;
      });
      if (team.thread() == 0) pivots[k] = used;
      team.sync();
    });
    x.sync();
    const double equal = 1.0 / tasks;
    solvers::for_each(x, tasks, [&](int i) {
      w[i] = preference.value_or(i, equal) + solvers::sum_of(tasks, [&](int k) {
               return preference.value_or(k, equal) * projections[k * tasks + i];
             });
    });
    const double total = solvers::sum_of(tasks, [&](int k) { return pivots[k]; });
    x.sync();
    return {static_cast<int>(total), cone.violation(x, w)};
  }
};

}  // namespace gramstep::inline v1
