// What may be set between steps: the rule, the schedule, the norm to clip at.
#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

/// Segments that go up and down, with decay of their own, small enough for many steps.
Layout small_layout() {
  const std::int64_t sizes[] = {1, 129};
  return mixed_layout(1, sizes);
}

/// `first`, from the third step on `second`, and `first` again where its state allows it.
void expect_followed(const Rule& first, const Rule& second, bool back) {
  SCOPED_TRACE(text_of(first) + " to " + text_of(second));
  Twin twin(small_layout(), {.rule = first});
  twin.draw_and_step(2);
  twin.set_rule(second);
  EXPECT_EQ(twin.optimizer.options().rule.index(), second.index());
  twin.draw_and_step(2);
  twin.expect_close();
  if (!back) return;
  twin.set_rule(first);
  twin.draw_and_step(2);
  twin.expect_close();
}

TEST(SetRule, FollowsAllOptions) {
  expect_followed(SGD{.lr = 0.1, .momentum = 0.9},
                  SGD{.lr = 0.05, .momentum = 0.5, .dampening = 0.25, .weight_decay = 0.1}, true);
  expect_followed(SGD{.lr = 0.1, .momentum = 0.9},
                  SGD{.lr = 0.1, .momentum = 0.8, .nesterov = true, .maximize = true}, true);
  expect_followed(AdamW{.lr = 0.01},
                  AdamW{.lr = 0.02,
                        .beta1 = 0.5,
                        .beta2 = 0.9,
                        .epsilon = 1e-3,
                        .epsilon_hat = true,
                        .weight_decay = 0.25,
                        .maximize = true},
                  true);
  expect_followed(NAdam{.lr = 0.01}, NAdam{.lr = 0.01, .beta1 = 0.7, .momentum_decay = 0.1}, true);
  expect_followed(RMSprop{.lr = 0.01, .centered = true},
                  RMSprop{.lr = 0.02, .alpha = 0.9, .centered = true}, true);
}

TEST(SetRule, TakesAnotherRuleThatTheStateAllows) {
  expect_followed(Adam{.lr = 0.01, .weight_decay = 0.1}, AdamW{.lr = 0.01}, true);
  expect_followed(AdamW{.lr = 0.01}, Adam{.lr = 0.01}, true);
  expect_followed(AdamW{.lr = 0.01}, RAdam{.lr = 0.01}, true);
  expect_followed(AdamW{.lr = 0.01}, LAMB{.lr = 0.01, .weight_decay = 0.1}, true);
  expect_followed(SGD{.lr = 0.01, .momentum = 0.9}, LARS{.lr = 0.1, .weight_decay = 0.1}, true);
  expect_followed(AdamW{.lr = 0.01, .amsgrad = true}, AdamW{.lr = 0.01}, false);
  expect_followed(AdamW{.lr = 0.01}, Lion{.lr = 0.01}, false);
  expect_followed(NAdam{.lr = 0.01}, RAdam{.lr = 0.01}, false);
  expect_followed(SGD{.lr = 0.01, .momentum = 0.9}, SGD{.lr = 0.02}, false);
  expect_followed(ScheduleFreeAdamW{.lr = 0.01}, ScheduleFreeSGD{.lr = 0.01}, false);
}

TEST(SetRule, StateThatIsNoLongerKeptHasNoName) {
  Rig rig(small_layout(), {.rule = AdamW{}});
  rig.draw_and_step(2);
  rig.optimizer.set_rule(Lion{});
  EXPECT_EQ(rig.optimizer.state_names(), std::vector<std::string_view>{"exp_avg"});
  expect_error<InvalidArgument>([&] { rig.optimizer.state("exp_avg_sq"); }, {"exp_avg_sq"});
  EXPECT_EQ(rig.optimizer.export_run().segments.at("shared1").state.size(), 1u);
}

/// Makes two rigs alike, lets one of them refuse, and takes a step with both.
template <class Exception, class Call>
void expect_refused(const OptimizerOptions& options, const Call& call,
                    const std::vector<std::string>& words) {
  Rig rig(small_layout(), options), untouched(small_layout(), options);
  rig.draw_and_step(2);
  untouched.draw_and_step(2);
  expect_error<Exception>([&] { call(rig.optimizer); }, words);
  EXPECT_EQ(text_of(rig.optimizer.options().rule), text_of(options.rule));
  EXPECT_EQ(text_of(rig.optimizer.options().schedule), text_of(options.schedule));
  rig.draw_and_step();
  untouched.draw_and_step();
  expect_same(untouched.snapshot(), rig.snapshot());
  EXPECT_EQ(rig.optimizer.report().lr, untouched.optimizer.report().lr);
}

TEST(SetRule, RefusesWhatTheStateDoesNotAllow) {
  const auto expect_state = [](const Rule& present, const Rule& next,
                               const std::vector<std::string>& words) {
    const auto set = [&](Optimizer& optimizer) { optimizer.set_rule(next); };
    expect_refused<InvalidState>({.rule = present}, set, words);
  };
  expect_state(Lion{}, Adam{}, {"Optimizer::set_rule", "exp_avg, exp_avg_sq", "expected"});
  expect_state(SGD{}, SGD{.momentum = 0.9}, {"momentum_buffer", "none"});
  expect_state(AdamW{}, AdamW{.amsgrad = true}, {"max_exp_avg_sq"});
  expect_state(Adam{}, Adamax{}, {"exp_inf", "exp_avg_sq"});
  expect_state(Adam{}, NAdam{}, {"mu_product", "none by segment"});
  expect_state(NAdam{}, ScheduleFreeAdamW{}, {"weight_sum, lr_max", "mu_product"});
  expect_state(RMSprop{.momentum = 0.9, .centered = true}, RMSprop{.centered = true}, {"grad_avg"});
}

TEST(SetRule, RefusesOptionsOutOfRange) {
  const auto expect_option = [](const Rule& next, const std::vector<std::string>& words) {
    const auto set = [&](Optimizer& optimizer) { optimizer.set_rule(next); };
    expect_refused<InvalidArgument>({.rule = Adam{}}, set, words);
  };
  expect_option(Adam{.lr = -1}, {"Adam.lr", "-1"});
  expect_option(Adam{.beta1 = 1}, {"Adam.beta1"});
  expect_option(Lion{.beta2 = NAN}, {"Lion.beta2"});
}

TEST(SetRule, RefusesARuleWithoutTheMomentumThatIsScheduled) {
  const OptimizerOptions options{.rule = SGD{.momentum = 0.9},
                                 .schedule = OneCycleLR{.total_steps = 10}};
  const auto set = [](Optimizer& optimizer) { optimizer.set_rule(SGD{}); };
  expect_refused<InvalidArgument>(options, set, {"OneCycleLR.cycle_momentum", "momentum"});
}

TEST(SetSchedule, RefusesOptionsOutOfRange) {
  const auto expect_option = [](const Schedule& schedule, const Warmup& warmup,
                                std::vector<std::string> words) {
    words.insert(words.end(), {"got", "expected"});
    const auto set = [&](Optimizer& optimizer) { optimizer.set_schedule(schedule, warmup); };
    const OptimizerOptions options{.rule = SGD{}, .schedule = StepLR{.gamma = 0.5}};
    expect_refused<InvalidArgument>(options, set, words);
  };
  expect_option(CosineAnnealingLR{.total_steps = 0}, {}, {"CosineAnnealingLR.total_steps", "> 0"});
  expect_option(CosineAnnealingLR{.min_lr = -1}, {}, {"CosineAnnealingLR.min_lr"});
  expect_option(PolynomialLR{.total_steps = -1}, {}, {"PolynomialLR.total_steps"});
  expect_option(PolynomialLR{.exponent = 64}, {}, {"PolynomialLR.exponent"});
  expect_option(StepLR{.step_size = 0}, {}, {"StepLR.step_size"});
  expect_option(StepLR{.gamma = NAN}, {}, {"StepLR.gamma"});
  expect_option(StableDecayLR{.stable_steps = -1}, {}, {"StableDecayLR.stable_steps"});
  expect_option(StableDecayLR{.decay_steps = 0}, {}, {"StableDecayLR.decay_steps"});
  expect_option(StableDecayLR{.min_lr = infinity}, {}, {"StableDecayLR.min_lr"});
  expect_option(OneCycleLR{.total_steps = 0}, {}, {"OneCycleLR.total_steps"});
  expect_option(OneCycleLR{.pct_start = 1.5}, {}, {"OneCycleLR.pct_start"});
  expect_option(OneCycleLR{.base_momentum = 1}, {}, {"OneCycleLR.base_momentum"});
  expect_option(OneCycleLR{.max_momentum = -0.1}, {}, {"OneCycleLR.max_momentum"});
  expect_option(OneCycleLR{.div_factor = 0}, {}, {"OneCycleLR.div_factor"});
  expect_option(OneCycleLR{.final_div_factor = NAN}, {}, {"OneCycleLR.final_div_factor"});
  expect_option(OneCycleLR{}, {},
                {"OneCycleLR.cycle_momentum", "expected false for a rule without momentum"});
  expect_option(ConstantLR{}, {.steps = -1}, {"Warmup.steps"});
  expect_option(ConstantLR{}, {.steps = 1, .start_factor = 1.1}, {"Warmup.start_factor"});
}

/// Their momentum is the average's share, by which evaluation_params goes: no decay to cycle.
TEST(SetSchedule, RefusesToCycleTheShareOfAnAverage) {
  const auto set = [](Optimizer& optimizer) {
    optimizer.set_schedule(OneCycleLR{.total_steps = 9, .cycle_momentum = false});
    optimizer.set_schedule(ConstantLR{});
    optimizer.set_schedule(OneCycleLR{.total_steps = 9});
  };
  expect_refused<InvalidArgument>({.rule = ScheduleFreeSGD{}}, set, {"cycle_momentum"});
  expect_refused<InvalidArgument>({.rule = ScheduleFreeAdamW{}}, set, {"cycle_momentum"});
}

TEST(SetClipNorm, IsFollowedFromTheNextStepOn) {
  Rig rig(small_layout(), {.rule = SGD{.lr = 0.5}, .clip_norm = 1e6});
  rig.draw_and_step();
  EXPECT_EQ(rig.optimizer.report().clipped_norm, rig.optimizer.report().norm);
  rig.optimizer.set_clip_norm(0.5);
  EXPECT_EQ(rig.optimizer.options().clip_norm, 0.5);
  rig.draw_and_step();
  EXPECT_GT(rig.optimizer.report().norm, 1.0);
  EXPECT_NEAR(rig.optimizer.report().clipped_norm, 0.5, 1e-6);
  Rig other(small_layout(), {.rule = SGD{.lr = 0.5}, .clip_norm = 0.5});
  other.draw();
  std::ranges::copy(rig.params.span(), other.params.data());
  rig.draw();
  other.random = rig.random;
  rig.draw_and_step();
  other.draw_and_step();
  EXPECT_TRUE(same_bits(rig.params.span(), other.params.span()));
}

TEST(SetClipNorm, RefusesWhatIsNoNormAndWhereNobodyLooks) {
  for (const double bad : {0.0, -1.0, infinity, std::nan("")}) {
    const auto set = [&](Optimizer& optimizer) { optimizer.set_clip_norm(bad); };
    expect_refused<InvalidArgument>({.rule = SGD{}, .clip_norm = 2}, set,
                                    {"Optimizer::set_clip_norm", "expected"});
  }
  const auto set = [](Optimizer& optimizer) { optimizer.set_clip_norm(1); };
  expect_refused<InvalidState>({.rule = SGD{}}, set, {"Optimizer::set_clip_norm", "clip_norm"});
}

}  // namespace
}  // namespace gramstep::test
