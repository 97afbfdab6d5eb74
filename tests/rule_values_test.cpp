// Every rule and its reference against values worked out by hand.
#include "tests/reference_rule.hpp"
#include "tests/rule_trace.hpp"
#include "tests/support.hpp"

namespace gramstep::test {
namespace {

/// The library's within the roundings of a few fp32 operations, the reference's within double's.
template <class Rule>
void expect_by_hand(const Rule& rule, double start, const std::vector<double>& gradients,
                    const std::vector<double>& by_hand) {
  SCOPED_TRACE(text_of(gramstep::Rule(rule)));
  constexpr double few_roundings = 8 * 0x1p-24;
  const std::vector<float> got =
      trace(rule, static_cast<float>(start), {gradients.begin(), gradients.end()});
  std::vector<double> p{start};
  reference::RuleState<double> state(1);
  for (std::size_t i = 0; i < by_hand.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(got[i]), by_hand[i], few_roundings) << "step " << i + 1;
    reference::update(reference_rule(rule), {gradients[i]}, p, state);
    EXPECT_NEAR(p[0], by_hand[i], 1e-12) << "the reference, step " << i + 1;
  }
}

TEST(RuleValues, Sgd) {
  expect_by_hand(SGD{.lr = 0.1}, 1, {2, -1}, {0.8, 0.9});
  expect_by_hand(SGD{.lr = 0.1, .weight_decay = 0.5}, 1, {2, 0}, {0.75, 0.7125});
  // The first step takes the gradient undampened; then b = 0.9 * 2 + 0.5 * 1.
  expect_by_hand(SGD{.lr = 0.1, .momentum = 0.9, .dampening = 0.5}, 1, {2, 1}, {0.8, 0.57});
  expect_by_hand(SGD{.lr = 0.1, .momentum = 0.9, .nesterov = true}, 1, {2, 1}, {0.62, 0.268});
}

/// m = 1, v = 2, c = 0.5; then m = 0.5, v = 1, c = 0.75.
template <class AdamLike>
AdamLike half() {
  return {.lr = 0.1, .beta1 = 0.5, .beta2 = 0.5, .epsilon = 1, .weight_decay = 0};
}

TEST(RuleValues, Adam) {
  const double first = 1 - 0.1 * 2 / 3;
  Adam rule = half<Adam>();
  expect_by_hand(rule, 1, {2, 0}, {first, first - 0.1 * (2.0 / 3) / (std::sqrt(4.0 / 3) + 1)});
  rule.amsgrad = true;  // v stays 2
  expect_by_hand(rule, 1, {2, 0}, {first, first - 0.1 * (2.0 / 3) / (std::sqrt(2 / 0.75) + 1)});
  rule = half<Adam>();
  rule.epsilon_hat = true;
  const double hat = 1 - 0.1 * std::sqrt(0.5) / 0.5 / (std::sqrt(2.0) + 1);
  expect_by_hand(rule, 1, {2, 0}, {hat, hat - 0.1 * std::sqrt(0.75) / 0.75 * 0.5 / 2});
  // The decay enters the moments: g = 1 + 0.5 * 2.
  rule = half<Adam>();
  rule.weight_decay = 0.5;
  expect_by_hand(rule, 2, {1}, {2 - 0.1 * 2 / 3});
}

/// 1 - 0.5 * 0.5 = 0.75, then a whole lr: 0.25. Decay after the move would give 0.5 * 0.75.
TEST(RuleValues, AdamWDecaysBeforeItMoves) {
  expect_by_hand(AdamW{.lr = 0.5, .epsilon = 0, .weight_decay = 0.5}, 1, {3}, {0.25});
}

TEST(RuleValues, NAdam) {
  NAdam rule = half<NAdam>();
  rule.momentum_decay = 0;  // mu is 0.25 in all steps
  const double first = 1 - 0.1 * 2 / 3 - 0.1 * 0.25 / (1 - 0.0625) / 3;
  expect_by_hand(rule, 1, {2, 0},
                 {first, first - 0.1 * 0.25 / (1 - 1.0 / 64) * 0.5 / (std::sqrt(4.0 / 3) + 1)});
  rule.momentum_decay = 0.5;
  const double mu = 0.5 * (1 - 0.5 * std::sqrt(0.96)), next = 0.5 * (1 - 0.5 * 0.96);
  expect_by_hand(rule, 1, {2}, {1 - 0.1 * 2 / 3 - 0.1 * next / (1 - mu * next) / 3});
  rule.momentum_decay = 0;
  rule.weight_decay = 1;
  rule.decoupled_weight_decay = true;
  expect_by_hand(rule, 1, {2}, {first - 0.1});
  rule.decoupled_weight_decay = false;
  expect_by_hand(rule, 1, {1}, {first});
}

/// beta1 = 0 and g = 1: m / c1 = 1, v = c2; the sixth step is the first that is rectified, by r.
TEST(RuleValues, RAdam) {
  expect_by_hand(RAdam{.lr = 0.1, .beta1 = 0.5, .beta2 = 0.5, .epsilon = 1}, 1, {2, 0},
                 {0.8, 0.8 - 0.1 * 0.5 / 0.75});
  constexpr double r = 0.02582111280185855;
  expect_by_hand(RAdam{.lr = 0.1, .beta1 = 0, .epsilon = 0}, 1, {1, 1, 1, 1, 1, 1},
                 {0.9, 0.8, 0.7, 0.6, 0.5, 0.5 - 0.1 * r});
  RAdam decayed{.lr = 0.1, .beta1 = 0.5, .beta2 = 0.5, .weight_decay = 1};
  expect_by_hand(decayed, 1, {1}, {0.8});
  decayed.decoupled_weight_decay = true;
  expect_by_hand(decayed, 1, {1}, {0.8});
  expect_by_hand(decayed, 2, {1}, {1.7});
}

TEST(RuleValues, Adamax) {
  const double first = 1 - 0.1 / 0.5 / 3;  // u = |2| + 1, then 1.5
  expect_by_hand(half<Adamax>(), 1, {2, 0}, {first, first - 0.1 / 0.75 * 0.5 / 1.5});
  Adamax decayed = half<Adamax>();
  decayed.weight_decay = 0.5;
  expect_by_hand(decayed, 2, {1}, {1 + first});
}

TEST(RuleValues, Adagrad) {
  const Adagrad rule{
      .lr = 0.5, .lr_decay = 1, .epsilon = 1, .initial_accumulator_value = 5};  // s = 9, 25
  expect_by_hand(rule, 1, {2, 4}, {0.75, 0.75 - 0.25 * 4 / 6});
  expect_by_hand(Adagrad{.lr = 0.5, .epsilon = 0, .weight_decay = 1}, 1, {1}, {0.5});
}

TEST(RuleValues, Adadelta) {
  const double first = 1 - 2 / std::sqrt(3.0);  // s = 2, u = 2/3; s = 1, u = 1/3; s = 1
  expect_by_hand(Adadelta{.rho = 0.5, .epsilon = 1}, 1, {2, 0, 1},
                 {first, first, first - std::sqrt(2.0 / 3)});
  expect_by_hand(Adadelta{.lr = 0.5, .rho = 0.5, .epsilon = 1, .weight_decay = 1}, 1, {1},
                 {1 - 1 / std::sqrt(3.0)});
}

TEST(RuleValues, RMSprop) {
  const double move = 2 / (std::sqrt(2.0) + 1);  // s = 2
  RMSprop rule{.lr = 0.1, .alpha = 0.5, .epsilon = 1};
  expect_by_hand(rule, 1, {2}, {1 - 0.1 * move});
  rule.momentum = 0.5;
  expect_by_hand(rule, 1, {2, 0}, {1 - 0.1 * move, 1 - 0.15 * move});
  rule.centered = true;  // s - a^2 = 2 - 1, then 3 - 2.25
  expect_by_hand(rule, 1, {2, 2}, {0.9, 0.9 - 0.1 * (0.5 + 2 / (std::sqrt(0.75) + 1))});
  rule.momentum = 0;
  expect_by_hand(rule, 1, {2, 2}, {0.9, 0.9 - 0.1 * 2 / (std::sqrt(0.75) + 1)});
  rule.weight_decay = 1;
  expect_by_hand(rule, 1, {1}, {0.9});
}

/// m = 0.5, 0.3125; directions 1, 0.125, -0.34375; every step begins with p -= 0.05 p.
TEST(RuleValues, Lion) {
  expect_by_hand(Lion{.lr = 0.1, .beta1 = 0.5, .beta2 = 0.75, .weight_decay = 0.5}, 1,
                 {2, -0.25, -1}, {0.85, 0.7075, 0.772125});
}

TEST(RuleValues, AdEMAMix) {
  AdEMAMix rule = half<AdEMAMix>();
  rule.beta3 = 0.75;  // the slow momentum is 0.5, then 0.375
  rule.alpha = 2;
  expect_by_hand(rule, 1, {2, 0},
                 {0.9, 0.9 - 0.1 * (0.5 / 0.75 + 0.75) / (std::sqrt(4.0 / 3) + 1)});
  rule.weight_decay = 1;
  expect_by_hand(rule, 1, {2}, {0.8});
  rule.weight_decay = 0;
  rule.alpha_warmup = 2;  // alpha = 1, then 2
  const double first = 1 - 0.1 * 2.5 / 3;
  expect_by_hand(rule, 1, {2, 0},
                 {first, first - 0.1 * (0.5 / 0.75 + 0.75) / (std::sqrt(4.0 / 3) + 1)});
  // A half-life midway between those of 0.5 and 0.75: as torch's users have it, 1e-8 longer.
  rule.beta3_warmup = 2;
  const auto life = [](double beta) { return std::log(0.5) / std::log(beta + 1e-8) - 1; };
  const double slow = 2 * (1 - std::pow(0.5, 2 / (life(0.5) + life(0.75) + 2)));
  expect_by_hand(rule, 1, {2}, {1 - 0.1 * (2 + slow) / 3});
}

/// u = 2/3; m = 0.5, v = 1, c = 0.75. A tensor of one element moves by lr of itself, up or down.
TEST(RuleValues, LAMB) {
  LAMB rule = half<LAMB>();
  expect_by_hand(rule, 1, {2, 0}, {0.9, 0.81});
  expect_by_hand(rule, -4, {2}, {-4.4});
  rule.always_adapt = false;
  const double first = 1 - 0.1 * 2 / 3;
  expect_by_hand(rule, 1, {2, 0}, {first, first - 0.1 * (2.0 / 3) / (std::sqrt(4.0 / 3) + 1)});
  rule.weight_decay = 0.5;  // now it has a ratio; u = 2/3 - 3/4
  expect_by_hand(rule, 1, {2}, {0.9});
  expect_by_hand(rule, -1.5, {2}, {-1.35});
  rule.always_adapt = true;
  expect_by_hand(rule, 0, {2}, {-0.1 * 2 / 3});  // no length: the ratio is 1
  expect_by_hand(half<LAMB>(), 1, {0}, {1});
}

/// The ratio is 1/4 of |p| by |g| + decay |p| + 1.
TEST(RuleValues, LARS) {
  LARS rule{.lr = 0.5, .momentum = 0.5, .trust_coefficient = 0.25, .epsilon = 1};
  const double first = 11.0 / 12;  // by 1/12; then by 11/96
  expect_by_hand(rule, 1, {2, 1}, {first, first - 0.5 * (0.5 / 6 + 11.0 / 96)});
  rule.nesterov = true;
  expect_by_hand(rule, 1, {2}, {0.875});
  rule.nesterov = false;
  rule.weight_decay = 0.5;  // 1/4 of 2 by 3 + 1 + 1
  expect_by_hand(rule, 2, {3}, {2 - 0.5 * 0.1 * 4});
  expect_by_hand(rule, 0, {3}, {-1.5});
  expect_by_hand(rule, 2, {0}, {1.5});  // the decay alone, by a ratio of 1
  rule.weight_decay = 0;
  rule.always_adapt = false;
  expect_by_hand(rule, 2, {1}, {1.5});
}

/// z = 0, -0.5; c = 1, 1/2, 1/3; x = z, then their mean.
TEST(RuleValues, ScheduleFreeSGD) {
  const ScheduleFreeSGD rule{.lr = 0.5, .momentum = 0.5};
  expect_by_hand(rule, 1, {2, 1, -1}, {0, -0.375, -0.375 - 0.125 / 3 + 1.0 / 3});
  ScheduleFreeSGD decayed = rule;
  decayed.weight_decay = 1;
  expect_by_hand(decayed, 1, {1, 1}, {0, -0.375});
  // weights 1 and 2^2: c = 4 / 5.
  ScheduleFreeSGD later = rule;
  later.r = 2;
  expect_by_hand(later, 1, {2, 1}, {0, -0.5 * (1 - 0.5 * 0.2)});
}

TEST(RuleValues, ScheduleFreeAdamW) {
  ScheduleFreeAdamW rule{.lr = 0.5, .beta1 = 0.5, .beta2 = 0.5, .epsilon = 1};
  expect_by_hand(rule, 1, {2, 1}, {2.0 / 3, 2.0 / 3 - 0.375 / (std::sqrt(2.0) + 1)});
  rule.weight_decay = 0.5;
  expect_by_hand(rule, 1, {2}, {1 - 0.5 * (2.0 / 3 + 0.5)});
}

/// The paper's own form: z steps, x averages, gradients are taken at y between them.
TEST(RuleValues, TheAverageIsThePapers) {
  ScheduleFreeSGD rule{.lr = 0.25, .momentum = 0.75, .r = 1, .weight_lr_power = 1};
  std::vector<double> y{1};
  reference::RuleState<double> state(1);
  double z = 1, x = 1, sum = 0, largest = 0;
  for (int t = 1; t <= 6; ++t) {
    rule.lr = t == 3 ? 0.5 : 0.25;  // the weight of step t goes by the largest so far
    const double g = 0.5 * y[0] - 0.125 * t;
    reference::update(reference_rule(rule), {g}, y, state);
    largest = std::max(largest, rule.lr);
    sum += t * largest;
    z -= rule.lr * g;
    x += t * largest / sum * (z - x);
    EXPECT_NEAR(y[0], 0.25 * z + 0.75 * x, 1e-14);
    EXPECT_NEAR(state["z"][0], z, 1e-14);
    EXPECT_NEAR(reference::averaged(reference_rule(rule), y, state)[0], x, 1e-14);
  }
}

}  // namespace
}  // namespace gramstep::test
