// GradNorm: hand values, scale, degenerate input, and the balance that it looks for.
#include <algorithm>
#include <cmath>

#include "gramstep/aggregators/gradnorm.hpp"
#include "tests/aggregators/course.hpp"

namespace gramstep::test {
namespace {

using Vector = std::vector<double>;

constexpr double few_roundings = 1e-14;

TEST(GradNorm, HandValues) {
  Course<GradNorm> course{GradNorm{.alpha = 1, .lr = 0.1, .rule = ScalarRule::sgd}};
  // Norms 3 and 1, mean 2: lengths 3 and 1 against a target of 2, derivatives 3/2 and -1/2,
  // w = 0.85 and 1.05, rescaled to a sum of 2.
  EXPECT_EQ(course.step({4, 4}, {3, 1}), (Vector{1, 1}));
  EXPECT_NEAR(course.state[0], 0.85 * 2 / 1.9, few_roundings);
  EXPECT_NEAR(course.state[1], 1.05 * 2 / 1.9, few_roundings);
  // Task 0 has come down to 1/4, task 1 to 3/4 of the first loss: r = 1/2 and 3/2. Lengths 0.85 and
  // 1.05 times 2 / 1.9 against targets of 1/2 and 3/2 of their mean.
  const Vector w = course.step({1, 3}, {1, 1});
  EXPECT_EQ(w[0], 0.85 * 2 / 1.9);
  const double a = w[0] - 0.1, b = w[1] + 0.1;
  EXPECT_NEAR(course.state[0], 2 * a / (a + b), few_roundings);
  EXPECT_EQ((Vector(course.state.begin() + 6, course.state.end())), (Vector{4, 4}));
}

TEST(GradNorm, GivenInitialLossesStandForTheFirst) {
  Course<GradNorm> course{GradNorm{.lr = 0.1, .rule = ScalarRule::sgd, .initial_losses = {1, 8}}};
  course.step({1, 1}, {1, 1});  // r = 16/9 and 2/9: task 0 is slow
  EXPECT_GT(course.state[0], 1.0);
  EXPECT_LT(course.state[1], 1.0);
}

TEST(GradNorm, BalancesLengthsWhereAllProgressAlike) {
  // At rest w_i n_i is the same for all, but for the last steps' size, lr times n_i over the mean.
  Course<GradNorm> course{GradNorm{.lr = 1e-3, .rule = ScalarRule::sgd}};
  const Vector norms{1, 2, 4};
  Vector w;
  for (int step = 0; step < 5000; ++step) w = course.step({1, 1, 1}, norms);
  EXPECT_NEAR(w[0] * 1, 12.0 / 7, 0.01);
  EXPECT_NEAR(w[1] * 2, 12.0 / 7, 0.01);
  EXPECT_NEAR(w[2] * 4, 12.0 / 7, 0.02);
}

TEST(GradNorm, HelpsTheSlowTask) {
  for (const ScalarRule rule : {ScalarRule::adam, ScalarRule::sgd}) {
    Course<GradNorm> course{GradNorm{.lr = 1e-3, .rule = rule}};
    course.step({1, 1}, {1, 1});
    for (int step = 0; step < 100; ++step) course.step({0.9, 0.3}, {1, 1});
    EXPECT_GT(course.state[0], 1.05);
  }
}

TEST(GradNorm, ScaleOfTheGradientsDoesNotMatter) {
  Random random(1);
  for (const int exponent : {-50, 50}) {  // of 2: about 1e-15 and 1e15, without a rounding
    for (const ScalarRule rule : {ScalarRule::adam, ScalarRule::sgd}) {
      Course<GradNorm> course{GradNorm{.rule = rule}}, scaled = course;
      Wander losses(8, 1, 2);
      for (int step = 0; step < 50; ++step) {
        const Vector now = losses.next(), norms = spread_numbers(8, 1, random);
        Vector longer = norms;
        for (double& n : longer) n = std::ldexp(n, exponent);
        ASSERT_TRUE(same_bits(course.step(now, norms), scaled.step(now, longer)));
      }
    }
  }
}

TEST(GradNorm, ScaleOfALossDoesNotMatter) {
  Course<GradNorm> course{}, rescaled{};
  Wander losses(2, 1, 3);
  for (int step = 0; step < 50; ++step) {
    const Vector now = losses.next();
    ASSERT_TRUE(same_bits(course.step(now, {1, 2}),
                          rescaled.step({now[0] * 0x1p40, now[1] * 0x1p-40}, {1, 2})));
  }
}

TEST(GradNorm, OneTaskGetsWeightOneWhateverItsGradient) {
  Course<GradNorm> course{};
  for (const double norm : {1.0, 0.0, double{NAN}, 1e15, infinity}) {
    EXPECT_EQ(course.step({norm == 0 ? 3.0 : 2.0}, {norm}), Vector{1});
    for (const double value : course.state) EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(GradNorm, ZeroGradientsMoveNothing) {
  Course<GradNorm> all{};
  for (int step = 0; step < 5; ++step) {
    EXPECT_EQ(all.step({1.0 + step, 2}, {0, 0}), (Vector{1, 1}));
  }
  // With one gradient left its length is twice the mean: it falls as far as it may.
  Course<GradNorm> one{};
  Vector w;
  for (int step = 0; step < 3000; ++step) w = one.step({1, 1}, {0, 5});
  EXPECT_NEAR(w[0], 2, few_roundings);
  EXPECT_GT(w[1], 0.0);
  EXPECT_LE(w[1], 1e-29);
}

TEST(GradNorm, NoStepTakesMoreThanHalfOfAWeight) {
  // Derivatives 3/2 and -1/2: 1 - 15 is held at 1/2, 1 + 5 is not.
  Course<GradNorm> course{GradNorm{.lr = 10, .rule = ScalarRule::sgd}};
  course.step({1, 1}, {3, 1});
  EXPECT_NEAR(course.state[0], 2 * 0.5 / 6.5, few_roundings);
  EXPECT_NEAR(course.state[1], 2 * 6 / 6.5, few_roundings);
}

TEST(GradNorm, HugeStepsKeepWeightsPositive) {
  Course<GradNorm> course{GradNorm{.lr = 1e6, .rule = ScalarRule::sgd}};
  Random random(4);
  for (int step = 0; step < 50; ++step) {
    const Vector w = course.step(spread_numbers(3, 1, random), spread_numbers(3, 1, random));
    double sum = 0;
    for (const double value : w) {
      EXPECT_GT(value, 0);
      sum += value;
    }
    EXPECT_NEAR(sum, 3, few_roundings);
  }
}

TEST(GradNorm, RoundingDoesNotDecideADirection) {
  // Every length is at its target but for a last bit.
  Course<GradNorm> course{};
  const Vector norms{0.1, 0.1 * (1 + 0x1p-51), 0.1 * (1 - 0x1p-51)};
  for (int step = 0; step < 5; ++step) {
    EXPECT_EQ(course.step({0.1, 0.7, 0.3}, norms), (Vector{1, 1, 1}));
  }
}

TEST(GradNorm, OptionsOutOfRange) {
  expect_error<InvalidArgument>([] { GradNorm{.alpha = -1}.validate(2); },
                                {"GradNorm.alpha", "-1"});
  expect_error<InvalidArgument>([] { GradNorm{.lr = NAN}.validate(2); }, {"GradNorm.lr", "nan"});
  expect_error<InvalidArgument>([] { GradNorm{.initial_losses = {1, 0}}.validate(2); },
                                {"GradNorm.initial_losses"});
  expect_error<InvalidArgument>([] { GradNorm{.initial_losses = {1}}.validate(2); },
                                {"GradNorm.initial_losses"});
}

}  // namespace
}  // namespace gramstep::test
