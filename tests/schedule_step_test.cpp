// Schedules in the optimizer: warm-up, groups, skipped steps, momentum, and what the report says.
#include "tests/reference/schedules.hpp"
#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

/// Two groups, of one element each.
Layout two_groups() {
  Layout layout;
  layout.add_group("slow", {.lr_scale = 0.25});
  layout.add("a", {1});
  layout.add("b", {1}, {.group = "slow"});
  return layout;
}

/// An optimizer whose parameters move by the learning rate from 0.
struct Mover {
  explicit Mover(const OptimizerOptions& options) : rig(two_groups(), options) {}

  /// How far a segment moves in a step, which is the learning rate in fp32.
  std::pair<float, float> step() {
    for (const char* name : {"a", "b"}) {
      rig.param(name)[0] = 0;
      rig.gradient(name)[0] = -1;
    }
    rig.step();
    return {rig.param("a")[0], rig.param("b")[0]};
  }

  Rig rig;
};

/// torch's SequentialLR of LinearLR and CosineAnnealingLR, by group.
TEST(ScheduleStep, WarmsUpThenFollowsTheSchedule) {
  const OptimizerOptions options{.rule = SGD{.lr = 0.5},
                                 .schedule = CosineAnnealingLR{.total_steps = 10, .min_lr = 0.0625},
                                 .warmup = {.steps = 4, .start_factor = 0.25}};
  Mover mover(options);
  for (std::int64_t t = 0; t < 40; ++t) {
    const auto rate = [&](double lr) {
      return static_cast<double>(t < 4 ? reference::linear_lr(lr, t, 4, 0.25L)
                                       : reference::cosine_annealing(lr, t - 4, 10, 0.0625L));
    };
    const auto [a, b] = mover.step();
    EXPECT_FLOAT_EQ(a, static_cast<float>(rate(0.5))) << t;
    EXPECT_FLOAT_EQ(b, static_cast<float>(rate(0.125))) << t;
    EXPECT_NEAR(mover.rig.optimizer.report().lr, rate(0.5), 1e-15) << t;
  }
}

/// Every schedule, with and without a warm-up, at its own time.
TEST(ScheduleStep, EveryScheduleReachesTheStep) {
  const Schedule schedules[] = {ConstantLR{},
                                CosineAnnealingLR{.total_steps = 6},
                                PolynomialLR{.total_steps = 6, .exponent = 0.9},
                                StepLR{.step_size = 2, .gamma = 0.3},
                                StableDecayLR{.stable_steps = 2, .decay_steps = 3},
                                OneCycleLR{.total_steps = 6, .cycle_momentum = false}};
  static_assert(std::size(schedules) == std::variant_size_v<Schedule>);
  for (const Schedule& schedule : schedules) {
    for (const std::int64_t warm : {0, 3}) {
      Mover mover({.rule = SGD{.lr = 0.5}, .schedule = schedule, .warmup = {.steps = warm}});
      for (std::int64_t t = 0; t < 12; ++t) {
        const auto [a, b] = mover.step();
        if (t < warm) {
          EXPECT_FLOAT_EQ(a, 0.5f * (1 + 2 * static_cast<float>(t) / 3) / 3);
          continue;
        }
        const auto lr_of = [&](double lr) {
          return std::visit([&](const auto& held) { return held.at(lr, t - warm).lr; }, schedule);
        };
        EXPECT_EQ(a, static_cast<float>(lr_of(0.5))) << text_of(schedule) << t;
        EXPECT_EQ(b, static_cast<float>(lr_of(0.125))) << text_of(schedule) << t;
        EXPECT_EQ(mover.rig.optimizer.report().lr, lr_of(0.5));
      }
    }
  }
}

TEST(ScheduleStep, ASkippedStepIsNotCounted) {
  Mover skipping({.rule = SGD{.lr = 0.5},
                  .schedule = PolynomialLR{.total_steps = 8},
                  .warmup = {.steps = 2},
                  .non_finite = NonFinite::skip});
  Mover plain(
      {.rule = SGD{.lr = 0.5}, .schedule = PolynomialLR{.total_steps = 8}, .warmup = {.steps = 2}});
  for (int t = 0; t < 6; ++t) {
    skipping.rig.gradient("b")[0] = NAN;
    for (int again = 0; again < t % 3; ++again) skipping.rig.step();
    EXPECT_EQ(skipping.step(), plain.step()) << t;
    EXPECT_EQ(skipping.rig.optimizer.report().lr, plain.rig.optimizer.report().lr);
  }
  EXPECT_EQ(skipping.rig.optimizer.report().skipped_steps, 6);
}

/// The optimizer's count goes by, not a segment's: one that sat out is where the others are.
TEST(ScheduleStep, GoesByTheOptimizersSteps) {
  Mover mover({.rule = SGD{.lr = 0.5}, .schedule = StepLR{.gamma = 0.5}});
  mover.rig.optimizer.set_active("b", false);
  mover.step();
  mover.step();
  mover.rig.optimizer.set_active("b", true);
  EXPECT_EQ(mover.step(), std::pair(0.125f, 0.03125f));
  EXPECT_EQ(mover.rig.optimizer.segment_steps(), (std::vector<std::int64_t>{3, 1}));
}

TEST(ScheduleStep, CountsSixtyFourBits) {
  constexpr std::int64_t many = std::int64_t{1} << 40;
  Mover mover({.rule = SGD{.lr = 0.5}, .schedule = PolynomialLR{.total_steps = 2 * many}});
  mover.rig.optimizer.set_steps(many, std::vector<std::int64_t>{many, many});
  EXPECT_EQ(mover.step().first, 0.25f);
  EXPECT_EQ(mover.rig.optimizer.report().lr, 0.25);
  mover.step();
  EXPECT_EQ(mover.rig.optimizer.report().lr, 0.25 - 0x1p-42) << "a step is a step";
  mover.rig.optimizer.set_schedule(StepLR{.step_size = many + 3, .gamma = 0.5});
  EXPECT_EQ(mover.step().first, 0.5f);
  EXPECT_EQ(mover.step().first, 0.25f);
}

TEST(ScheduleStep, MayBeSetBetweenSteps) {
  Mover mover({.rule = SGD{.lr = 0.5}});
  mover.step();
  mover.rig.optimizer.set_schedule(StepLR{.step_size = 2, .gamma = 0.5});
  EXPECT_EQ(mover.step().first, 0.5f);
  EXPECT_EQ(mover.step().first, 0.25f);
  mover.rig.optimizer.set_lr(1);  // the rate that it begins with
  EXPECT_EQ(mover.step().first, 0.5f);
  mover.rig.optimizer.set_schedule(ConstantLR{}, {.steps = 8, .start_factor = 0});
  EXPECT_EQ(mover.step().first, 0.5f);  // step 4 of 8
  mover.rig.optimizer.set_schedule(ConstantLR{});
  EXPECT_EQ(mover.step().first, 1.0f);
}

/// lr, momentum and beta1 of a cycle, from the rule's own during the warm-up on, in every rule that has
/// them.
TEST(ScheduleStep, OneCycleMovesTheMomentumOfEveryRule) {
  const OneCycleLR cycle{.total_steps = 9, .base_momentum = 0.7, .max_momentum = 0.9};
  const reference::OneCycle torch{
      .max_lr = 1, .total_steps = 9, .base_momentum = 0.7L, .max_momentum = 0.9L};
  const std::int64_t sizes[] = {129};
  const Rule rules[] = {SGD{.lr = 0.01, .momentum = 0.5},
                        Adam{.lr = 0.01},
                        AdamW{.lr = 0.01},
                        NAdam{.lr = 0.01},
                        RAdam{.lr = 0.01},
                        Adamax{.lr = 0.01},
                        RMSprop{.lr = 0.01, .momentum = 0.5},
                        AdEMAMix{.lr = 0.01},
                        LAMB{.lr = 0.01},
                        LARS{.lr = 0.1},
                        Lion{.lr = 0.01}};
  for (const Rule& rule : rules) {
    SCOPED_TRACE(text_of(rule));
    Twin twin(mixed_layout(1, sizes), {.rule = rule, .schedule = cycle, .warmup = {.steps = 2}});
    const auto tensors = twin.tensors;
    for (std::int64_t t = 0; t < 12; ++t) {
      for (std::size_t n = 0; n < tensors.size(); ++n) {
        RuleOptions& now = twin.tensors[n].rule;
        now.lr = tensors[n].rule.lr * (1 + 2 * std::min(1.0, static_cast<double>(t) / 2)) / 3;
        if (t < 2) continue;
        const auto [factor, momentum] = torch.at(std::min<std::int64_t>(t - 2, 8));
        now.lr = static_cast<double>(tensors[n].rule.lr * factor);
        now.momentum = now.beta1 = static_cast<double>(momentum);
      }
      twin.draw_and_step();
    }
    twin.expect_close();
  }
}

}  // namespace
}  // namespace gramstep::test
