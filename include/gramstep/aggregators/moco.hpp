// MoCo: MGDA's weights by gradient descent, over averages of the gradients instead of single
// batches.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/simplex.hpp"

namespace gramstep::inline v1 {

/// Multi-objective gradient correction.
///
///   y_i = y_i - beta_t (y_i - g_i),   beta_t = beta / t^beta_sigma,   y_i = 0 at first
///   w = P(l - gamma_t (Y Y^T l + rho l)),   gamma_t = gamma / t^gamma_sigma,   d = Y^T w
///
/// with P the projection onto the simplex and l the last step's w, 1 / K before the first. gamma is
/// a rate beside Y Y^T as it is: it belongs to the scale of the losses.
/// Source: Fernando et al., "Mitigating Gradient Bias in Multi-objective Learning", ICLR 2023,
/// algorithm 1; the names and defaults of the options are LibMTL's. LibMTL also scales every
/// gradient to the length of its loss and has a softmax in place of P; neither is in the paper's
/// algorithm.
/// State: a momentum row a task, y; "weights" [K], w.
/// Promises: w on the simplex.
/// Degenerate input: no special case; one task gets weight 1.
/// Deterministic; powers that are not whole are libm's and may differ between devices in the last
/// bit.
struct MoCo {
  double beta = 0.5;         ///< rate of y in the first step, in [0, 1]
  double beta_sigma = 0.5;   ///< how fast it falls, in [0, 100)
  double gamma = 0.1;        ///< rate of w in the first step, in [0, 1e50)
  double gamma_sigma = 0.5;  ///< how fast it falls, in [0, 100)
  double rho = 0;            ///< weight of the penalty on |w|^2, in [0, 1e50)

  static constexpr std::string_view name = "MoCo";
  static constexpr std::string_view promise = "w_i >= 0 and the sum of w is 1";
  static constexpr double tolerance = 1e-12;
  static constexpr std::array<PlanState, 1> plan_states{{{"weights", Extent::task}}};
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("beta", self.beta);
    visit("beta_sigma", self.beta_sigma);
    visit("gamma", self.gamma);
    visit("gamma_sigma", self.gamma_sigma);
    visit("rho", self.rho);
  }
  /// Doubles of scratch for K tasks: w before it is projected.
  static constexpr std::int64_t scratch(int tasks) { return tasks; }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int /*tasks*/) const {
    expect_in("MoCo.beta", beta, 0);
    expect(beta <= 1, "MoCo.beta", beta, "a number <= 1");
    expect_in("MoCo.beta_sigma", beta_sigma, 0, 100);
    expect_in("MoCo.gamma", gamma, 0, 1e50);
    expect_in("MoCo.gamma_sigma", gamma_sigma, 0, 100);
    expect_in("MoCo.rho", rho, 0, 1e50);
  }

  /// How step `step` mixes a gradient into y.
  GRAMSTEP_BODY TaskMomentum momentum(std::int64_t step, double /*loss*/) const {
    const double rate = beta / pow(static_cast<double>(step), beta_sigma);
    return {1.0 - rate, rate};
  }

  /// Writes the weights [K] of the momenta; one block, every thread of it calls.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const double rate = gamma / pow(static_cast<double>(problem.step), gamma_sigma);
    return {1, solvers::descend_on_simplex(x, problem, rate, rho, problem.scratch, w)};
  }
};

}  // namespace gramstep::inline v1
