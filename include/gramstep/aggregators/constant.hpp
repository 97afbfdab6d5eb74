// Constant: weights that the user gives.
#pragma once

#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/rules/common.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1 {

/// The gradient of a weighted sum of the losses: w_i as given.
/// Degenerate input: none; the Gram matrix is not read.
struct Constant {
  TaskValues values = {};  ///< one finite weight a task, of either sign

  static constexpr std::string_view name = "Constant";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("values", self.values);
  }
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int /*tasks*/) { return 0; }
  /// Throws InvalidArgument unless there is one finite weight for each of K tasks.
  void validate(int tasks) const {
    expect(values.size() == tasks, "Constant.values", std::int64_t{values.size()},
           "one weight for every task");
    for (int i = 0; i < tasks; ++i) expect_in("Constant.values", values[i], -infinity);
  }

  /// Writes the weights [K]; one block, every thread of it calls.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    solvers::for_each(x, problem.tasks, [&](int i) { w[i] = values[i]; });
    x.sync();
    return {};
  }
};

}  // namespace gramstep::inline v1
