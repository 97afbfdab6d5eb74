// The rules themselves: the scalars in double, and the traps others fell into.
#include <cmath>

#include "tests/reference_rule.hpp"
#include "tests/rule_trace.hpp"
#include "tests/support.hpp"

namespace gramstep::test {
namespace {

// 1 - 4e-8 is 1 - 6e-8 in fp32: as a factor it would take half as much again. A subtracted product
// takes one unit in the last place from some parameters and nothing from the others.
TEST(Rules, SmallDecoupledDecayIsRightOnAverage) {
  const AdamW rule{.lr = 4e-4, .weight_decay = 1e-4};
  const AdamScalars s = rule.scalars({.lr = rule.lr, .weight_decay = rule.weight_decay, .t = 1});
  double taken = 0, expected = 0;
  for (int i = 0; i < 4096; ++i) {
    const float start = 1 + static_cast<float>(i) / 4096;
    float p = start, state[2] = {};
    AdamUpdate<false>::apply(s, 0, p, state);
    taken += static_cast<double>(start) - static_cast<double>(p);
    expected += 4e-8 * static_cast<double>(start);
  }
  EXPECT_NEAR(taken, expected, 0.05 * expected);
}

TEST(Rules, ZeroAndTinyLearningRatesDivideByNothing) {
  for_every_rule([](auto rule) {
    SCOPED_TRACE(rule.name);
    for (const double lr : {0.0, 1e-28}) {
      rule.lr = lr;
      rule.weight_decay = 0.1;
      for (const float g : {0.0f, 1.0f, -1e-15f}) {
        for (const float p : trace(rule, 1, {g, g, g})) EXPECT_EQ(p, 1.0f) << lr << " " << g;
      }
    }
  });
  // From zero the move is seen: Adam's first is lr itself.
  const float moved = trace(Adam{.lr = 1e-28}, 0, {1})[0];
  EXPECT_NEAR(static_cast<double>(moved), -1e-28, 1e-34);
}

/// The scalars of Adam at step t in long double, to be compared within a rounding to fp32 and the
/// roundings of t squarings in double: see power().
void expect_adam_scalars(double beta1, double beta2, std::int64_t t) {
  const Adam rule{.lr = 0.25, .beta1 = beta1, .beta2 = beta2, .epsilon = 0.5};
  const AdamScalars s = rule.scalars({.lr = rule.lr, .weight_decay = 0, .t = t});
  const auto steps = static_cast<long double>(t);
  const long double c1 = -std::expm1(steps * std::log1p(-(1 - static_cast<long double>(beta1))));
  const long double c2 = -std::expm1(steps * std::log1p(-(1 - static_cast<long double>(beta2))));
  const long double one_rounding = 0x1p-24L;
  // What power() may be off by, relative to c: t beta^t / (1 - beta^t) roundings, at most beta / (1
  // - beta), and the subtraction's.
  const long double powers = 0x1p-53L * (2 + beta1 / (1 - beta1) + beta2 / (1 - beta2));
  const long double bound = one_rounding + 2 * powers;
  const auto relative = [](float got, long double expected) {
    return std::abs(static_cast<long double>(got) / expected - 1);
  };
  EXPECT_LE(relative(s.step, 0.25L * std::sqrt(c2) / c1), bound) << "t = " << t;
  EXPECT_LE(relative(s.epsilon, 0.5L * std::sqrt(c2)), bound) << "t = " << t;
}

TEST(Rules, BiasCorrectionsAreTakenInDouble) {
  // In fp32, 1 - 0.999 is 2e-5 off and 1 - 0.9999999 has one digit left.
  for (const double beta2 : {0.999, 0.999999, 0.9999999}) {
    for (const std::int64_t t : {1, 2, 3, 10, 1000}) expect_adam_scalars(0.9, beta2, t);
  }
}

TEST(Rules, StepCountsGoBeyondWhatFloatsCount) {
  // betas near 1, so that c still moves with t; 2^24 is where an fp32 counter stops.
  const double beta = 1 - 0x1p-26;
  for (const std::int64_t t : {(std::int64_t{1} << 24) + 1, std::int64_t{1} << 26}) {
    expect_adam_scalars(0.9, beta, t);
  }
  const double slower = 1 - 0x1p-34;
  for (const std::int64_t t : {(std::int64_t{1} << 31) + 1, (std::int64_t{1} << 33) + 12345}) {
    expect_adam_scalars(slower, slower, t);
  }
  const Adam rule{.beta2 = beta};
  const auto epsilon_at = [&](std::int64_t t) {
    return rule.scalars({.lr = 1, .weight_decay = 0, .t = t}).epsilon;
  };
  EXPECT_GT(epsilon_at(std::int64_t{1} << 25), 1.2f * epsilon_at(std::int64_t{1} << 24));
}

/// One step of every rule at such a count, against the reference: betas near 1, so that its scalars still
/// move, and a parameter of 0, so that nothing hides them.
TEST(Rules, EveryRulesScalarsAreRightAtSuchCounts) {
  for_every_rule([](auto rule) {
    for (const std::int64_t t : {std::int64_t{1} << 24, std::int64_t{1} << 25}) {
      constexpr double slow = 1 - 0x1p-26;
      if constexpr (requires { rule.beta2; }) rule.beta2 = slow;
      if constexpr (requires { rule.lr_decay; }) rule.lr_decay = 1e-7;
      if constexpr (requires { rule.alpha_warmup; }) {
        rule.alpha_warmup = rule.beta3_warmup = std::int64_t{1} << 26;
      }
      Element element(rule, 0);
      std::vector<double> p{0};
      reference::RuleState<double> state(1);
      element.t = state.t = t;
      std::ranges::fill(element.kept, 0.5);
      state.mu_product = state.weight_sum = state.lr_max = 0.5;
      element.step(0.75f);
      reference::update(reference_rule(rule), {0.75}, p, state);
      EXPECT_NEAR(static_cast<double>(element.p) / p[0], 1, 16 * 0x1p-24) << rule.name << " " << t;
    }
  });
}

TEST(Rules, PowersAreExactEnoughAndOfAnyExponent) {
  EXPECT_EQ(power(0.5, 0), 1.0);
  EXPECT_EQ(power(0.5, 10), 0x1p-10);
  EXPECT_EQ(power(0.0, 5), 0.0);
  EXPECT_EQ(power(0.9, std::int64_t{1} << 40), 0.0);
  for (const std::int64_t n : {1, 2, 7, 100, 1001}) {
    EXPECT_NEAR(power(0.999, n) / std::pow(0.999, static_cast<double>(n)), 1,
                static_cast<double>(n + 1) * 0x1p-53);
  }
}

/// From whichever end is nearer: from the other one, a small b is lost beside a large a.
TEST(Rules, LerpEndsWhereItShould) {
  for (const float a : {1.0f, -3e7f, 0.0f}) {
    for (const float b : {1e-9f, 0.7f, -5e5f}) {
      EXPECT_EQ(lerp(a, b, 0.0f), a);
      EXPECT_EQ(lerp(a, b, 1.0f), b);
    }
  }
  EXPECT_EQ(lerp(1, 3, 0.25f), 1.5f);
  EXPECT_EQ(lerp(1, 3, 0.75f), 2.5f);
}

TEST(Rules, AmsgradsMaximumLetsNanThrough) {
  const AdamScalars s = Adam{}.scalars({.lr = 1e-3, .weight_decay = 0, .t = 1});
  float p = 1;
  float state[3] = {0, 0, 1};
  AdamUpdate<true>::apply(s, NAN, p, state);
  EXPECT_TRUE(std::isnan(state[2])) << "from v";
  EXPECT_TRUE(std::isnan(p));
  p = 1;
  float with_nan[3] = {0, 4, NAN};
  AdamUpdate<true>::apply(s, 1, p, with_nan);
  EXPECT_TRUE(std::isnan(with_nan[2])) << "from the maximum itself";
  EXPECT_TRUE(std::isnan(p));
}

TEST(Rules, AmsgradKeepsTheLargest) {
  const AdamScalars s = Adam{.beta2 = 0.5}.scalars({.lr = 1e-3, .weight_decay = 0, .t = 1});
  float p = 1;
  float state[3] = {0, 2, 8};
  AdamUpdate<true>::apply(s, 0, p, state);
  EXPECT_EQ(state[1], 1.0f);
  EXPECT_EQ(state[2], 8.0f);
  AdamUpdate<true>::apply(s, 8, p, state);
  EXPECT_EQ(state[1], 32.5f);
  EXPECT_EQ(state[2], 32.5f);
}

TEST(Rules, AdamaxMaximumLetsNanThrough) {
  Element gradient(Adamax{}, 1), norm(Adamax{}, 1);
  gradient.state[1] = 4;
  gradient.step(NAN);
  EXPECT_TRUE(std::isnan(gradient.state[1]) && std::isnan(gradient.p)) << "from the gradient";
  norm.state[1] = NAN;
  norm.step(1);
  EXPECT_TRUE(std::isnan(norm.state[1]) && std::isnan(norm.p)) << "from the norm itself";
}

TEST(Rules, ANanGradientComesThroughEverywhere) {
  for_every_rule([](auto rule) {
    for (const double weight_decay : {0.0, 0.1}) {
      rule.weight_decay = weight_decay;
      EXPECT_TRUE(std::isnan(trace(rule, 1, {1, NAN})[1])) << rule.name;
    }
  });
  EXPECT_TRUE(std::isnan(trace(RMSprop{.centered = true}, 1, {1, NAN})[1]));
}

TEST(Rules, AZeroGradientMovesNothingThatNeverHadOne) {
  for_every_rule([](auto rule) {
    rule.weight_decay = 0;
    for (const float p : trace(rule, 0.75f, {0, 0, 0})) EXPECT_EQ(p, 0.75f) << rule.name;
  });
}

/// Nor does a momentum and a gradient that cancel.
TEST(Rules, LionStaysWhereItsDirectionIsZero) {
  Element element(Lion{.lr = 0.5, .beta1 = 0.5}, 1);
  element.state[0] = -2;
  element.step(2);
  EXPECT_EQ(element.p, 1.0f);
}

/// s - a^2 of a steady gradient is rounding alone, on either side of zero.
TEST(Rules, RmspropOfASteadyGradientIsNoNan) {
  Random random(5);
  int below = 0;
  for (int i = 0; i < 200; ++i) {
    Element element(RMSprop{.alpha = 0.5, .centered = true}, 1);
    const float g = static_cast<float>(random.uniform());
    for (int t = 0; t < 60; ++t) element.step(g);
    ASSERT_TRUE(std::isfinite(element.p)) << g;
    below += element.state[0] < element.state[1] * element.state[1];
  }
  EXPECT_GT(below, 0) << "the case did not come up";
}

/// Skipped and repeated counts show in a rule that keeps something by segment: its first step forgets
/// what a segment kept before, and no later one does.
TEST(Rules, TheFirstStepStartsWhatASegmentKeeps) {
  Element dirty(NAdam{}, 1), fresh(NAdam{}, 1);
  dirty.kept[0] = 0.25;
  dirty.step(1);
  fresh.step(1);
  EXPECT_EQ(dirty.kept[0], fresh.kept[0]);
  EXPECT_EQ(dirty.p, fresh.p);
  Element average(ScheduleFreeSGD{}, 1);
  average.kept[0] = average.kept[1] = 9;
  average.lr = 0.5;
  average.step(1);
  EXPECT_EQ(average.kept[0], 0.25);
  EXPECT_EQ(average.kept[1], 0.5);
}

}  // namespace
}  // namespace gramstep::test
