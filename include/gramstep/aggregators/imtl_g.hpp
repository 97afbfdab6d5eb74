// IMTL-G: a direction along which every task's gradient has the same projection.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/pseudo_inverse.hpp"

namespace gramstep::inline v1 {

/// Impartial multi-task learning, the part that weighs gradients.
///
///   v = D^-1 C^+ 1,   w = v / sum(v),   with D = diag(|g_i|) and C the cosine matrix
///
/// which is G^+ n / sum(G^+ n) at full rank. At a lower rank C^+ rather than G^+ is used, so that
/// scaling one row scales nothing but its own part; rows that are parallel but not equally long
/// then get weights that differ from TorchJD's.
/// Source: Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, section 3.2; Quinton and
/// Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, for any rank.
/// Promises at full rank: (G w)_i / |g_i| is the same for all tasks; below it, the residual says
/// how far that is missed, which is not at all where 1 is in the range of C. Its sign is that of
/// sum(v): where that is negative, d is against every task. Weights sum to 1 and may be negative.
/// Degenerate input: zero rows get weight 0 and are not among the "all"; duplicates share; where
/// |sum(v)| <= 1e-12 sum |v|, with two opposite rows alone and with no row but zeros all weights
/// are 0; one task gets weight 1.
/// Deterministic.
struct IMTLG {
  /// Eigenvalues of C up to K times this count as 0, in [2^-52, 1). The rounding of fp32 gradients
  /// by default.
  double rank_tolerance = solvers::fp32_rounding;

  static constexpr std::string_view name = "IMTLG";
  static constexpr std::string_view promise =
      "g_i . d / |g_i| is the same for every task, at full rank";
  static constexpr double tolerance = 1e-6;
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("rank_tolerance", self.rank_tolerance);
  }
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int tasks) { return solvers::cosine_scratch(tasks); }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int /*tasks*/) const {
    expect_in("IMTLG.rank_tolerance", rank_tolerance, 0x1p-52, 1);
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
    const solvers::CosineSolution solution =
        solvers::solve_cosines(x, problem, [](int) { return 1.0; }, rank_tolerance, system);
    double sum = 0, size = 0;
    for (int i = 0; i < tasks; ++i) {
      if (system.norms[i] == 0) continue;
      const double v = system.solved[i] / system.norms[i];
      sum += v;
      size += fabs(v);
    }
    const bool some = solution.found && fabs(sum) > 1e-12 * size;
    solvers::for_each(x, tasks, [&](int i) {
      w[i] = some && system.norms[i] > 0 ? system.solved[i] / system.norms[i] / sum : 0.0;
    });
    x.sync();
    return {solution.iterations, some ? solution.residual : 0.0};
  }
};

}  // namespace gramstep::inline v1
