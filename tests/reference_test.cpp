// Is the reference right? Against values worked out by hand and outcomes known from the papers.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/reference/problems.hpp"
#include "tests/reference/step.hpp"

namespace gramstep::reference {
namespace {

/// Steps of one element whose gradients are given; what the parameter is after each.
Vector trace(const RuleOptions& options, double start, const Vector& gradients) {
  Vector params{start}, result;
  RuleState<double> state(1);
  for (const double g : gradients) {
    update(options, {g}, params, state);
    result.push_back(params[0]);
  }
  return result;
}

void expect_trace(const RuleOptions& options, double start, const Vector& gradients,
                  const Vector& by_hand) {
  const Vector got = trace(options, start, gradients);
  for (std::size_t i = 0; i < by_hand.size(); ++i) {
    EXPECT_NEAR(got[i], by_hand[i], 1e-12) << "step " << i + 1;
  }
}

TEST(ReferenceSgd, Plain) { expect_trace({.lr = 0.1}, 1, {2, -1}, {0.8, 0.9}); }

TEST(ReferenceSgd, WeightDecayIsAddedToTheGradient) {
  expect_trace({.lr = 0.1, .weight_decay = 0.5}, 1, {2, 0}, {0.75, 0.7125});
}

TEST(ReferenceSgd, MaximizeNegatesTheGradientBeforeDecay) {
  expect_trace({.lr = 0.1, .weight_decay = 0.5, .maximize = true}, 1, {2}, {1.15});
}

TEST(ReferenceSgd, FirstMomentumStepIsNotDampened) {
  // b = 2, then 0.9 * 2 + 0.5 * 1 = 2.3
  expect_trace({.lr = 0.1, .momentum = 0.9, .dampening = 0.5}, 1, {2, 1}, {0.8, 0.57});
}

TEST(ReferenceSgd, Nesterov) {
  // b = 2, g = 2 + 0.9 * 2 = 3.8; b = 2.8, g = 1 + 0.9 * 2.8 = 3.52
  expect_trace({.lr = 0.1, .momentum = 0.9, .nesterov = true}, 1, {2, 1}, {0.62, 0.268});
}

TEST(ReferenceAdam, FirstStepIsLrInTheGradientsDirection) {
  // m / c1 = g and sqrt(v / c2) = |g|, whatever g.
  expect_trace({.method = Method::adam, .lr = 0.1, .epsilon = 0}, 1, {3}, {0.9});
  expect_trace({.method = Method::adam, .lr = 0.1, .maximize = true, .epsilon = 0}, 1, {3}, {1.1});
}

TEST(ReferenceAdam, TwoStepsByHand) {
  // beta1 = beta2 = 0.5, g = 2 then 0: m = 1, v = 2; m = 0.5, v = 1; c = 0.5, 0.75.
  // p = 1 - 0.1 * (1/0.5) / (sqrt(2/0.5) + 1); p -= 0.1 * (0.5/0.75) / (sqrt(1/0.75) + 1)
  const double first = 1 - 0.1 * 2 / 3;
  const double second = first - 0.1 * (2.0 / 3) / (std::sqrt(4.0 / 3) + 1);
  expect_trace({.method = Method::adam, .lr = 0.1, .beta1 = 0.5, .beta2 = 0.5, .epsilon = 1}, 1,
               {2, 0}, {first, second});
}

TEST(ReferenceAdam, AmsgradKeepsTheLargestUncorrectedSecondMoment) {
  const double first = 1 - 0.1 * 2 / 3;
  const double second = first - 0.1 * (2.0 / 3) / (std::sqrt(2 / 0.75) + 1);  // v was 2
  expect_trace({.method = Method::adam,
                .lr = 0.1,
                .beta1 = 0.5,
                .beta2 = 0.5,
                .epsilon = 1,
                .amsgrad = true},
               1, {2, 0}, {first, second});
}

TEST(ReferenceAdam, DecayIsL2ForAdamAndDecoupledForAdamW) {
  // Adam: g = 1 + 0.5 * 1, normalised to 1. AdamW: 1 - 0.2 * 0.5 = 0.9 first.
  expect_trace({.method = Method::adam, .lr = 0.2, .weight_decay = 0.5, .epsilon = 0}, 1, {1},
               {0.8});
  expect_trace({.method = Method::adamw, .lr = 0.2, .weight_decay = 0.5, .epsilon = 0}, 1, {1},
               {0.7});
}

TEST(ReferenceAdam, AmsgradsMaximumLetsNanThrough) {
  EXPECT_TRUE(std::isnan(larger(NAN, 1)));
  EXPECT_TRUE(std::isnan(larger(1, NAN)));
  EXPECT_EQ(larger(1, 2), 2);
}

/// What fp32 computes stays within what Bounded says it may be off, and not by luck alone.
TEST(ReferenceBounded, CoversFp32AndIsTight) {
  double largest_share = 0;
  for (int i = 1; i <= 10000; ++i) {
    const float a = 1.0f / static_cast<float>(i), b = std::sqrt(static_cast<float>(i));
    const Bounded exact_a = static_cast<double>(a), exact_b = static_cast<double>(b);
    const float got = (a - b * b) / (std::sqrt(a) + b) + a * b;
    const Bounded may =
        (exact_a - exact_b * exact_b) / (sqrt(exact_a) + exact_b) + exact_a * exact_b;
    const double share = std::abs(static_cast<double>(got) - may.value) / may.error;
    ASSERT_LE(share, 1) << i;
    ASSERT_LE(may.error, 8 * fp32_unit * std::abs(b)) << i;
    largest_share = std::max(largest_share, share);
  }
  EXPECT_GT(largest_share, 0.25);
}

TEST(ReferenceBounded, ConstantsAreRoundedOnceUnlessFp32HoldsThem) {
  EXPECT_EQ(Bounded(0.5).error, 0);
  EXPECT_EQ(Bounded(0.1).error, fp32_unit * 0.1);
}

TEST(ReferencePcgrad, OneMatrixWithKnownWeights) {
  const Matrix rows{{-4, 1, 1}, {6, 1, 1}};
  const Combination got = pcgrad(rows, orders_by_index(2), false);
  EXPECT_NEAR(got.weights[0], 2.2222, 5e-5);
  EXPECT_NEAR(got.weights[1], 1.5789, 5e-5);
  // By hand: w = (1 + 22/18, 1 + 22/38).
  const Combination by_weights = weighted(rows, {1 + 22.0 / 18, 1 + 22.0 / 38});
  for (std::size_t e = 0; e < 3; ++e) {
    EXPECT_NEAR(got.combined[e], by_weights.combined[e], 1e-14);
  }
  EXPECT_NEAR(pcgrad(rows, orders_by_index(2), true).weights[0], (1 + 22.0 / 18) / 2, 1e-14);
}

TEST(ReferencePcgrad, TheOrderDecides) {
  // Task 0 meets 1 then 2, or 2 then 1; only the projected vector knows what is left to project.
  const Matrix rows{{1, 0}, {-1, 1}, {-1, -1}};
  const Orders forward{{1, 2}, {1}, {2}}, backward{{2, 1}, {1}, {2}};
  // Forward: (1,0) - (-1/2)(-1,1) = (1/2,1/2); then -1/2 of (-1,-1) is taken away: (0,0).
  EXPECT_NEAR(pcgrad(rows, forward, false).weights[1], 1.5, 1e-15);
  EXPECT_NEAR(pcgrad(rows, forward, false).weights[2], 1.5, 1e-15);
  // Task 2 meeting 0 first: (-1,-1) + (1,0) = (0,-1), which meets 1 at -1: + (-1,1)/2.
  const Orders third{{0}, {1}, {0, 1}}, third_backward{{0}, {1}, {1, 0}};
  EXPECT_NEAR(pcgrad(rows, third, false).weights[1], 1.5, 1e-15);
  EXPECT_NEAR(pcgrad(rows, third_backward, false).weights[1], 1, 1e-15);
  EXPECT_NEAR(pcgrad(rows, backward, false).weights[0], 1, 1e-15);
}

/// Gradient descent with `aggregation`, from `start`.
Vector descend(Matrix (*gradients)(const Vector&), Aggregation aggregation, double lr, int steps,
               Vector start) {
  for (int i = 0; i < steps; ++i) {
    const Matrix rows = gradients(start);
    const Vector d = combine(aggregation, rows, {}, orders_by_index(2)).combined;
    for (std::size_t e = 0; e < 2; ++e) start[e] -= lr * d[e];
  }
  return start;
}

TEST(ReferenceProblems, MeanOnSquaresEndsWhereItIsKnownTo) {
  const Vector end = descend(squares, Aggregation::mean, 0.075, 50, {3, -2});
  EXPECT_NEAR(end[0], 0.060843, 5e-7);
  EXPECT_NEAR(end[1], -0.040562, 5e-7);
}

TEST(ReferenceProblems, MeanOnSkewedBowlsEndsWhereItIsKnownTo) {
  const Vector end = descend(skewed_bowls, Aggregation::mean, 0.05, 500, {0, 0});
  EXPECT_NEAR(end[0], -0.09076, 5e-6);
  EXPECT_NEAR(end[1], 4.12006, 5e-6);
}

TEST(ReferenceProblems, ToysGradientsAreThoseOfItsLosses) {
  for (const Vector& x : {Vector{-8.5, 7.5}, {-8.5, -5}, {9, 9}, {0.3, -0.2}, {1, 0.7}}) {
    const Toy toy = two_task_toy(x);
    for (std::size_t e = 0; e < 2; ++e) {
      Vector ahead = x, behind = x;
      ahead[e] += 1e-6;
      behind[e] -= 1e-6;
      const Toy up = two_task_toy(ahead), down = two_task_toy(behind);
      for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_NEAR(toy.gradients[i][e], (up.losses[i] - down.losses[i]) / 2e-6, 1e-7);
      }
    }
  }
}

/// Adam on the toy, lr 1e-3, 100 000 steps: where the combination of its two gradients ends.
Vector toy_end(Aggregation aggregation, const Vector& start) {
  const RuleOptions adam_options{.method = Method::adam, .lr = 1e-3};
  Vector x = start;
  RuleState<double> state(2);
  for (int i = 0; i < 100'000; ++i) {
    const Matrix rows = two_task_toy(x).gradients;
    update(adam_options, combine(aggregation, rows, {}, orders_by_index(2)).combined, x, state);
  }
  return x;
}

// The valleys are kinks, across which the steps jitter while they creep along by some 0.07 in 10
// 000 steps; where exactly they are after 100 000 is the last rounding's choice. The front is far
// away.
TEST(ReferenceProblems, MeanSticksInTheToysValleysButNotFromBelow) {
  const Vector first = toy_end(Aggregation::mean, {-8.5, 7.5});
  EXPECT_NEAR(first[0], -5.05, 0.05);
  EXPECT_NEAR(first[1], 2.15, 0.1);
  const Vector third = toy_end(Aggregation::mean, {9, 9});
  EXPECT_NEAR(third[0], 5.02, 0.05);
  EXPECT_NEAR(third[1], 2.33, 0.1);
  const Vector second = toy_end(Aggregation::mean, {-8.5, -5});
  const Vector losses = two_task_toy(second).losses;
  EXPECT_NEAR(second[0], 0, 1e-3);
  EXPECT_NEAR(second[1], -8.3551, 1e-3);
  EXPECT_NEAR(losses[0], -15.0916, 1e-3);
  EXPECT_NEAR(losses[1], -15.0916, 1e-3);
}

/// Two shared tensors, one of them without gradient at first, and a head.
std::vector<Tensor<double>> three_tensors(const RuleOptions& rule) {
  return {{"a", -1, rule, {1, 1}}, {"b", -1, rule, {1}}, {"head", 0, rule, {1}}};
}

TEST(ReferenceStep, SumsRowsAndLeavesHeadsTheirOwn) {
  auto tensors = three_tensors({.lr = 1});
  const Outcome outcome = step({.tasks = 2}, tensors, {{{1, 2}, {3, 4}}, {{5}, {6}}, {{7}}});
  EXPECT_EQ(tensors[0].params, (Vector{-3, -5}));
  EXPECT_EQ(tensors[1].params, Vector{-10});
  EXPECT_EQ(tensors[2].params, Vector{-6});
  EXPECT_EQ(outcome.gram[0][1], 3 + 8 + 30);
  EXPECT_DOUBLE_EQ(outcome.norm, std::sqrt(4.0 * 4 + 6 * 6 + 11 * 11 + 7 * 7));
}

TEST(ReferenceStep, InactiveTensorsKeepTheirOwnStepCount) {
  auto tensors = three_tensors({.lr = 1, .momentum = 0.5, .dampening = 0.5});
  tensors[1].active = false;
  const std::vector<TensorGradients> gradients{{{1, 1}}, {{NAN}}, {{1}}};
  EXPECT_FALSE(step({}, tensors, gradients).skipped);
  EXPECT_EQ(tensors[1].params, Vector{1});
  EXPECT_EQ(tensors[1].state.t, 0);
  tensors[1].active = true;
  step({}, tensors, {{{1, 1}}, {{1}}, {{1}}});
  EXPECT_EQ(tensors[1].params, Vector{0});  // its first: not dampened
  EXPECT_EQ(tensors[0].params, (Vector{-1, -1}));
}

TEST(ReferenceStep, UnscalesBeforeItClips) {
  auto tensors = three_tensors({.lr = 1});
  // Gradients come times 4: unscaled (3, 0), 0, 4; norm 5, clipped to 1 but for 1e-6.
  const Outcome outcome =
      step({.clip_norm = 1, .loss_scale = 4}, tensors, {{{12, 0}}, {{0}}, {{16}}});
  EXPECT_DOUBLE_EQ(outcome.norm, 5);
  EXPECT_DOUBLE_EQ(outcome.clip, 1 / (5 + 1e-6));
  EXPECT_NEAR(tensors[0].params[0], 1 - 0.6, 1e-6);
  EXPECT_NEAR(tensors[2].params[0], 1 - 0.8, 1e-6);
}

TEST(ReferenceStep, ASkippedStepIsNobodysFirst) {
  auto tensors = three_tensors({.lr = 1, .momentum = 0.5, .dampening = 0.5});
  EXPECT_TRUE(step({}, tensors, {{{1, 1}}, {{1}}, {{INFINITY}}}).skipped);
  EXPECT_EQ(tensors[0].state.t, 0);
  EXPECT_EQ(tensors[0].params, (Vector{1, 1}));
  step({}, tensors, {{{1, 1}}, {{1}}, {{1}}});
  EXPECT_EQ(tensors[0].params, (Vector{0, 0}));
}

}  // namespace
}  // namespace gramstep::reference
