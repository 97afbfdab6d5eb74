// DualProj: the mean gradient, projected to where no task is opposed.
#pragma once

#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/dual_cone.hpp"

namespace gramstep::inline v1 {

/// Projection of a preferred combination onto the dual cone of the gradients: DualProj, or GEM.
///
///   w = argmin v^T (G / tr G + epsilon I) v  subject to  v >= preference
///
/// so that d is as near to J^T preference as it can be with g_i . d >= -epsilon tr(G) w_i.
/// Source: Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017;
/// the regularisation is TorchJD's, but for its absolute threshold below which
/// it takes G for zero. Solved exactly, by pivots.
/// Degenerate input: epsilon is relative to all of G, so that a row much shorter than the others is
/// hardly protected; a zero row gets its preference; duplicate rows with the same preference get
/// the same weight; opposite rows and any rank are no special case; all rows zero: the preference.
/// One task gets its preference.
/// Deterministic: the same bits for any number of threads.
struct DualProj {
  TaskValues preference = {};  ///< u, finite and > 0, one a task; empty: 1/K each
  double epsilon = 1e-4;       ///< regularisation relative to tr G, finite, >= 0; 1e-10 at least

  static constexpr std::string_view name = "DualProj";
  static constexpr std::string_view promise = "g_i . d >= -epsilon tr(G) w_i for every task";
  static constexpr double tolerance = 1e-9;

  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("preference", self.preference);
    visit("epsilon", self.epsilon);
  }
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int tasks) { return solvers::DualCone::scratch(tasks); }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int tasks) const {
    expect_preference("DualProj.preference", preference, tasks);
    expect_in("DualProj.epsilon", epsilon, 0);
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
    solvers::for_each(x, tasks, [&](int i) { cone.u()[i] = preference.value_or(i, 1.0 / tasks); });
    x.sync();
    solvers::for_each(x, tasks, [&](int i) {
      const double* row = cone.matrix() + i * tasks;
      cone.q0()[i] = solvers::dot(row, cone.u(), tasks) + cone.ridge * cone.u()[i];
    });
    x.sync();
    solvers::Path path = cone.path();
    const int pivots = cone.solve(x, path);
    path.solution(x, 1, 0, cone.z());
    solvers::for_each(x, tasks, [&](int i) { w[i] = cone.u()[i] + cone.z()[i]; });
    x.sync();
    return {pivots, cone.violation(x, w)};
  }
};

}  // namespace gramstep::inline v1
