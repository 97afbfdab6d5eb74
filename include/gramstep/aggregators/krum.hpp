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
    return std::int64_t{tasks} * tasks + 2 * tasks;
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
    double* largest = room;
    double* before = room;  // how many scores come before a task's
    solvers::for_each(x, tasks, [&](int i) { squares[i] = problem.gram[i * (tasks + 1)]; });
    x.sync();
    solvers::for_elements(x, tasks, tasks, [&](int i, int j) {
      const double difference = squares[i] + squares[j] - 2 * problem.gram[i * tasks + j];
      const double squared = difference > 0 ? difference : 0.0;
      distances[i * tasks + j] = distance == KrumDistance::plain ? sqrt(squared) : squared;
    });
    x.sync();
    add_closest(x, distances, tasks, largest, scores);
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
  /// scores_i = the sum of task i's smallest distances; its own, which is 0, is one of them. The others are
  /// taken out one by one: a sweep takes along the largest it has met, and those before move up a place.
  /// Every task sweeps its column, which is its row.
  template <class X>
  GRAMSTEP_BODY void add_closest(const X& x, double* distances, int tasks, double* largest,
                                 double* scores) const {
    for (int left_out = 0; left_out <= byzantine; ++left_out) {
      solvers::for_each(x, tasks, [&](int i) { largest[i] = 0; });
      solvers::for_each_in_turn(x, tasks, tasks, [&](int i, int j) {
        double& place = distances[j * tasks + i];
        const double value = place, carried = largest[i];
        place = value < carried ? value : carried;
        largest[i] = value < carried ? carried : value;
      });
    }
    solvers::for_each(x, tasks, [&](int i) { scores[i] = 0; });
    solvers::for_each_in_turn(x, tasks, tasks,
                              [&](int i, int j) { scores[i] += distances[j * tasks + i]; });
  }
};

}  // namespace gramstep::inline v1
