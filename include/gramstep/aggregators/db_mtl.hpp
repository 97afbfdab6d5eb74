// DB-MTL: gradients of the losses' logarithms, averaged over steps and made equally long.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1 {

/// Dual-balancing multi-task learning.
///
///   h_i = g_i / (l_i + epsilon), the gradient of log(l_i + epsilon), or g_i without log_transform
///   m_i = beta_t m_i + (1 - beta_t) h_i,   beta_t = beta / t^beta_sigma,   m_i = 0 at first
///   w_i = max_j |m_j| / |m_i|,   d = sum_i w_i m_i
///
/// Source: Lin et al., "Dual-Balancing for Multi-Task Learning", 2023, algorithm 1; LibMTL's DB_MTL
/// for the names of the options and epsilon. As there, m is not corrected for its start at 0: d
/// grows from (1 - beta_1) of its length.
/// Losses, with log_transform: > 0. One that is not counts as 0: its gradient is divided by
/// epsilon.
/// State: a momentum row a task, m.
/// Promises: every w_i m_i is as long as the longest m.
/// Degenerate input: a zero row gets weight 0 and is not among the "every"; no other special case;
/// one task gets weight 1.
/// Deterministic; powers that are not whole are libm's and may differ between devices in the last
/// bit.
struct DBMTL {
  double beta = 0.9;          ///< how much of m is kept in the first step, in [0, 1)
  double beta_sigma = 0;      ///< how fast that falls, in [0, 100)
  double epsilon = 1e-8;      ///< added to a loss, > 0; absolute: losses should be well above it
  bool log_transform = true;  ///< take the gradients of the losses' logarithms

  static constexpr std::string_view name = "DBMTL";
  static constexpr std::string_view promise = "w_i |m_i| is the same for every task";
  static constexpr double tolerance = 1e-12;
  /// The losses are read for their logarithms alone.
  bool needs_losses() const { return log_transform; }
  /// Logarithms are of positive numbers.
  bool needs_positive_losses() const { return log_transform; }
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("beta", self.beta);
    visit("beta_sigma", self.beta_sigma);
    visit("epsilon", self.epsilon);
    visit("log_transform", self.log_transform);
  }
  /// Doubles of scratch for K tasks: the momenta's lengths.
  static constexpr std::int64_t scratch(int tasks) { return tasks; }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int /*tasks*/) const {
    expect_in("DBMTL.beta", beta, 0, 1);
    expect_in("DBMTL.beta_sigma", beta_sigma, 0, 100);
    expect_in("DBMTL.epsilon", epsilon, 1e-30);
  }

  /// How step `step` mixes a gradient into m, given its task's loss.
  GRAMSTEP_BODY TaskMomentum momentum(std::int64_t step, double loss) const {
    const double keep = beta / pow(static_cast<double>(step), beta_sigma);
    return {keep, log_transform ? (1.0 - keep) / (fmax(loss, 0.0) + epsilon) : 1.0 - keep};
  }

  /// Writes the weights [K] of the momenta; one block, every thread of it calls.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    double* norms = problem.scratch;
    solvers::for_each(x, tasks, [&](int i) {
      norms[i] = tasks == 1 ? 1.0 : sqrt(problem.gram[i * tasks + i]);  // one task's may be NaN
    });
    x.sync();
    double longest = 0;
    for (int i = 0; i < tasks; ++i) longest = fmax(longest, norms[i]);
    solvers::for_each(x, tasks, [&](int i) { w[i] = norms[i] > 0 ? longest / norms[i] : 0.0; });
    x.sync();
    double residual = 0;
    for (int i = 0; i < tasks; ++i) {
      if (norms[i] > 0) residual = fmax(residual, fabs(w[i] * norms[i] - longest) / longest);
    }
    return {0, residual};
  }
};

}  // namespace gramstep::inline v1
