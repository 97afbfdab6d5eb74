// FAMO: weights under which all losses fall at the same rate, learned from the losses alone.
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

/// Fast adaptive multitask optimization.
///
///   D_i = max(l_i - min_i, 0) + 1e-8,   delta_i = log D_i(t-1) - log D_i(t)
///   z = softmax(xi);   xi descends along z_i (delta_i - z . delta) + gamma xi_i by Adam
///   z = softmax(xi);   w_i = (z_i / D_i) / sum_j (z_j / D_j)
///
/// so that a task whose loss fell faster than the weighted mean loses weight. The first step takes
/// xi = 0 and learns nothing.
/// Source: Liu et al., "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, algorithm 1. The
/// authors' code and LibMTL take delta on the same batch before and after the parameters' update,
/// which costs a second forward pass; here delta compares the losses of two steps in a row, so that
/// it has the noise of two batches in it. gamma is 0.01 in the authors' stand-alone file, 0.001 in
/// LibMTL.
/// Losses: any finite; those below their minimum count as at it.
/// State: "xi" [K]; "exp_avg" and "exp_avg_sq" [K], Adam's moments of xi; "log_losses" [K], log D.
/// A skipped step is left out: delta then reaches further back.
/// Promises w on the simplex. Reordering the tasks reorders w. The Gram matrix is not read. The
/// 1e-8 is absolute: losses should be well above it.
/// Degenerate input: one task gets weight 1. Equal losses that change alike get 1 / K. A loss at
/// its minimum has D = 1e-8, and with it nearly all the weight where other losses have not come as
/// far.
/// Deterministic.
struct FAMO {
  double lr = 0.025;           ///< of xi, in [0, 1e50)
  double gamma = 1e-3;         ///< weight decay of xi, in [0, 1e50)
  TaskValues min_losses = {};  ///< min, a number a task in [-1e100, 1e100); 0 where none given

  static constexpr std::string_view name = "FAMO";
  static constexpr std::string_view promise = "w_i >= 0 and the sum of w is 1";
  static constexpr double tolerance = 1e-12;
  static constexpr bool needs_losses = true;
  static constexpr std::array<PlanState, 4> plan_states{{{"xi", Extent::task},
                                                         {"exp_avg", Extent::task},
                                                         {"exp_avg_sq", Extent::task},
                                                         {"log_losses", Extent::task}}};
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("gamma", self.gamma);
    visit("min_losses", self.min_losses);
  }
  /// Doubles of scratch for K tasks: the exponents of a softmax, and delta.
  static constexpr std::int64_t scratch(int tasks) { return 2 * std::int64_t{tasks}; }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int tasks) const {
    expect_in("FAMO.lr", lr, 0, solvers::rate_limit);
    expect_in("FAMO.gamma", gamma, 0, solvers::rate_limit);
    solvers::expect_values("FAMO.min_losses", min_losses, tasks);
  }

  /// Writes the weights [K]; one block, every thread of it calls. A thread a task.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    double* exponents = problem.scratch;
    double* log_d = problem.next_state + 3 * tasks;
    solvers::for_each(x, tasks, [&](int i) {
      log_d[i] = log(fmax(problem.losses[i] - min_losses.value_or(i, 0), 0.0) + 1e-8);
    });
    learn(x, problem, w);
    solvers::for_each(x, tasks, [&](int i) { exponents[i] = problem.next_state[i] - log_d[i]; });
    solvers::softmax(x, exponents, tasks, 1, 1, w);
    return {0, solvers::miss_of_total(w, tasks, 1)};
  }

 private:
  /// Writes the next xi and its moments, given the next log D; z [K] is scratch.
  template <class X>
  GRAMSTEP_BODY void learn(const X& x, const GramProblem& problem, double* z) const {
    const int tasks = problem.tasks;
    const solvers::Scalars xi(problem, 0);
    if (problem.step == 1) {
      solvers::for_each(x, tasks, [&](int i) { xi.start(i, 0); });
      return;
    }
    double* exponents = problem.scratch;
    double* delta = problem.scratch + tasks;
    solvers::for_each(x, tasks, [&](int i) {
      exponents[i] = xi.value(i);
      delta[i] = problem.state[3 * tasks + i] - problem.next_state[3 * tasks + i];
    });
    solvers::softmax(x, exponents, tasks, 1, 1, z);
    const double mean = solvers::dot(z, delta, tasks);
    solvers::for_each(x, tasks, [&](int i) {
      const double gradient = z[i] * (delta[i] - mean);
      xi.put(i, xi.learn({ScalarRule::adam, lr, gamma}, i, gradient, problem.step - 1));
    });
  }
};

}  // namespace gramstep::inline v1
