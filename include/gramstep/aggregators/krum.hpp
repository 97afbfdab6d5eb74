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
  /// Doubles of scratch for K tasks: the distances, and what is kept a task.
  static constexpr std::int64_t scratch(int tasks) {
    return std::int64_t{tasks} * tasks + 5 * tasks;
  }
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
    double* room = scores + tasks;
    double* squares = room;
    double* before = room;  // how many scores come before a task's
    solvers::for_each(x, tasks, [&](int i) { squares[i] = problem.gram[i * (tasks + 1)]; });
    x.sync();
    solvers::for_elements(x, tasks, tasks, [&](int i, int j) {
      const double difference = squares[i] + squares[j] - 2 * problem.gram[i * tasks + j];
      const double squared = difference > 0 ? difference : 0.0;
      distances[i * tasks + j] = distance == KrumDistance::plain ? sqrt(squared) : squared;
    });
    x.sync();
    add_closest(x, distances, tasks, room, scores);
    x.sync();
    solvers::for_each(x, tasks, [&](int i) { before[i] = 0; });
    x.sync();
    solvers::for_each_in_turn(x, tasks, tasks, [&](int i, int j) {
      const bool earlier = j < i ? scores[j] <= scores[i] : scores[j] < scores[i];
      before[i] += earlier ? 1.0 : 0.0;
    });
    solvers::for_each(x, tasks, [&](int i) { w[i] = before[i] < selected ? 1.0 / selected : 0.0; });
    x.sync();
    return {};
  }

 private:
  /// scores_i = the sum of task i's smallest distances; its own, which is 0, is one of them. The
  /// fewer of the two sorts are sought one after another: the smallest, or the largest, which are
  /// left out then. Every task reads its column, which is its row; room: [4 K].
  template <class X>
  GRAMSTEP_BODY void add_closest(const X& x, const double* distances, int tasks, double* room,
                                 double* scores) const {
    const int closest = tasks - byzantine - 1;
    const bool seek_smallest = 2 * closest < tasks;
    const double sign = seek_smallest ? -1 : 1;  // the largest of the negative ones is the smallest
    double* bound = room;                        // what was found last, and where
    double* bound_at = bound + tasks;
    double* best = bound_at + tasks;  // of what is left
    double* best_at = best + tasks;
    // Equal ones are found from the last to the first.
    const auto is_left = [&](double value, int i, int j) {
      return (value < bound[i]) | ((value == bound[i]) & (j < bound_at[i]));
    };
    solvers::for_each(x, tasks, [&](int i) {
      best[i] = infinity;
      best_at[i] = tasks;
    });
    for (int n = 0; n < (seek_smallest ? closest : tasks - closest); ++n) {
      solvers::for_each(x, tasks, [&](int i) {
        bound[i] = best[i];
        bound_at[i] = best_at[i];
        best[i] = -infinity;
      });
      solvers::for_each_in_turn(x, tasks, tasks, [&](int i, int j) {
        const double value = sign * distances[j * tasks + i];
        const bool better = is_left(value, i, j) & (value >= best[i]);
        best[i] = better ? value : best[i];
        best_at[i] = better ? j : best_at[i];
      });
    }
    solvers::for_each(x, tasks, [&](int i) {
      bound[i] = best[i];
      bound_at[i] = best_at[i];
      scores[i] = 0;
    });
    solvers::for_each_in_turn(x, tasks, tasks, [&](int i, int j) {
      const double value = distances[j * tasks + i];
      scores[i] += is_left(sign * value, i, j) != seek_smallest ? value : 0.0;
    });
  }
};

}  // namespace gramstep::inline v1
