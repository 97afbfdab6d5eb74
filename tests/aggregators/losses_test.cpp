// GLS, ScaleInvariant, STCH and DWA: weights from the losses, without anything learned.
#include <cmath>
#include <numeric>

#include "gramstep/aggregators/dwa.hpp"
#include "gramstep/aggregators/gls.hpp"
#include "gramstep/aggregators/scale_invariant.hpp"
#include "gramstep/aggregators/stch.hpp"
#include "tests/aggregators/course.hpp"
#include "tests/reference/loss_weightings.hpp"

namespace gramstep::test {
namespace {

using reference::Vector;

/// Weights of losses that come to a few roundings by either way.
constexpr double few_roundings = 1e-14;
/// Central differences with a step of 1e-5: 1e-10 of truncation, 2^-52 / 1e-5 of rounding each way,
/// times the size of a sum of 8 terms.
constexpr double by_differences = 1e-8;

/// The weights of a method without memory.
template <class A>
Vector weights_of(const A& aggregator, const Vector& losses) {
  Course<A> course{aggregator};
  return course.step(losses);
}

TEST(Gls, HandValues) {
  // L = sqrt(4 * 9) = 6.
  const Vector w = weights_of(GLS{}, {4, 9});
  EXPECT_NEAR(w[0], 6.0 / 8, few_roundings);
  EXPECT_NEAR(w[1], 6.0 / 18, few_roundings);
  EXPECT_EQ(weights_of(GLS{}, {5}), Vector{1});
  EXPECT_EQ(weights_of(GLS{}, {7, 7, 7}), Vector(3, 1.0 / 3));
}

TEST(Gls, WeightsAreTheDerivativeOfTheGeometricMean) {
  Random random(1);
  for (const int tasks : {1, 2, 8}) {
    const Vector losses = spread_numbers(tasks, 2, random);
    EXPECT_LE(relative_distance(weights_of(GLS{}, losses),
                                reference::derivative(reference::geometric_mean, losses)),
              by_differences);
  }
}

TEST(Gls, ScaleOfAllLossesDoesNotMatter) {
  Random random(2);
  Vector losses = spread_numbers(17, 3, random);
  const Vector w = weights_of(GLS{}, losses);
  for (double& l : losses) l *= 1e20;
  EXPECT_LE(relative_distance(weights_of(GLS{}, losses), w), few_roundings);
}

TEST(Gls, AProductBeyondTheRangeOfDouble) {
  Vector losses(64, 1e30);  // 1e1920
  EXPECT_EQ(weights_of(GLS{}, losses), Vector(64, 1.0 / 64));
  losses.assign(64, 1e-30);
  EXPECT_EQ(weights_of(GLS{}, losses), Vector(64, 1.0 / 64));
  // 1e30 against 1e-30: L is 1. A logarithm of 138 has an error of 3e-14.
  const Vector w = weights_of(GLS{}, {1e30, 1e-30});
  EXPECT_NEAR(w[0] * 2e30, 1, 1e-13);
  EXPECT_NEAR(w[1] * 2e-30, 1, 1e-13);
}

TEST(ScaleInvariant, HandValues) {
  EXPECT_EQ(weights_of(ScaleInvariant{}, {4, 0.5, 1e30, 1e-30}),
            (Vector{0.25, 2, 1 / 1e30, 1 / 1e-30}));
  EXPECT_EQ(weights_of(ScaleInvariant{}, {8}), Vector{0.125});
}

TEST(ScaleInvariant, WeightsAreTheDerivativeOfTheLogarithms) {
  Random random(3);
  const Vector losses = spread_numbers(8, 2, random);
  EXPECT_LE(relative_distance(weights_of(ScaleInvariant{}, losses),
                              reference::derivative(reference::sum_of_logarithms, losses)),
            by_differences);
}

TEST(ScaleInvariant, ARescaledLossGivesTheSameGradient) {
  // g scales with its loss by s, so w g stays if w s does. A power of two: no rounding.
  const Vector w = weights_of(ScaleInvariant{}, {0.3, 5, 11});
  const Vector rescaled = weights_of(ScaleInvariant{}, {0.3 * 0x1p40, 5 * 0x1p-40, 11});
  EXPECT_EQ((Vector{rescaled[0] * 0x1p40, rescaled[1] * 0x1p-40, rescaled[2]}), w);
}

TEST(Stch, HandValues) {
  // lambda = 1/2: heights 0 and log 3.
  const Vector w = weights_of(STCH{}, {0, 2 * std::log(3.0)});
  EXPECT_NEAR(w[0], 0.5 * 0.25, few_roundings);
  EXPECT_NEAR(w[1], 0.5 * 0.75, few_roundings);
  // Given lambda and z: heights 2 (1 - 1) and 3 (5 - 5).
  EXPECT_EQ(weights_of(STCH{.preference = {2, 3}, .ideal = {1, 5}}, {1, 5}), (Vector{1, 1.5}));
  EXPECT_EQ(weights_of(STCH{}, {42}), Vector{1});
  EXPECT_EQ(weights_of(STCH{.preference = {0.3}}, {42}), Vector{0.3});
}

TEST(Stch, WeightsAreTheDerivativeOfTheSmoothMaximum) {
  Random random(4);
  for (const double mu : {0.5, 1.0, 20.0}) {
    const Vector losses = spread_numbers(8, 0.5, random), lambda = spread_numbers(8, 0.3, random),
                 ideal = spread_numbers(8, 0.5, random);
    const STCH stch{.mu = mu,
                    .preference = TaskValues{std::span<const double>(lambda)},
                    .ideal = TaskValues{std::span<const double>(ideal)}};
    const auto smooth = [&](const Vector& l) {
      return reference::smooth_maximum(l, lambda, ideal, mu);
    };
    const Vector w = weights_of(stch, losses), expected = reference::derivative(smooth, losses);
    for (std::size_t i = 0; i < 8; ++i) {
      EXPECT_NEAR(w[i], expected[i], by_differences * 8) << "mu = " << mu << ", task " << i;
    }
  }
}

TEST(Stch, SharesOfThePreferenceAddUpToOne) {
  Random random(5);
  for (const int tasks : {1, 2, 17, 64}) {
    const Vector lambda = spread_numbers(tasks, 1, random);
    const STCH stch{.preference = TaskValues{std::span<const double>(lambda)}};
    const Vector w = weights_of(stch, spread_numbers(tasks, 1, random));
    double shares = 0;
    for (std::size_t i = 0; i < w.size(); ++i) shares += w[i] / lambda[i];
    EXPECT_NEAR(shares, 1, tasks * 0x1p-51);
  }
}

TEST(Stch, LossesAtTheIdealOrBelowAreAllowed) {
  EXPECT_EQ(weights_of(STCH{}, {0, 0}), (Vector{0.25, 0.25}));
  EXPECT_EQ(weights_of(STCH{}, {-3, -3}), (Vector{0.25, 0.25}));
}

TEST(Stch, ShiftOrScaleOfLossesAndMuTogetherDoesNotMatter) {
  const Vector losses{0.5, 1.25, 3};
  const Vector w = weights_of(STCH{}, losses);
  Vector shifted = losses, scaled = losses;
  for (double& l : shifted) l += 8;
  for (double& l : scaled) l *= 1e12;
  EXPECT_LE(relative_distance(weights_of(STCH{}, shifted), w), few_roundings);
  EXPECT_LE(relative_distance(weights_of(STCH{.mu = 1e12}, scaled), w), few_roundings);
}

TEST(Stch, TheLargestTakesAllWhereMuIsSmall) {
  EXPECT_EQ(weights_of(STCH{.mu = 1e-300}, {1, 2, 1.5}), (Vector{0, 1.0 / 3, 0}));
  EXPECT_EQ(weights_of(STCH{}, {1e30, 1e-30}), (Vector{0.5, 0}));
  EXPECT_EQ(weights_of(STCH{.preference = {1e99, 1e-99}, .ideal = {-1e99, 0}}, {1e30, 1}),
            (Vector{1e99, 0}));
}

TEST(Stch, OptionsOutOfRange) {
  expect_error<InvalidArgument>([] { STCH{.mu = 0}.validate(2); }, {"STCH.mu", "> 0"});
  expect_error<InvalidArgument>([] { STCH{.mu = infinity}.validate(2); }, {"STCH.mu", "inf"});
  expect_error<InvalidArgument>([] { STCH{.preference = {1, 2}}.validate(3); },
                                {"STCH.preference"});
  expect_error<InvalidArgument>([] { STCH{.preference = {1, 0}}.validate(2); },
                                {"STCH.preference"});
  expect_error<InvalidArgument>([] { STCH{.preference = {1, 1e100}}.validate(2); },
                                {"STCH.preference", "1e+100"});
  expect_error<InvalidArgument>([] { STCH{.ideal = {1}}.validate(2); }, {"STCH.ideal"});
  expect_error<InvalidArgument>([] { STCH{.ideal = {1, NAN}}.validate(2); }, {"STCH.ideal", "nan"});
  EXPECT_NO_THROW((STCH{.mu = 1e-300, .preference = {1, 2}, .ideal = {-1, 0}}.validate(2)));
}

TEST(Dwa, HandValues) {
  Course<DWA> course{};
  EXPECT_EQ(course.step({1, 4}), (Vector{1, 1}));
  EXPECT_EQ(course.step({2, 2}), (Vector{1, 1}));
  // Quotients 2 and 1/2, over T = 2: 1 and 1/4.
  const Vector w = course.step({100, 1e-7});
  EXPECT_NEAR(w[0], 2 / (1 + std::exp(-0.75)), few_roundings);
  EXPECT_NEAR(w[1], 2 / (1 + std::exp(0.75)), few_roundings);
}

TEST(Dwa, TheFirstTwoPeriodsGiveExactlyOne) {
  for (int tasks = 1; tasks <= max_tasks; ++tasks) {
    const Vector losses(static_cast<std::size_t>(tasks), 3.0);
    Course<DWA> course{};
    for (int step = 0; step < 2; ++step) EXPECT_EQ(course.step(losses), Vector(losses.size(), 1.0));
  }
}

TEST(Dwa, AverageOverAPeriod) {
  // Means 1, 2, then of the third period none yet: two steps a period.
  Course<DWA> course{DWA{.temperature = 1, .period = 2}};
  for (const double loss : {0.5, 1.5, 1.0, 3.0}) {
    EXPECT_EQ(course.step({loss, 7}), (Vector{1, 1})) << "the first two periods";
  }
  const double first = 2 * std::exp(2) / (std::exp(2) + std::exp(1));
  EXPECT_NEAR(course.step({9, 7})[0], first, few_roundings);
  EXPECT_NEAR(course.step({11, 7})[0], first, few_roundings) << "the same through the period";
  const double second = 2 * std::exp(5) / (std::exp(5) + std::exp(1));  // 10 against 2
  EXPECT_NEAR(course.step({1, 7})[0], second, few_roundings);
}

TEST(Dwa, StateHoldsTheMeans) {
  Course<DWA> course{DWA{.period = 2}};
  for (const double loss : {1, 3, 5, 9, 4}) course.step({loss, 10 * loss});
  EXPECT_EQ(course.state, (Vector{4, 40, 7, 70, 2, 20}));
}

TEST(Dwa, ScaleOfALossDoesNotMatter) {
  Course<DWA> course{}, rescaled{};
  Wander losses(3, 1, 6);
  for (int step = 0; step < 10; ++step) {
    const Vector now = losses.next();
    EXPECT_EQ(course.step(now), rescaled.step({now[0] * 0x1p60, now[1] * 0x1p-60, now[2]}));
  }
}

TEST(Dwa, OneTaskAndHugeQuotients) {
  Course<DWA> one{}, two{};
  for (const double loss : {1e-30, 1e30, 1e-30, 1e30, 3.0}) EXPECT_EQ(one.step({loss}), Vector{1});
  two.step({1e-30, 1});
  two.step({1e30, 1});
  EXPECT_EQ(two.step({1, 1}), (Vector{2, 0}));
}

TEST(Dwa, OptionsOutOfRange) {
  expect_error<InvalidArgument>([] { DWA{.temperature = 0}.validate(2); },
                                {"DWA.temperature", "> 0"});
  expect_error<InvalidArgument>([] { DWA{.temperature = -1}.validate(2); }, {"DWA.temperature"});
  expect_error<InvalidArgument>([] { DWA{.period = 0}.validate(2); }, {"DWA.period", "got 0"});
}

}  // namespace
}  // namespace gramstep::test
