// Nash-MTL: the tasks' bargaining solution.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/newton.hpp"

namespace gramstep::inline v1 {

/// Multi-task learning as a bargaining game: Nash-MTL.
///
///   w > 0 with G w = 1 / w                  (normalise: with G / |G|_F in place of G)
///   then w *= max_norm / |d| where |d| exceeds it
///
/// so that every task gains alike relative to what it has: w_i (g_i . d) is the same for all, and a
/// factor on a gradient does not change d, but for the normalisation's effect on its length.
/// Source: Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, claim 3.1 and
/// algorithm 1; normalisation, clip and update_every are those of the authors' code. Solved by
/// damped Newton steps to rounding, from a cold start: the problem is convex, and a warm start
/// would only make the answer depend on the steps before.
/// State: "weights" [K], before the clip, as they were last solved for.
/// Degenerate input: a zero row gets weight 0 and takes no part, all zero: all weights 0; opposite
/// rows, or any rows of which a convex combination is 0, have no solution: their weights end where
/// a ridge of 1e-8 on the cosine matrix stops their growth, and the residual is about 1; duplicate
/// rows share theirs; a rank below K is otherwise no special case. One task gets weight 1, neither
/// normalised nor clipped.
/// Deterministic: the same bits for any number of threads.
struct NashMTL {
  bool normalise = true;           ///< divide G by its Frobenius norm
  double max_norm = 1;             ///< clip |d| to it, >= 0; 0: no clip
  std::uint64_t update_every = 1;  ///< solve in every n-th step, >= 1, and keep w in between

  static constexpr std::string_view name = "NashMTL";
  static constexpr std::string_view promise = "w_i (g_i . d) is the same for every task";
  static constexpr double tolerance = 1e-6;
  static constexpr std::array<PlanState, 1> plan_states{{{"weights", Extent::task}}};

  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("normalise", self.normalise);
    visit("max_norm", self.max_norm);
    visit("update_every", self.update_every);
  }
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int tasks) { return solvers::Newton::scratch(tasks); }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int /*tasks*/) const {
    expect_in("NashMTL.max_norm", max_norm, 0);
    expect(update_every >= 1, "NashMTL.update_every", static_cast<std::int64_t>(update_every),
           "a number of steps >= 1");
  }

  /// Writes the weights [K]; one block, every thread of it calls. The residual is the largest
  /// |w_i (g_i . d) / common - 1|, 0 in a step that keeps w.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    const std::uint64_t turn = static_cast<std::uint64_t>(problem.step - 1) % update_every;
    Solution solution{};
    if (tasks == 1) {
      if (x.thread() == 0) problem.next_state[0] = w[0] = 1;
      x.sync();
      return solution;
    }
    if (turn == 0) {
      solvers::Newton newton{.tasks = tasks, .alpha = 1, .memory = problem.scratch};
      newton.solve(x, problem.gram, w);
      solution = {newton.iterations, newton.residual};
      const double factor = normalise ? sqrt(frobenius(x, problem)) : 1.0;
      solvers::for_each(x, tasks, [&](int i) { w[i] *= factor; });
    } else {
      solvers::for_each(x, tasks, [&](int i) { w[i] = problem.state[i]; });
    }
    x.sync();
    const double clip = max_norm > 0 ? clip_factor(x, problem, w) : 1.0;
    solvers::for_each(x, tasks, [&](int i) {
      problem.next_state[i] = w[i];
      w[i] *= clip;
    });
    x.sync();
    return solution;
  }

 private:
  /// |G|_F. Squared relative to the trace, against overflow. Ends with a barrier.
  template <class X>
  GRAMSTEP_BODY static double frobenius(const X& x, const GramProblem& problem) {
    const int tasks = problem.tasks;
    double* squares = problem.scratch;  // [K, K]
    double* sums = squares + tasks * tasks;
    const double trace = solvers::sum_of(tasks, [&](int i) { return problem.gram[i * tasks + i]; });
    if (trace == 0) return 0;
    solvers::for_elements(x, tasks, tasks, [&](int i, int j) {
      const double relative = problem.gram[i * tasks + j] / trace;
      squares[i * tasks + j] = relative * relative;
    });
    x.sync();
    solvers::for_each(x, tasks, [&](int j) {  // by column: threads side by side
      sums[j] = solvers::sum_of(tasks, [&](int i) { return squares[i * tasks + j]; });
    });
    x.sync();
    const double sum = solvers::sum_of(tasks, [&](int i) { return sums[i]; });
    x.sync();
    return sqrt(sum) * trace;
  }

  /// max_norm / |d| where that is below 1, else 1.
  template <class X>
  GRAMSTEP_BODY double clip_factor(const X& x, const GramProblem& problem, const double* w) const {
    solvers::multiply(x, problem.gram, w, problem.tasks, problem.scratch);
    const double norm = sqrt(fmax(solvers::dot(problem.scratch, w, problem.tasks), 0.0));
    x.sync();
    return norm > max_norm ? max_norm / norm : 1.0;
  }
};

}  // namespace gramstep::inline v1
