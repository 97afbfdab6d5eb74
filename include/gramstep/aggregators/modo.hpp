// MoDo: MGDA's weights, one step of gradient descent at a time.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/simplex.hpp"

namespace gramstep::inline v1 {

/// Multi-objective gradient with double sampling.
///
///   w = P(l - gamma (G l + rho l)),   l = the last step's w, 1 / K before the first,
///
/// with P the projection onto the simplex. gamma is a rate beside G as it is: it belongs to the
/// scale of the losses, and scaling G is not the same method.
/// Source: Chen, Fernando, Ying, Chen, "Three-Way Trade-Off in Multi-Objective Learning", NeurIPS
/// 2023, algorithm 1. That takes the two factors of G from two batches and d from a third; here one
/// batch serves for all. LibMTL has gamma = 0.001.
/// State: "weights" [K], w.
/// Promises: w on the simplex.
/// Degenerate input: no special case; one task gets weight 1.
/// Deterministic.
struct MoDo {
  double gamma = 0.1;  ///< learning rate of w, in [0, 1e50)
  double rho = 0.1;    ///< weight of the penalty on |w|^2, in [0, 1e50)

  static constexpr std::string_view name = "MoDo";
  static constexpr std::string_view promise = "w_i >= 0 and the sum of w is 1";
  static constexpr double tolerance = 1e-12;
  static constexpr std::array<PlanState, 1> plan_states{{{"weights", Extent::task}}};
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("gamma", self.gamma);
    visit("rho", self.rho);
  }
  /// Doubles of scratch for K tasks: w before it is projected.
  static constexpr std::int64_t scratch(int tasks) { return tasks; }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int /*tasks*/) const {
    expect_in("MoDo.gamma", gamma, 0, 1e50);
    expect_in("MoDo.rho", rho, 0, 1e50);
  }

  /// Writes the weights [K]; one block, every thread of it calls.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    return {1, solvers::descend_on_simplex(x, problem, gamma, rho, problem.scratch, w)};
  }
};

}  // namespace gramstep::inline v1
