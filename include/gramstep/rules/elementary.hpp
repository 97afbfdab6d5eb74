// Elementary functions in double from IEEE operations alone: the same bits on every device, which no
// libm promises. For the plan's scalars, a few a step, not for elements.
#pragma once

#include <cmath>
#include <cstdint>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1::elementary {

/// e^x for |x| <= 700, within 2 units in the last place: x = k ln 2 + r, and Taylor's series of r,
/// whose first term left out is below 0.35^14 / 14! = 5e-18.
GRAMSTEP_OUTLINED double exponential(double x) {
  constexpr double log2_high = 0x1.62e42fee00000p-1, log2_low = 0x1.a39ef35793c76p-33;
  const double k = floor(x / (log2_high + log2_low) + 0.5);
  const double r = (x - k * log2_high) - k * log2_low;
  double sum = 1.0;
  for (int n = 13; n > 0; --n) sum = 1.0 + r * sum / n;
  return ldexp(sum, static_cast<int>(k));
}

/// The natural logarithm of a normal x > 0, within 3 units in the last place: x = m 2^k with m in
/// [0.7, 1.42), and the series of log m = 2 atanh s, s = (m - 1) / (m + 1), |s| < 0.18.
GRAMSTEP_OUTLINED double logarithm(double x) {
  constexpr double log2_high = 0x1.62e42fee00000p-1, log2_low = 0x1.a39ef35793c76p-33;
  int k = 0;
  double m = frexp(x, &k);
  if (m < 0.7) {
    m *= 2;
    k -= 1;
  }
  const double s = (m - 1) / (m + 1), square = s * s;
  double sum = 0;
  for (int n = 21; n > 1; n -= 2) sum = (sum + 1.0 / n) * square;
  return k * log2_high + (2 * s * (1 + sum) + k * log2_low);
}

/// x^y for x >= 0 and y >= 0; 0^0 is 1, as std::pow has it. The relative error is at most
/// 7 |y log x| + 4 roundings: the logarithm's six and the product's in the exponent, the exponential's
/// four. Small integers y are powers by multiplication.
GRAMSTEP_BODY double raised(double x, double y) {
  if (y <= 4 && y == floor(y)) return power(x, static_cast<std::int64_t>(y));
  if (x == 0) return 0.0;
  return exponential(y * logarithm(x));
}

/// cos(pi x) for x in [0, 1], as the sine of pi (1/2 - x): within 4 roundings of 1, 4.5e-16.
GRAMSTEP_OUTLINED double cosine_pi(double x) {
  constexpr double pi = 0x1.921fb54442d18p+1;
  const double y = pi * (0.5 - x), square = y * y;
  double sum = 1.0;
  for (int n = 22; n > 1; n -= 2) sum = 1.0 - square * sum / (n * (n + 1));
  return y * sum;
}

}  // namespace gramstep::inline v1::elementary
