// ConFIG: the direction that has the same positive cosine with every task's gradient.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/pseudo_inverse.hpp"

namespace gramstep::inline v1 {

/// Conflict-free inverse gradients.
///
///   s = C^+ p,   c = D^-1 s,   w = c (1^T G c) / (c^T G c)
///
/// with D = diag(|g_i|), C the cosine matrix and p the preference: d has the direction J^T c, whose
/// cosines with the rows are as p, and the length of the sum of the rows' projections onto it.
/// Source: Liu et al., "ConFIG: Towards Conflict-free Training of Physics Informed Neural
/// Networks", ICLR 2025, equation 2; the preference as TorchJD's ConFIG has it.
/// Promises at full rank: the cosines of d and the rows are as p to one another and positive, so
/// equal without a preference. Weights may be negative.
/// Degenerate input: zero rows get weight 0; duplicates share. Below full rank the cosines are as
/// close to p as can be in the sense of least squares, and the residual says how close. Where none
/// is any closer than 0 (two opposite rows alone, no row but zeros) all weights are 0; one task
/// gets weight 1.
/// Deterministic.
struct ConFIG {
  TaskValues preference = {};  ///< one finite number > 0 a task, or none for 1 each
  /// Eigenvalues of C up to K times this count as 0, in [2^-52, 1). The rounding of fp32 gradients
  /// by default.
  double rank_tolerance = solvers::fp32_rounding;

  static constexpr std::string_view name = "ConFIG";
  static constexpr std::string_view promise =
      "cos(g_i, d) > 0, in proportion to the preference, at full rank";
  static constexpr double tolerance = 1e-6;
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("preference", self.preference);
    visit("rank_tolerance", self.rank_tolerance);
  }
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int tasks) { return solvers::cosine_scratch(tasks); }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int tasks) const {
    expect_preference("ConFIG.preference", preference, tasks);
    expect_in("ConFIG.rank_tolerance", rank_tolerance, 0x1p-52, 1);
  }

  /// Writes the weights [K]; one block, every thread of it calls.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    if (tasks == 1) {  // G may be NaN
      solvers::for_each(x, 1, [&](int) { w[0] = 1.0; });
      x.sync();
      return {};
    }
    const solvers::CosineSystem system = solvers::cosine_system(problem.scratch, tasks);
    const solvers::CosineSolution solution = solvers::solve_cosines(
        x, problem, [&](int i) { return preference.value_or(i, 1.0); }, rank_tolerance, system);
    // 1^T G c and c^T G c, for C s is at hand.
    const double along = solvers::dot(system.norms, system.reached, tasks);
    const double squared = solvers::dot(system.solved, system.reached, tasks);
    const bool some = solution.found && squared > 0;
    solvers::for_each(x, tasks, [&](int i) {
      const bool zero = !some || system.norms[i] == 0;
      w[i] = zero ? 0.0 : system.solved[i] * (along / system.norms[i]) / squared;
    });
    x.sync();
    return {solution.iterations, solution.residual};
  }
};

}  // namespace gramstep::inline v1
