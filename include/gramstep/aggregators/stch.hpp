// STCH: a smooth stand-in for the largest weighted loss.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/learned.hpp"
#include "gramstep/solvers/pivot.hpp"
#include "gramstep/solvers/softmax.hpp"

namespace gramstep::inline v1 {

/// Smooth Tchebycheff scalarization.
///
///   L = mu log sum_i exp(lambda_i (l_i - z_i) / mu)
///   w_i = lambda_i exp(lambda_i (l_i - z_i) / mu) / sum_j exp(lambda_j (l_j - z_j) / mu)
///
/// Source: Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML
/// 2024, definition of the STCH scalarization. The authors' multi-task code, and LibMTL, put
/// log(l_i / the loss after a warm-up) in the place of l_i - z_i, take lambda_i = 1 and multiply L
/// by K: that variant is not this one.
/// Losses: any finite.
/// Promises nothing of the gradients; the Gram matrix is not read. w_i / lambda_i >= 0 add up to 1.
/// The same amount added to every lambda_i (l_i - z_i) does not change w; losses, z and mu rescaled
/// together do not either. Reordering the tasks, lambda and z reorders w.
/// Degenerate input: one task gets lambda. Equal lambda_i (l_i - z_i) give lambda_i / K. Of losses
/// that lie far apart, measured in mu / lambda, only the largest has a weight: its lambda.
/// Deterministic.
struct STCH {
  double mu = 1;               ///< smoothing, finite, > 0; the smaller, the closer to the maximum
  TaskValues preference = {};  ///< lambda, a number a task in (0, 1e100); 1/K where none given
  TaskValues ideal = {};       ///< z, a number a task in [-1e100, 1e100); 0 where none given

  static constexpr std::string_view name = "STCH";
  static constexpr bool needs_losses = true;
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("mu", self.mu);
    visit("preference", self.preference);
    visit("ideal", self.ideal);
  }
  /// Doubles of scratch for K tasks: lambda (l - z).
  static constexpr std::int64_t scratch(int tasks) { return tasks; }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int tasks) const {
    expect_in("STCH.mu", mu, 0);
    expect(mu > 0, "STCH.mu", mu, "a number > 0");
    expect_preference("STCH.preference", preference, tasks);
    solvers::expect_values("STCH.preference", preference, tasks);
    solvers::expect_values("STCH.ideal", ideal, tasks);
  }

  /// Writes the weights [K]; one block, every thread of it calls. A thread a task.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    double* heights = problem.scratch;
    const double uniform = 1.0 / tasks;
    solvers::for_each(x, tasks, [&](int i) {
      heights[i] = preference.value_or(i, uniform) * (problem.losses[i] - ideal.value_or(i, 0));
    });
    solvers::softmax(x, heights, tasks, mu, 1, w);
    solvers::for_each(x, tasks, [&](int i) { w[i] *= preference.value_or(i, uniform); });
    x.sync();
    return {};
  }
};

}  // namespace gramstep::inline v1
