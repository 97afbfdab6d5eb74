// What all aggregators share: the problem they solve, and how it is handed to them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>

#include "gramstep/export.hpp"
#include "gramstep/layout.hpp"

namespace gramstep::inline v1 {

/// The small problem of one step. An aggregator reads it and writes K weights; the combined gradient
/// is d = J^T w. All memory is the plan's, on the device where the plan runs.
struct GramProblem {
  int tasks;  ///< K, 1 to max_tasks
  const double*
      gram;  ///< G = J J^T [K, K], row-major, symmetric, unscaled; with one task it may be NaN
  std::int64_t step;  ///< which step this is, 1 for the first; skipped steps do not count
  double* scratch;    ///< [scratch(K)] of the aggregator's own, uninitialised
};

/// One number a task, given by the user: at most max_tasks of them.
class TaskValues {
 public:
  /// No values.
  TaskValues() = default;
  /// The values in task order. Throws InvalidArgument for more than max_tasks.
  TaskValues(std::initializer_list<double> values)
      : TaskValues(std::span<const double>(values.begin(), values.size())) {}
  /// The values in task order, copied. Throws InvalidArgument for more than max_tasks.
  GRAMSTEP_EXPORT explicit TaskValues(std::span<const double> values);

  /// How many there are.
  int size() const { return size_; }
  /// The value of task `i`.
  GRAMSTEP_BOTH double operator[](int i) const { return values_[i]; }

 private:
  int size_ = 0;
  double values_[max_tasks] = {};
};

/// Sum over tasks, or its mean.
enum class Reduction { sum, mean };

}  // namespace gramstep::inline v1
