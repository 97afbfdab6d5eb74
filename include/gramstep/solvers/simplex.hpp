// Weights that are >= 0 and sum to 1: the simplex, and steps that stay on it.
#pragma once

#include <cmath>
#include <cstdint>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1::solvers {

/// The Euclidean projection of v [K] onto the simplex is max(v_i - shift, 0), and this is what to
/// subtract. Exact but for rounding, whatever the size of v; every thread works it out for itself.
/// Source: Michelot, "A finite algorithm for finding the projection of a point onto the canonical
/// simplex", JOTA 1986: elements that lie below the current shift leave the mean, until none does.
struct SimplexShift {
  double largest;  // of v
  double below;    // the shift lies this far below it, in (0, 1]

  GRAMSTEP_BODY double project(double value) const {
    // v_i - largest first: beside a v of 1e30 the 1 that the weights sum to would be lost.
    return fmax((value - largest) + below, 0.0);
  }
};

/// Elements above the shift: their sum, relative to the largest, and how many they are.
struct SimplexElements {
  double sum = 0;
  int count = 0;

  GRAMSTEP_BODY SimplexElements operator+(const SimplexElements& other) const {
    return {sum + other.sum, count + other.count};
  }
  GRAMSTEP_BODY void operator+=(const SimplexElements& other) { *this = *this + other; }
};

/// See SimplexShift. v is finite, K >= 1.
GRAMSTEP_BODY SimplexShift simplex_shift(const double* v, int tasks) {
  const double top = largest(v, tasks);
  double below = 1.0;  // the shift of the largest element alone; that of more elements lies higher
  int kept = 1;        // as that has it
  GRAMSTEP_ROLLED
  for (int turn = 0; turn <= tasks; ++turn) {  // every turn but the last lets one go at least
    const SimplexElements above = sum_of(tasks, [&](int i) {
      const double value = v[i] - top;
      const bool is_above = value + below > 0;
      return SimplexElements{is_above ? value : 0.0, is_above ? 1 : 0};
    });
    if (above.count == kept) break;
    kept = above.count;
    below = (1.0 - above.sum) / kept;
  }
  return {top, below};
}

/// How far w [K] is from the simplex: |1 - sum| or the lowest weight below 0, whichever is worse.
GRAMSTEP_BODY double simplex_residual(const double* w, int tasks) {
  double sum = 0, lowest = 0;
  for (int i = 0; i < tasks; ++i) {
    sum += w[i];
    lowest = fmin(lowest, w[i]);
  }
  return fmax(fabs(sum - 1.0), 0.0 - lowest);
}

/// The weight of task i that the last step left in the plan's state; 1 / K in the first.
GRAMSTEP_BODY double last_weight(const GramProblem& problem, int i) {
  return problem.step == 1 ? 1.0 / problem.tasks : problem.state[i];
}

/// One step of projected gradient descent on a quadratic in w: w = the projection onto the simplex
/// of l - rate (G l + rho l), l the last step's weights. They go into the state as well; moved [K]
/// is scratch. Returns how far w is from the simplex. Ends with a barrier.
template <class X>
GRAMSTEP_BODY double descend_on_simplex(const X& x, const GramProblem& problem, double rate,
                                        double rho, double* moved, double* w) {
  const int tasks = problem.tasks;
  for_each(x, tasks, [&](int i) { w[i] = tasks == 1 ? 1.0 : last_weight(problem, i); });
  x.sync();
  multiply(x, problem.gram, w, tasks, moved);
  for_each(x, tasks, [&](int i) {
    const double slope = moved[i] + rho * w[i];
    moved[i] = tasks == 1 ? 1.0 : w[i] - rate * slope;  // one task's G may be NaN
  });
  x.sync();
  const SimplexShift shift = simplex_shift(moved, tasks);
  for_each(x, tasks, [&](int i) { problem.next_state[i] = w[i] = shift.project(moved[i]); });
  x.sync();
  return simplex_residual(w, tasks);
}

}  // namespace gramstep::inline v1::solvers
