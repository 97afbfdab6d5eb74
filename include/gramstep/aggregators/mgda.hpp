// MGDA: the shortest vector in the convex hull of the gradients.
#pragma once

#include <cmath>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/simplex_path.hpp"

namespace gramstep::inline v1 {

/// The multiple gradient descent algorithm: MGDA.
///
///   w = argmin w^T G w over the simplex, w >= 0 and sum_i w_i = 1
///
/// so that d is the shortest convex combination of the gradients, a direction in which every task
/// descends alike or faster: g_i . d >= |d|^2, with equality where w_i > 0.
/// Source: Désidéri, "Multiple-gradient descent algorithm", 2012; Sener and Koltun, "Multi-Task
/// Learning as Multi-Objective Optimization", NeurIPS 2018.
/// Solved exactly, by pivots along the path of CAGrad as its c goes to infinity, not by
/// Frank-Wolfe. A ridge of 1e-8 on the cosine matrix makes w unique; it grows where rounding in G
/// needs more.
/// Degenerate input: among zero rows, which are a solution with d = 0, the weight is shared
/// equally; duplicate rows share theirs (rows of one length equally); opposite rows and any rank
/// are no special case: d is 0 up to rounding where the hull contains 0. One task gets weight 1.
/// Deterministic: the same bits for any number of threads.
struct MGDA {
  static constexpr std::string_view name = "MGDA";
  static constexpr std::string_view promise = "g_i . d >= |d|^2 for every task";
  static constexpr double tolerance = 1e-4;  // the ridge that dependent rows in fp32 need

  /// Calls visit(name, option) for every option: there is none.
  template <class Self, class Visit>
  static void options(Self& /*self*/, const Visit& /*visit*/) {}
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int tasks) { return solvers::SimplexPath::scratch(tasks); }
  /// There are no options; they fit any number of tasks.
  void validate(int /*tasks*/) const {}

  /// Writes the weights [K]; one block, every thread of it calls. The residual is the largest
  /// (|d|^2 - g_i . d) / (n_i sum_j n_j w_j).
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    if (tasks == 1) {
      if (x.thread() == 0) w[0] = 1;
      x.sync();
      return {};
    }
    solvers::SimplexPath simplex{.tasks = tasks, .memory = problem.scratch};
    simplex.prepare(x, problem.gram, [&](int) { return 1.0 / tasks; });
    if (simplex.zero_rows > 0) {
      solvers::for_each(x, tasks, [&](int i) {
        w[i] = simplex.lengths()[i] == 0 ? 1.0 / simplex.zero_rows : 0.0;
      });
      x.sync();
      return {};
    }
    solvers::Path path = simplex.path();
    const int pivots = solvers::with_enough_ridge(path, [&] {
      path.start(x);
      return path.follow(x, infinity) != solvers::PathEnd::indefinite;
    });
    double* z = simplex.z();
    path.solution(x, 0, 1, z);
    double sum = 0;
    GRAMSTEP_ROLLED
    for (int i = 0; i < tasks; ++i) sum += z[i] / simplex.lengths()[i];
    solvers::for_each(x, tasks, [&](int i) { w[i] = z[i] / simplex.lengths()[i] / sum; });
    return {pivots, shortfall(x, simplex, sum)};
  }

 private:
  /// The residual, of s = D w = z / sum.
  template <class X>
  GRAMSTEP_BODY double shortfall(const X& x, const solvers::SimplexPath& simplex,
                                 double sum) const {
    const int tasks = simplex.tasks;
    const double* z = simplex.z();
    double* along = simplex.along();
    solvers::multiply(x, simplex.cosines(), z, tasks, along);
    const double squared = solvers::dot(z, along, tasks) / sum;  // |d|^2 sum
    double aligned = 0, worst = 0;
    GRAMSTEP_ROLLED
    for (int i = 0; i < tasks; ++i) aligned += z[i];
    GRAMSTEP_ROLLED
    for (int i = 0; i < tasks; ++i) {
      worst = fmax(worst, squared / simplex.lengths()[i] - along[i]);
    }
    x.sync();
    return worst / aligned;
  }
};

}  // namespace gramstep::inline v1
