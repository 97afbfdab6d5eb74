// SDMGrad: MGDA's weights by a few steps of gradient descent, held near the mean gradient.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/simplex.hpp"

namespace gramstep::inline v1 {

/// Stochastic direction-oriented multi-objective gradient descent.
///
///   H = G / (mean_i |g_i|)^2,   b_i = 1 / K,   v = 0;
///   `iterations` times:  v = momentum v + H (u + lambda b),   u = P(u - eta v);
///   w = (u + lambda b) / (1 + lambda),   with P the projection onto the simplex
///
/// u starts where the last step left it, at b before the first. The iteration is the method: with
/// its long steps it does not settle, and is not meant to.
/// Source: Xiao, Ban, Ji, "Direction-oriented Multi-objective Learning: Simple and Provable
/// Stochastic Algorithms", NeurIPS 2023, algorithm 1 and the authors' code. That takes H from two
/// batches and d from a third; here one batch serves for all. LibMTL has eta = 5.
/// State: "weights" [K], u.
/// Promises: w on the simplex.
/// Degenerate input: with no row but zeros u stays as it is; zero, duplicate and opposite rows and
/// any rank are no special case; one task gets weight 1.
/// Deterministic.
struct SDMGrad {
  double lambda = 0.3;    ///< how much the mean gradient counts, in [0, 1e6)
  double eta = 10;        ///< length of a step, in [0, 1e6)
  int iterations = 20;    ///< steps, 0 to 10000
  double momentum = 0.5;  ///< of v, in [0, 1)

  static constexpr std::string_view name = "SDMGrad";
  static constexpr std::string_view promise = "w_i >= 0 and the sum of w is 1";
  static constexpr double tolerance = 1e-12;
  static constexpr std::array<PlanState, 1> plan_states{{{"weights", Extent::task}}};
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lambda", self.lambda);
    visit("eta", self.eta);
    visit("iterations", self.iterations);
    visit("momentum", self.momentum);
  }
  /// Doubles of scratch for K tasks: u, v, u + lambda b, and u before it is projected.
  static constexpr std::int64_t scratch(int tasks) { return 4 * std::int64_t{tasks}; }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int /*tasks*/) const {
    expect_in("SDMGrad.lambda", lambda, 0, 1e6);
    expect_in("SDMGrad.eta", eta, 0, 1e6);
    expect_in("SDMGrad.iterations", iterations, 0, 10'001);
    expect_in("SDMGrad.momentum", momentum, 0, 1);
  }

  /// Writes the weights [K]; one block, every thread of it calls.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    const double share = lambda / tasks;
    double* u = problem.scratch;  // nearer than the state may be
    double* speed = u + tasks;
    double* mixed = speed + tasks;
    const double norms =
        solvers::sum_of(tasks, [&](int i) { return sqrt(problem.gram[i * tasks + i]); });
    const bool still = !(norms > 0) || tasks == 1;  // one task's G may be NaN
    solvers::for_each(x, tasks, [&](int i) {
      speed[i] = 0.0;
      u[i] = tasks == 1 ? 1.0 : solvers::last_weight(problem, i);
      mixed[i] = u[i] + share;
    });
    x.sync();
    if (x.warp() == 0 && !still) {  // a warp alone: the barriers cost more than it takes for a row
      iterate(solvers::Team<X>{x}, problem, tasks / norms, share);
    }
    x.sync();
    solvers::for_each(x, tasks, [&](int i) {
      problem.next_state[i] = u[i];
      w[i] = mixed[i] / (1.0 + lambda);
    });
    x.sync();
    return {still ? 0 : iterations, solvers::simplex_residual(w, tasks)};
  }

 private:
  /// Moves u and mixed = u + share. Ends with a barrier.
  template <class X>
  GRAMSTEP_BODY void iterate(const X& x, const GramProblem& problem, double inverse_mean,
                             double share) const {
    const int tasks = problem.tasks;
    double* u = problem.scratch;
    double* speed = u + tasks;
    double* mixed = speed + tasks;
    double* moved = mixed + tasks;
    GRAMSTEP_ROLLED
    for (int turn = 0; turn < iterations; ++turn) {
      solvers::for_each(x, tasks, [&](int i) {
        const double slope = solvers::dot(problem.gram + i * tasks, mixed, tasks);
        // Multiplied twice: the square may leave the range of double where the product does not.
        speed[i] = momentum * speed[i] + slope * inverse_mean * inverse_mean;
        moved[i] = u[i] - eta * speed[i];
      });
      x.sync();
      const solvers::SimplexShift shift = solvers::simplex_shift(moved, tasks);
      solvers::for_each(x, tasks, [&](int i) {
        u[i] = shift.project(moved[i]);
        mixed[i] = u[i] + share;
      });
      x.sync();
    }
  }
};

}  // namespace gramstep::inline v1
