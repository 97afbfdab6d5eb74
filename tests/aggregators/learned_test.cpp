// UncertaintyWeighting and IMTLL: a scale for every loss, learned.
#include <cmath>

#include "gramstep/aggregators/imtl_l.hpp"
#include "gramstep/aggregators/uncertainty.hpp"
#include "tests/aggregators/course.hpp"
#include "tests/reference/loss_weightings.hpp"

namespace gramstep::test {
namespace {

using reference::Vector;

constexpr double few_roundings = 1e-14;
/// As in losses_test.cpp.
constexpr double by_differences = 1e-8;

TEST(UncertaintyWeighting, HandValues) {
  Course<UncertaintyWeighting> course{{.lr = 0.1, .rule = ScalarRule::sgd}};
  EXPECT_EQ(course.step({3, 0.5}), (Vector{0.5, 0.5})) << "s is 0 in the first step";
  // s = 0 - 0.1 (1/2 - l/2)
  EXPECT_NEAR(course.state[0], 0.1, few_roundings);
  EXPECT_NEAR(course.state[1], -0.025, few_roundings);
  const Vector w = course.step({1, 1});
  EXPECT_NEAR(w[0], 0.5 * std::exp(-0.1), few_roundings);
  EXPECT_NEAR(w[1], 0.5 * std::exp(0.025), few_roundings);
}

TEST(UncertaintyWeighting, AdamsFirstStepIsTheLearningRate) {
  Course<UncertaintyWeighting> course{{.lr = 0.01}};
  course.step({3, 0.5, 1});
  // lr g / (|g| + 1e-8) for g = -1, 1/4, 0
  EXPECT_NEAR(course.state[0], 0.01 / (1 + 1e-8), few_roundings);
  EXPECT_NEAR(course.state[1], -0.01 / (1 + 4e-8), few_roundings);
  EXPECT_EQ(course.state[2], 0);
}

TEST(UncertaintyWeighting, WeightsAreTheDerivativeOfTheLoss) {
  Random random(1);
  const Vector losses = spread_numbers(8, 1, random);
  Course<UncertaintyWeighting> course{{.lr = 0.1}};
  for (int step = 0; step < 20; ++step) course.step(losses);
  const Vector s(course.state.begin(), course.state.begin() + 8);
  const auto loss = [&](const Vector& l) { return reference::uncertainty_loss(l, s); };
  EXPECT_LE(relative_distance(course.step(losses), reference::derivative(loss, losses)),
            by_differences);
}

TEST(UncertaintyWeighting, RestsWhereEveryWeightedLossIsOneHalf) {
  for (const ScalarRule rule : {ScalarRule::adam, ScalarRule::sgd}) {
    Course<UncertaintyWeighting> course{{.lr = 0.1, .rule = rule}};
    const Vector losses{7, 1, 0.02};
    Vector w;
    // By plain descent what is missing shrinks by about 1 - lr/2 a step: 0.95^2000 is 0.
    for (int step = 0; step < 2000; ++step) w = course.step(losses);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(w[i] * losses[i], 0.5, 1e-6);
  }
}

TEST(UncertaintyWeighting, InitialIsTheFirstStepsAlone) {
  Course<UncertaintyWeighting> course{{.lr = 0, .initial = -0.5}};
  for (int step = 0; step < 3; ++step) EXPECT_EQ(course.step({2}), Vector{0.5 * std::exp(0.5)});
}

TEST(UncertaintyWeighting, ALossOfZeroDrivesItsWeightToTheLimit) {
  Course<UncertaintyWeighting> course{{.lr = 1, .rule = ScalarRule::sgd}};
  Vector w;
  for (int step = 0; step < 300; ++step) w = course.step({0, 1, -1});
  EXPECT_EQ(w, (Vector{0.5 * std::exp(80), 0.5, 0.5 * std::exp(80)}));
}

TEST(UncertaintyWeighting, PlainDescentFromAHugeLossStaysFinite) {
  Course<UncertaintyWeighting> course{{.lr = 1, .rule = ScalarRule::sgd}};
  course.step({1e30});
  EXPECT_EQ(course.step({1}), Vector{0.5 * std::exp(-80)});
}

TEST(UncertaintyWeighting, OptionsOutOfRange) {
  using U = UncertaintyWeighting;
  expect_error<InvalidArgument>([] { U{.lr = -1}.validate(2); }, {"UncertaintyWeighting.lr", "-1"});
  expect_error<InvalidArgument>([] { U{.lr = 1e60}.validate(2); }, {"UncertaintyWeighting.lr"});
  expect_error<InvalidArgument>([] { U{.initial = 81}.validate(2); },
                                {"UncertaintyWeighting.initial", "81"});
  expect_error<InvalidArgument>([] { U{.initial = NAN}.validate(2); }, {"nan"});
}

TEST(Imtll, HandValues) {
  Course<IMTLL> course{{.lr = 0.1, .rule = ScalarRule::sgd}};
  EXPECT_EQ(course.step({3, 0.5}), (Vector{1, 1})) << "s is 0 in the first step";
  // s = 0 - 0.1 (l - 1)
  const Vector w = course.step({1, 1});
  EXPECT_NEAR(w[0], std::exp(-0.2), few_roundings);
  EXPECT_NEAR(w[1], std::exp(0.05), few_roundings);
}

TEST(Imtll, WeightsAreTheDerivativeOfTheLoss) {
  Random random(2);
  const Vector losses = spread_numbers(8, 1, random);
  Course<IMTLL> course{{.lr = 0.1}};
  for (int step = 0; step < 20; ++step) course.step(losses);
  const Vector s(course.state.begin(), course.state.begin() + 8);
  const auto loss = [&](const Vector& l) { return reference::scaled_loss(l, s); };
  EXPECT_LE(relative_distance(course.step(losses), reference::derivative(loss, losses)),
            by_differences);
}

TEST(Imtll, RestsWhereEveryWeightedLossIsOne) {
  for (const ScalarRule rule : {ScalarRule::adam, ScalarRule::sgd}) {
    Course<IMTLL> course{{.lr = 0.1, .rule = rule}};
    const Vector losses{7, 1, 0.02};
    Vector w;
    for (int step = 0; step < 2000; ++step) w = course.step(losses);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(w[i] * losses[i], 1, 1e-6);
  }
}

TEST(Imtll, ALossOfZeroDrivesItsWeightToTheLimit) {
  Course<IMTLL> course{{.lr = 1, .rule = ScalarRule::sgd}};
  Vector w;
  for (int step = 0; step < 300; ++step) w = course.step({0, 1, -1});
  EXPECT_EQ(w, (Vector{std::exp(80), 1, std::exp(80)}));
}

TEST(Imtll, OptionsOutOfRange) {
  expect_error<InvalidArgument>([] { IMTLL{.lr = infinity}.validate(2); }, {"IMTLL.lr", "inf"});
  expect_error<InvalidArgument>([] { IMTLL{.initial = -81}.validate(2); },
                                {"IMTLL.initial", "-81"});
}

TEST(LearnedScalars, AFrozenRateMovesNothing) {
  Course<IMTLL> course{{.lr = 0}};
  for (const double loss : {1e30, 1e-30, 5.0}) EXPECT_EQ(course.step({loss}), Vector{1});
}

}  // namespace
}  // namespace gramstep::test
