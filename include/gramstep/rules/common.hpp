// What all rules share: the numbers a rule is told, exact powers, checks of options.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "gramstep/export.hpp"

namespace gramstep::inline v1 {

/// What the plan tells a rule about one segment in one step, all in double.
struct RuleInput {
  double lr = 0;            ///< scheduled learning rate times the group's lr_scale
  double weight_decay = 0;  ///< the group's, or the rule's where the group has none
  std::int64_t t = 1;       ///< which step of this segment it is: 1 on first use
  bool matrix = false;      ///< whether a rule that treats matrices apart takes it as one
  /// What a schedule puts in the place of the rule's momentum or beta1; NaN: nothing.
  double momentum = std::numeric_limits<double>::quiet_NaN();

  /// The rule's own momentum or beta1, unless there is a scheduled one.
  GRAMSTEP_BODY double momentum_or(double own) const {
    return momentum == momentum ? momentum : own;
  }
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

/// The gradient with an L2 penalty: g + l2 p, and g itself, NaN or not, where there is none.
GRAMSTEP_BODY float with_l2(float g, float p, float l2) { return l2 != 0.0f ? g + l2 * p : g; }

/// a + s (b - a), from the nearer end as torch does it: where s is 1, b is left of b.
GRAMSTEP_BODY float lerp(float a, float b, float s) {
  return s < 0.5f ? a + s * (b - a) : b - (1.0f - s) * (b - a);
}

/// A segment as a rule that treats matrices apart takes it: a stack of matrices, whose rows and columns
/// are the last two dimensions of its shape; rows = columns = 0 where it is taken as none.
struct MatrixStack {
  std::int64_t size = 0;  ///< elements
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

/// Whether a piece of state is one number an element, or one a row or a column of a segment's matrices.
enum class Per { element, row, column };

/// A piece of an update's state. What has no name is workspace: neither shown nor saved.
struct StatePiece {
  std::string_view name = {};
  Per per = Per::element;
  friend constexpr bool operator==(const StatePiece&, const StatePiece&) = default;
};

/// How a matrix is orthogonalised: X = a X + (b A + c A^2) X, A = X X^T, so many times.
struct NewtonSchulz {
  int steps = 0;
  float a = 0, b = 0, c = 0;
};

/// The name of a piece of an element's state, and whether an update keeps it.
struct StateName {
  std::string_view name;
  bool kept = true;
};

/// The names of the Count pieces that are kept, in their order.
template <std::size_t Count, std::size_t Offered>
constexpr std::array<std::string_view, Count> kept_names(const StateName (&offered)[Offered]) {
  std::array<std::string_view, Count> names{};
  std::size_t count = 0;
  for (const StateName& each : offered) {
    if (each.kept) names[count++] = each.name;
  }
  return names;
}

inline constexpr double infinity = std::numeric_limits<double>::infinity();

/// Throws InvalidArgument unless value is finite and low <= value < high; `what` names the option.
GRAMSTEP_EXPORT void expect_in(std::string_view what, double value, double low,
                               double high = infinity);

/// Throws InvalidArgument, "what: got .., expected ..", unless the condition holds.
GRAMSTEP_EXPORT void expect(bool condition, std::string_view what, double got,
                            std::string_view expected);
GRAMSTEP_EXPORT void expect(bool condition, std::string_view what, std::int64_t got,
                            std::string_view expected);

/// Throws InvalidArgument with `what` and `why` unless the condition holds.
GRAMSTEP_EXPORT void expect(bool condition, std::string_view what, std::string_view why);

}  // namespace gramstep::inline v1
