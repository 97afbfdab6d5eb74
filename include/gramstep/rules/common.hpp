// What all rules share: the numbers a rule is told, exact powers, checks of options.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "gramstep/export.hpp"

namespace gramstep::inline v1 {

/// What the plan tells a rule about one segment in one step, all in double.
struct RuleInput {
  double lr = 0;            ///< learning rate times the group's lr_scale
  double weight_decay = 0;  ///< the group's, or the rule's where the group has none
  std::int64_t t = 1;       ///< which step of this segment it is: 1 on first use
};

/// base^exponent by repeated squaring; the same bits on every device, which no libm promises. The
/// relative error is at most `exponent` roundings: for beta^t it is worth (1e-16) t beta^t of 1.
GRAMSTEP_BODY double power(double base, std::int64_t exponent) {
  double result = 1.0;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) result *= base;
    base *= base;
  }
  return result;
}

inline constexpr double infinity = std::numeric_limits<double>::infinity();

/// Throws InvalidArgument unless value is finite and low <= value < high; `what` names the option.
GRAMSTEP_EXPORT void expect_in(std::string_view what, double value, double low,
                               double high = infinity);

/// Throws InvalidArgument with `what` and `why` unless the condition holds.
GRAMSTEP_EXPORT void expect(bool condition, std::string_view what, std::string_view why);

}  // namespace gramstep::inline v1
