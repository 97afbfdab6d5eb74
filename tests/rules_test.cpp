// The rules themselves: hand values, the scalars in double, and the traps others fell into.
#include <cmath>

#include "gramstep/rules/rules.hpp"
#include "tests/support.hpp"

namespace gramstep::test {
namespace {

/// One element's steps by `rule`, with the gradients given: the parameter after each. What a
/// kernel does for an element, without one.
template <class Rule, class Update>
std::vector<float> trace(const Rule& rule, Update, float p, const std::vector<float>& gradients) {
  std::vector<float> result;
  float state[Update::states + 1] = {};
  std::int64_t t = 0;
  for (const float g : gradients) {
    const RuleInput in{.lr = rule.lr, .weight_decay = rule.weight_decay, .t = ++t};
    Update::apply(rule.scalars(in), g, p, state);
    result.push_back(p);
  }
  return result;
}

/// Two steps' values, worked out by hand, within the roundings of a few operations.
void expect_trace(const std::vector<float>& got, const std::vector<double>& by_hand) {
  ASSERT_EQ(got.size(), by_hand.size());
  constexpr double few_roundings = 8 * 0x1p-24;
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(got[i]), by_hand[i], few_roundings) << "step " << i + 1;
  }
}

TEST(Rules, SgdByHand) {
  expect_trace(trace(SGD{.lr = 0.1}, SgdUpdate<false>{}, 1, {2, -1}), {0.8, 0.9});
  expect_trace(trace(SGD{.lr = 0.1, .weight_decay = 0.5}, SgdUpdate<false>{}, 1, {2, 0}),
               {0.75, 0.7125});
}

TEST(Rules, MomentumByHand) {
  // The first step takes the gradient undampened; then b = 0.9 * 2 + 0.5 * 1.
  expect_trace(
      trace(SGD{.lr = 0.1, .momentum = 0.9, .dampening = 0.5}, SgdUpdate<true>{}, 1, {2, 1}),
      {0.8, 0.57});
  expect_trace(
      trace(SGD{.lr = 0.1, .momentum = 0.9, .nesterov = true}, SgdUpdate<true>{}, 1, {2, 1}),
      {0.62, 0.268});
}

TEST(Rules, AdamByHand) {
  // m = 1, v = 2, c = 0.5; m = 0.5, v = 1, c = 0.75: see the reference's test.
  const Adam adam{.lr = 0.1, .beta1 = 0.5, .beta2 = 0.5, .epsilon = 1};
  const double first = 1 - 0.1 * 2 / 3;
  expect_trace(trace(adam, AdamUpdate<false>{}, 1, {2, 0}),
               {first, first - 0.1 * (2.0 / 3) / (std::sqrt(4.0 / 3) + 1)});
  expect_trace(trace(adam, AdamUpdate<true>{}, 1, {2, 0}),
               {first, first - 0.1 * (2.0 / 3) / (std::sqrt(2 / 0.75) + 1)});
}

TEST(Rules, AdamWDecaysBeforeItMoves) {
  // 1 - 0.5 * 0.5 = 0.75, then a whole lr: 0.25. Decay after the move would give 0.5 * 0.75.
  const AdamW rule{.lr = 0.5, .epsilon = 0, .weight_decay = 0.5};
  expect_trace(trace(rule, AdamUpdate<false>{}, 1, {3}), {0.25});
}

TEST(Rules, AdamsDecayEntersTheMoments) {
  // g = 1 + 0.5 * 2 = 2: m = 1, v = 2 with betas of a half.
  const Adam rule{.lr = 0.1, .beta1 = 0.5, .beta2 = 0.5, .epsilon = 1, .weight_decay = 0.5};
  expect_trace(trace(rule, AdamUpdate<false>{}, 2, {1}), {2 - 0.1 * 2 / 3});
}

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
  for (const double lr : {0.0, 1e-28}) {
    for (const float g : {0.0f, 1.0f, -1e-15f}) {
      const auto adamw = trace(AdamW{.lr = lr}, AdamUpdate<true>{}, 1, {g, g});
      const auto adam = trace(Adam{.lr = lr, .weight_decay = 0.1}, AdamUpdate<false>{}, 1, {g, g});
      const auto sgd = trace(SGD{.lr = lr, .momentum = 0.9}, SgdUpdate<true>{}, 1, {g, g});
      for (const auto& values : {adamw, adam, sgd}) {
        EXPECT_EQ(values[0], 1.0f) << lr << " " << g;
        EXPECT_EQ(values[1], 1.0f) << lr << " " << g;
      }
    }
    // From zero the move is seen: Adam's first is lr itself.
    const float moved = trace(Adam{.lr = lr}, AdamUpdate<false>{}, 0, {1})[0];
    EXPECT_NEAR(static_cast<double>(moved), -lr, 1e-6 * lr);
  }
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

}  // namespace
}  // namespace gramstep::test
