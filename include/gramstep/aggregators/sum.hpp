// Sum: every task with the same weight.
#pragma once

#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1 {

/// The gradient of the sum of the losses: w_i = 1. The step that training without an aggregator
/// takes.
/// Degenerate input: none; the Gram matrix is not read.
struct Sum {
  static constexpr std::string_view name = "Sum";
  /// Calls visit(name, option) for every option: there is none.
  template <class Self, class Visit>
  static void options(Self& /*self*/, const Visit& /*visit*/) {}
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int /*tasks*/) { return 0; }
  /// Throws InvalidArgument where the options do not fit K tasks.
  void validate(int /*tasks*/) const {}

  /// Writes the weights [K]; one block, every thread of it calls.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    solvers::for_each(x, problem.tasks, [&](int i) { w[i] = 1.0; });
    x.sync();
    return {};
  }
};

}  // namespace gramstep::inline v1
