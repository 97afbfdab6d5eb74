// What all aggregators share: the problem they solve, what they answer, and how options are named.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

#include "gramstep/export.hpp"
#include "gramstep/layout.hpp"
#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// The small problem of one step. An aggregator reads it and writes K weights; the combined gradient
/// is d = J^T w. All memory is the plan's, on the device where the plan runs.
struct GramProblem {
  int tasks;  ///< K, 1 to max_tasks
  const double*
      gram;  ///< G = J J^T [K, K], row-major, symmetric, unscaled; with one task it may be NaN
  const double* losses;  ///< [K], NaN where the step was given none
  std::int64_t step;     ///< which step this is, 1 for the first; skipped steps do not count
  std::int64_t group;    ///< which of the projection's Gram matrices this is, 0 for the first
  const double* state;   ///< the aggregator's plan_states as the last step left them; not to be
                         ///< read in step 1
  double* next_state;    ///< the same after this step, all of which is to be written; it is
                         ///< dropped where the step is skipped
  double* scratch;       ///< [scratch(K)] of the aggregator's own, uninitialised
  bool prepared =
      false;  ///< whether prepare(x, problem), where there is one, was called for the same
              ///< tasks, step and group with the same scratch, left alone since
};

/// What an aggregator tells of its answer; every thread of the block returns the same.
struct Solution {
  std::int32_t iterations =
      0;                ///< pivots, Newton steps or sweeps that the solve took, 0 without any
  double residual = 0;  ///< how far the weights miss what the method promises, relative
};

/// How many doubles a piece of plan state has for K tasks: 1, K or K * K.
enum class Extent { one, task, pair };

/// A named piece of an aggregator's state, kept by the plan in double.
struct PlanState {
  std::string_view name;
  Extent extent;

  /// Doubles for K tasks.
  constexpr std::int64_t size(int tasks) const {
    return extent == Extent::one ? 1 : extent == Extent::task ? tasks : tasks * tasks;
  }
};

/// How a step mixes a task's gradient g into its momentum m: m = keep m + take g, m starting at 0.
struct TaskMomentum {
  double keep;
  double take;
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
  GRAMSTEP_BOTH int size() const { return size_; }
  /// The value of task `i`.
  GRAMSTEP_BOTH double operator[](int i) const { return values_[i]; }
  /// The value of task `i`, or `otherwise` where none were given.
  GRAMSTEP_BOTH double value_or(int i, double otherwise) const {
    return size_ == 0 ? otherwise : values_[i];
  }

 private:
  int size_ = 0;
  double values_[max_tasks] = {};
};

/// Throws InvalidArgument unless `values` is empty or has one finite number > 0 for each of K tasks;
/// `what` names the option.
GRAMSTEP_EXPORT void expect_preference(std::string_view what, const TaskValues& values, int tasks);

/// Sum over tasks, or its mean.
enum class Reduction { sum, mean };
/// The names of the values of an enumeration, in their order: how options are written as text.
constexpr std::array<std::string_view, 2> names_of(Reduction) { return {"sum", "mean"}; }

}  // namespace gramstep::inline v1
