// The elementary functions that the plan has of its own, against libm in long double.
#include "gramstep/rules/elementary.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support.hpp"

namespace gramstep::test {
namespace {

/// How many units in the last place of the expected value a result is off.
long double units_off(double got, long double expected) {
  const auto near = static_cast<double>(expected);
  const double unit = std::nextafter(std::fabs(near), INFINITY) - std::fabs(near);
  return std::fabs(static_cast<long double>(got) - expected) / static_cast<long double>(unit);
}

template <class Draw, class Check>
void for_draws(const Draw& draw, const Check& check) {
  Random random(11);
  for (int i = 0; i < 100'000; ++i) check(draw(random));
}

TEST(Elementary, ExponentialIsWithinTwoUnits) {
  const auto check = [](double x) {
    ASSERT_LE(units_off(elementary::exponential(x), std::exp(static_cast<long double>(x))), 2) << x;
  };
  for_draws([](Random& random) { return 700 * random.uniform(); }, check);
  for_draws([](Random& random) { return random.uniform(); }, check);
  for (const double x : {0.0, -0.0, 1.0, 700.0, -700.0, 0x1p-60, -0x1p-60}) check(x);
  for (int k = -1009; k <= 1009; ++k) {  // where the power of two changes
    const double edge = (k + 0.5) * std::log(2.0);
    check(edge);
    check(std::nextafter(edge, INFINITY));
    check(std::nextafter(edge, -INFINITY));
  }
  EXPECT_EQ(elementary::exponential(0), 1.0);
}

TEST(Elementary, LogarithmIsWithinThreeUnits) {
  const auto check = [](double x) {
    const double got = elementary::logarithm(x);
    ASSERT_LE(units_off(got, std::log(static_cast<long double>(x))), 3) << x;
  };
  for_draws([](Random& random) { return 1 + 0.5 * random.uniform(); }, check);
  for_draws([](Random& random) { return std::exp(700 * random.uniform()); }, check);
  for_draws([](Random& random) { return 1 + 0x1p-20 * random.uniform(); }, check);
  for (const double x : {0.5, 0.7, 1.4, 2.0, 1 + 0x1p-52, 1 - 0x1p-53, 0.999, 0.96, 1e-8,
                         std::numeric_limits<double>::min(), std::numeric_limits<double>::max()}) {
    check(x);
    check(std::nextafter(x, 1));
  }
  EXPECT_EQ(elementary::logarithm(1), 0.0);
}

/// A rounding is 2^-53 of the result. Those of the logarithm are magnified by |y log x|.
TEST(Elementary, RaisedIsWithinItsRoundings) {
  const auto check = [](double x, double y) {
    const long double expected = std::pow(static_cast<long double>(x), static_cast<long double>(y));
    const double roundings = 7 * std::fabs(y * std::log(x)) + 4;
    const long double off =
        std::fabs(static_cast<long double>(elementary::raised(x, y)) - expected);
    ASSERT_LE(off, roundings * 0x1p-53 * expected) << x << "^" << y;
  };
  Random random(12);
  for (int i = 0; i < 100'000; ++i) {
    const double share = 0.5 + 0.5 * random.uniform();
    check(share, 10 + 10 * random.uniform());       // PolynomialLR
    check(1e9 * share, 4 + 4 * random.uniform());   // schedule-free: t^r
    check(0.01 * share, 2 + 2 * random.uniform());  // schedule-free: lr^power
    check(0.96, 500 + 500 * random.uniform());      // NAdam
    check(0.5, std::fabs(random.uniform()));        // AdEMAMix
  }
  for (const int y : {0, 1, 2, 3, 4, 5, 7}) check(0.999, y);
}

TEST(Elementary, RaisedOfZeroAndByZero) {
  EXPECT_EQ(elementary::raised(0, 0), 1.0);
  EXPECT_EQ(elementary::raised(0, 0.5), 0.0);
  EXPECT_EQ(elementary::raised(0, 3), 0.0);
  EXPECT_EQ(elementary::raised(0.3, 0), 1.0);
  EXPECT_EQ(elementary::raised(0.3, 1), 0.3);
  EXPECT_EQ(elementary::raised(1, 0.7), 1.0);
  EXPECT_EQ(elementary::raised(0x1p-62, 64), 0.0) << "below the smallest double";
}

TEST(Elementary, CosineIsWithinItsBound) {
  constexpr long double pi = 3.14159265358979323846264338327950288L;
  const auto check = [&](double x) {
    const long double expected = std::cos(pi * static_cast<long double>(x));
    ASSERT_LE(std::fabs(static_cast<long double>(elementary::cosine_pi(x)) - expected),
              4 * 0x1p-53L)
        << x;
  };
  for_draws([](Random& random) { return 0.5 + 0.5 * random.uniform(); }, check);
  for (int i = 0; i <= 1024; ++i) check(i / 1024.0);
  for (const double x : {0x1p-60, 1 - 0x1p-53, 0.5 + 0x1p-52}) check(x);
  EXPECT_EQ(elementary::cosine_pi(0.5), 0.0);
}

}  // namespace
}  // namespace gramstep::test
