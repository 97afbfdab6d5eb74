// Krum: only the gradients that lie closest to the others.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1 {

/// What Krum adds up of the distances between gradients.
enum class KrumDistance {
  plain,    ///< |g_i - g_j|, as TorchJD does
  squared,  ///< |g_i - g_j|^2, as the paper does
};
/// The names of the values, in their order.
constexpr std::array<std::string_view, 2> names_of(KrumDistance) { return {"plain", "squared"}; }

/// Multi-Krum: the mean of the gradients with the lowest scores.
///
///   score_i = the sum of the K - byzantine - 2 smallest distances from g_i to the other gradients
///   w_i = 1 / selected for the `selected` lowest scores, 0 for the others
///
/// Source: Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient
/// Descent", NeurIPS 2017, section 4; TorchJD's Krum for the options.
/// Weights sum to 1 but for rounding.
/// Degenerate input: zero, duplicate and opposite rows and any rank are no special case. Equal
/// distances and scores are taken by index. Distances are worked out from G: those far below the
/// norms are rounding.
/// Deterministic.
struct Krum {
  int byzantine = 0;  ///< how many rows may be hostile, 0 to K - 3; needs at least 3 tasks
  int selected = 1;   ///< how many rows are averaged, 1 to K
  KrumDistance distance = KrumDistance::plain;  ///< plain, or squared

  static constexpr std::string_view name = "Krum";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("byzantine", self.byzantine);
    visit("selected", self.selected);
    visit("distance", self.distance);
  }
  /// Doubles of scratch for K tasks: the distances and the scores.
  static constexpr std::int64_t scratch(int tasks) { return std::int64_t{tasks} * tasks + tasks; }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int tasks) const {
    expect(tasks >= 3, "Krum", std::int64_t{tasks}, "at least 3 tasks");
    expect_in("Krum.byzantine", byzantine, 0, tasks - 2);
    expect_in("Krum.selected", selected, 1, tasks + 1);
  }

  /// Writes the weights [K]; one block, every thread of it calls.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    double* distances = problem.scratch;
    double* scores = distances + tasks * tasks;
    solvers::for_elements(x, tasks, tasks,
                          [&](int i, int j) { distances[i * tasks + j] = between(problem, i, j); });
    x.sync();
    solvers::for_each(x, tasks, [&](int i) { scores[i] = score(distances + i * tasks, i, tasks); });
    x.sync();
    solvers::for_each(x, tasks, [&](int i) {
      int before = 0;
      for (int j = 0; j < tasks; ++j) before += comes_before(scores, j, i);
      w[i] = before < selected ? 1.0 / selected : 0.0;
    });
    x.sync();
    return {};
  }

 private:
  GRAMSTEP_BODY double between(const GramProblem& problem, int i, int j) const {
    const int tasks = problem.tasks;
    const double* gram = problem.gram;
    const double squared =
        fmax(gram[i * tasks + i] + gram[j * tasks + j] - 2 * gram[i * tasks + j], 0.0);
    return distance == KrumDistance::plain ? sqrt(squared) : squared;
  }

  /// Whether element j comes before element i by size, of equal ones the first.
  GRAMSTEP_BODY static bool comes_before(const double* values, int j, int i) {
    return values[j] < values[i] || (values[j] == values[i] && j < i);
  }

  /// The sum of row i's smallest distances, its own left out. The fewer of the two sorts are sought one
  /// after another: the smallest, or the largest, which are left out then.
  GRAMSTEP_BODY double score(const double* row, int i, int tasks) const {
    const int closest = tasks - byzantine - 2, others = tasks - 1;
    const bool seek_smallest = 2 * closest < others;
    std::uint64_t found = 0;  // a bit a task
    for (int n = 0; n < (seek_smallest ? closest : others - closest); ++n) {
      int best = -1;
      for (int j = 0; j < tasks; ++j) {
        if (j == i || (found >> j & 1) != 0) continue;
        if (best < 0 || comes_before(row, j, best) == seek_smallest) best = j;
      }
      found |= std::uint64_t{1} << best;
    }
    double sum = 0;
    for (int j = 0; j < tasks; ++j) {
      if (j != i && ((found >> j & 1) != 0) == seek_smallest) sum += row[j];
    }
    return sum;
  }
};

}  // namespace gramstep::inline v1
