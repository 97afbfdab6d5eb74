// FAMO: hand values, the simplex, and a problem on which it evens the losses' rates out.
#include <cmath>

#include "gramstep/aggregators/famo.hpp"
#include "tests/aggregators/course.hpp"
#include "tests/reference/loss_weightings.hpp"

namespace gramstep::test {
namespace {

using reference::Vector;

/// As in losses_test.cpp.
constexpr double by_differences = 1e-8;

TEST(Famo, HandValues) {
  // xi = 0: weights as 1/D. The 1e-8 moves them by 1e-8 relative.
  Course<FAMO> course{};
  const Vector first = course.step({1, 3});
  EXPECT_NEAR(first[0], 0.75, 1e-8);
  EXPECT_NEAR(first[1], 0.25, 1e-8);
  EXPECT_EQ((Vector(course.state.begin(), course.state.begin() + 6)), Vector(6, 0.0));
  // Task 0 falls by e, task 1 not: gradient z (delta - z delta) = (1/4, -1/4), Adam's first step is
  // its sign times lr.
  const Vector second = course.step({std::exp(-1), 3});
  EXPECT_NEAR(course.state[0], -0.025, 1e-7);
  EXPECT_NEAR(course.state[1], 0.025, 1e-7);
  const double a = std::exp(-0.025) / std::exp(-1), b = std::exp(0.025) / 3;
  EXPECT_NEAR(second[0], a / (a + b), 1e-7);
}

TEST(Famo, WeightDecayPullsXiBack) {
  // Losses at rest: what is left is gamma xi, whose first Adam steps have the sign of xi.
  Course<FAMO> free{FAMO{.gamma = 0}}, decayed{FAMO{.gamma = 1}};
  for (auto* course : {&free, &decayed}) {
    course->step({1, 3});
    for (int step = 0; step < 5; ++step) course->step({std::exp(-1.0 - step), 3});
    for (int step = 0; step < 300; ++step) course->step({0.01, 3});
  }
  EXPECT_GT(std::abs(free.state[0]), 0.1);
  EXPECT_LT(std::abs(decayed.state[0]), 0.05);
}

TEST(Famo, WeightsAreTheDerivativeOfTheLoss) {
  Random random(1);
  const Vector minima{0.01, -3, 0, 0.02, -1, 0, 0, 0};
  Course<FAMO> course{FAMO{.lr = 0.1, .min_losses = TaskValues{std::span<const double>(minima)}}};
  Wander losses(8, 1, 2);
  for (int step = 0; step < 20; ++step) course.step(losses.next());
  const Vector now = losses.next();
  const Vector w = course.step(now);
  const Vector z = reference::softmax(Vector(course.state.begin(), course.state.begin() + 8));
  const auto loss = [&](const Vector& l) { return reference::famo_loss(l, now, z, minima); };
  EXPECT_LE(relative_distance(w, reference::derivative(loss, now)), by_differences);
}

TEST(Famo, OneTaskGetsWeightOne) {
  Course<FAMO> course{};
  for (const double loss : {1.0, 0.5, 1e30, 1e-30, 0.0, 7.0}) {
    EXPECT_EQ(course.step({loss}), Vector{1});
  }
}

TEST(Famo, LossesAtOrBelowTheirMinimumCountAsAtIt) {
  Course<FAMO> at{FAMO{.min_losses = {1, 1}}}, below = at;
  for (const double loss : {5.0, 2.0, 1.0, 3.0}) {
    const Vector expected = at.step({loss, 2});
    EXPECT_EQ(below.step({loss == 1.0 ? 0.5 : loss, 2}), expected);
    for (const double w : expected) EXPECT_TRUE(std::isfinite(w));
  }
  // At the minimum D is 1e-8: the other task, at 1, has 1e-8 of the weight.
  Course<FAMO> zero{};
  EXPECT_NEAR(zero.step({0, 1})[1], 1e-8, 1e-15);
  Course<FAMO> both{};
  EXPECT_EQ(both.step({0, 0}), (Vector{0.5, 0.5}));
}

TEST(Famo, EvensOutTheRatesOfDecrease) {
  // l_i falls by a factor exp(-c_i w_i l_i) in a step: its rate is c_i w_i l_i. The rates are equal
  // where z_i c_i is the same for all.
  const Vector c{1, 4};
  Course<FAMO> course{FAMO{.gamma = 0}};
  Vector losses{1, 1}, z;
  for (int step = 0; step < 1500; ++step) {
    const Vector w = course.step(losses);
    for (std::size_t i = 0; i < 2; ++i) losses[i] *= std::exp(-0.01 * c[i] * w[i] * losses[i]);
    if (losses[0] < 1e-3) losses = {losses[0] * 1e3, losses[1] * 1e3};
    z = reference::softmax({course.state[0], course.state[1]});
  }
  EXPECT_NEAR(z[0], 0.8, 0.02);
  EXPECT_NEAR(z[1], 0.2, 0.02);
}

TEST(Famo, WeightsAreOnTheSimplex) {
  Course<FAMO> course{FAMO{.lr = 1}};
  Random random(3);
  for (int step = 0; step < 300; ++step) {
    const Vector w = course.step(spread_numbers(64, 30, random));
    double sum = 0;
    for (const double value : w) {
      EXPECT_GE(value, 0);
      sum += value;
    }
    EXPECT_NEAR(sum, 1, 64 * 0x1p-52);
    EXPECT_LE(course.solution.residual, 64 * 0x1p-52);
  }
}

TEST(Famo, OptionsOutOfRange) {
  expect_error<InvalidArgument>([] { FAMO{.lr = -0.1}.validate(2); }, {"FAMO.lr", "-0.1"});
  expect_error<InvalidArgument>([] { FAMO{.gamma = NAN}.validate(2); }, {"FAMO.gamma", "nan"});
  expect_error<InvalidArgument>([] { FAMO{.min_losses = {1, 2, 3}}.validate(2); },
                                {"FAMO.min_losses"});
  expect_error<InvalidArgument>([] { FAMO{.min_losses = {1, infinity}}.validate(2); },
                                {"FAMO.min_losses", "inf"});
}

}  // namespace
}  // namespace gramstep::test
