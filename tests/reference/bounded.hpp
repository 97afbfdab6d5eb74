// Bounded: a number that knows how far an fp32 computation of it may be from the truth.
//
// Running error analysis (Wilkinson 1986; Higham, "Accuracy and Stability of Numerical Algorithms",
// section 3.3): every operation passes its operands' errors on and adds one rounding of its own.
// The reference is a template over its numbers, so with Bounded instead of double it says what is
// right and, for every single element, how wrong fp32 may be after any number of steps.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

namespace gramstep::reference {

/// The relative error of one rounding to fp32, with room (2^-10 of it) for what double itself
/// rounds.
inline constexpr double fp32_unit = 0x1p-24 * (1 + 0x1p-10);

/// What an operation loses at most when its subnormal result is flushed to zero.
inline constexpr double fp32_flush = 0x1p-126;

/// A value in double and a bound on the error of the fp32 number that stands for it.
struct Bounded {
  double value = 0;
  double error = 0;

  Bounded() = default;
  Bounded(double exact, double error_of_it) : value(exact), error(error_of_it) {}
  /// A constant: rounded once, unless fp32 holds it.
  Bounded(double constant)  // NOLINT: a number is a number
      : value(constant),
        error(static_cast<float>(constant) == constant ? 0 : fp32_unit * std::abs(constant)) {}
};

/// The result of an operation whose operands left it with `error`, rounded to fp32; an exact zero is
/// one in fp32 too.
inline Bounded rounded(double value, double error) {
  if (value == 0 && error == 0) return {};
  return {value, error + fp32_unit * (std::abs(value) + error) + fp32_flush};
}

inline Bounded operator-(const Bounded& a) { return {-a.value, a.error}; }

inline Bounded operator+(const Bounded& a, const Bounded& b) {
  return rounded(a.value + b.value, a.error + b.error);
}

inline Bounded operator-(const Bounded& a, const Bounded& b) { return a + -b; }

inline Bounded operator*(const Bounded& a, const Bounded& b) {
  return rounded(a.value * b.value,
                 std::abs(a.value) * b.error + a.error * std::abs(b.value) + a.error * b.error);
}

inline Bounded operator/(const Bounded& a, const Bounded& b) {
  const double quotient = a.value / b.value;
  const double smallest = std::abs(b.value) - b.error;
  if (smallest <= 0) return {quotient, std::numeric_limits<double>::infinity()};
  return rounded(quotient, (a.error + std::abs(quotient) * b.error) / smallest);
}

inline Bounded sqrt(const Bounded& a) {
  const double root = std::sqrt(a.value);
  const double below = root - std::sqrt(std::max(a.value - a.error, 0.0));
  const double above = std::sqrt(a.value + a.error) - root;
  return rounded(root, std::max(below, above));
}

inline Bounded abs(const Bounded& a) { return {std::abs(a.value), a.error}; }

/// -1, 0 or 1.
inline double sign(double a) { return a > 0 ? 1 : a < 0 ? -1 : 0; }

/// Anything from -1 to 1 where the error leaves the sign open.
inline Bounded sign(const Bounded& a) {
  const bool known = std::abs(a.value) > a.error || (a.value == 0 && a.error == 0);
  return {sign(a.value), known ? 0.0 : 2.0};
}

/// a + s (b - a)
inline double lerp(double a, double b, double s) { return a + s * (b - a); }

/// a stands in it twice, so that (1 - s) of its error comes through, where operator by operator it
/// would be taken for 1 + s.
inline Bounded lerp(const Bounded& a, const Bounded& b, const Bounded& s) {
  const Bounded difference = rounded(b.value - a.value, a.error + b.error);
  const Bounded product = s * Bounded(difference.value, difference.error - a.error - b.error);
  const double passed_on =
      std::abs(1 - s.value) * a.error + std::abs(s.value) * b.error + s.error * (a.error + b.error);
  return rounded(a.value + product.value, product.error + passed_on);
}

/// The larger of two, NaN where either is NaN.
inline double larger(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::quiet_NaN();
  return std::max(a, b);
}

inline Bounded larger(const Bounded& a, const Bounded& b) {
  return {larger(a.value, b.value), std::max(a.error, b.error)};
}

}  // namespace gramstep::reference
