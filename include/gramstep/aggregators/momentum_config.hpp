// MomentumConFIG: ConFIG on averages of the gradients instead of single batches.
#pragma once

#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/aggregators/config.hpp"

namespace gramstep::inline v1 {

/// ConFIG of every task's first moment, corrected for its start at 0.
///
///   m_i = beta m_i + (1 - beta) g_i,   m_i = 0 before the first step
///   w = ConFIG's weights of the m_i, over 1 - beta^t
///
/// Source: Liu et al., "ConFIG", ICLR 2025, algorithm 1 (M-ConFIG). There a step has the gradient
/// of one task in turn, and only that task's moment is refreshed; here every step refreshes all.
/// The second moment, which is there taken of the outcome, is left to the optimizer rule.
/// State: a momentum row a task, m.
/// Promises and degenerate input: ConFIG's, with m in the place of g; one task gets 1 / (1 -
/// beta^t).
/// Deterministic.
struct MomentumConFIG {
  double beta = 0.9;           ///< how much of m is kept, in [0, 1)
  TaskValues preference = {};  ///< as ConFIG's
  /// As ConFIG's, in [2^-52, 1).
  double rank_tolerance = solvers::fp32_rounding;

  static constexpr std::string_view name = "MomentumConFIG";
  static constexpr std::string_view promise =
      "cos(m_i, d) > 0, in proportion to the preference, at full rank";
  static constexpr double tolerance = ConFIG::tolerance;
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("beta", self.beta);
    visit("preference", self.preference);
    visit("rank_tolerance", self.rank_tolerance);
  }
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int tasks) { return ConFIG::scratch(tasks); }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int tasks) const {
    expect_in("MomentumConFIG.beta", beta, 0, 1);
    expect_preference("MomentumConFIG.preference", preference, tasks);
    expect_in("MomentumConFIG.rank_tolerance", rank_tolerance, 0x1p-52, 1);
  }

  /// How a step mixes a gradient into m.
  GRAMSTEP_BODY TaskMomentum momentum(std::int64_t /*step*/, double /*loss*/) const {
    return {beta, 1.0 - beta};
  }

  /// Writes the weights [K] of the momenta; one block, every thread of it calls.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const Solution solution = ConFIG{preference, rank_tolerance}.weights(x, problem, w);
    const double corrected = 1.0 - power(beta, problem.step);
    solvers::for_each(x, problem.tasks, [&](int i) { w[i] /= corrected; });
    x.sync();
    return solution;
  }
};

}  // namespace gramstep::inline v1
