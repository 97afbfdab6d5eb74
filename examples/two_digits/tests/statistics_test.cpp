// The statistics, against tables and cases worked out by hand.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "statistics.hpp"

namespace two_digits {
namespace {

TEST(Statistics, SpreadIsTheSampleDeviation) {
  const std::array<double, 3> values{1, 2, 3};
  EXPECT_DOUBLE_EQ(spread_of(values).mean, 2.0);
  EXPECT_DOUBLE_EQ(spread_of(values).deviation, 1.0);
  EXPECT_DOUBLE_EQ(spread_of(std::span(values).first(1)).deviation, 0.0);
}

TEST(Statistics, StudentQuantilesAreThoseOfTheTables) {
  struct Line {
    int freedom;
    double five_percent, one_percent;
  };
  for (const auto& [freedom, five_percent, one_percent] :
       {Line{1, 12.706, 63.657}, Line{2, 4.303, 9.925}, Line{3, 3.182, 5.841},
        Line{4, 2.776, 4.604}, Line{9, 2.262, 3.250}, Line{30, 2.042, 2.750},
        Line{119, 1.980, 2.618}}) {
    EXPECT_NEAR(student_quantile(0.05, freedom), five_percent, 6e-4) << freedom;
    EXPECT_NEAR(student_quantile(0.01, freedom), one_percent, 6e-4) << freedom;
    EXPECT_NEAR(student_p(-five_percent, freedom), 0.05, 1e-4) << freedom;
  }
  EXPECT_DOUBLE_EQ(student_p(0, 2), 1.0);
}

TEST(Statistics, DifferencesArePaired) {
  // Differences 1, 2, 3: mean 2, standard error 1 / sqrt 3. Unpaired they would drown.
  const std::array<double, 3> a{11, 52, 93}, b{10, 50, 90};
  const Difference difference = paired_difference(a, b);
  EXPECT_DOUBLE_EQ(difference.mean, 2.0);
  EXPECT_NEAR(difference.half_width, 4.302653 / std::sqrt(3.0), 1e-6);
  const double t = 2 * std::sqrt(3.0);
  EXPECT_NEAR(difference.p, 1 - t / std::sqrt(t * t + 2), 1e-12);  // of two degrees of freedom
  EXPECT_DOUBLE_EQ(paired_difference(b, a).mean, -2.0);
  EXPECT_DOUBLE_EQ(paired_difference(b, a).p, difference.p);
}

TEST(Statistics, WithoutASpreadNothingIsTold) {
  const std::array<double, 2> a{2, 3}, b{1, 2};
  EXPECT_EQ(paired_difference(a, b).p, 1.0);
  EXPECT_EQ(paired_difference(a, a).p, 1.0);
  const Difference one_seed = paired_difference(std::span(a).first(1), std::span(b).first(1));
  EXPECT_EQ(one_seed.p, 1.0);
  EXPECT_TRUE(std::isinf(one_seed.half_width));
}

TEST(Statistics, HolmRaisesTheSmallestMost) {
  // Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never below the one before.
  const std::array<double, 4> p{0.04, 0.01, 0.03, 0.02};
  const std::vector<double> adjusted = holm(p);
  EXPECT_DOUBLE_EQ(adjusted[1], 0.04);
  EXPECT_DOUBLE_EQ(adjusted[3], 0.06);
  EXPECT_DOUBLE_EQ(adjusted[2], 0.06);
  EXPECT_DOUBLE_EQ(adjusted[0], 0.06);
  EXPECT_EQ(holm(std::array<double, 2>{0.6, 0.9}), (std::vector<double>{1, 1}));
  EXPECT_TRUE(holm({}).empty());
}

}  // namespace
}  // namespace two_digits
