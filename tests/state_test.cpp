// State: by name, segment by segment, carried over; tensors with a step count of their own.
#include <algorithm>
#include <functional>

#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

using Names = std::vector<std::string_view>;

Names names_of(const Rule& rule) {
  return Optimizer(mixed_layout(1), {.rule = rule}).state_names();
}

TEST(State, IsNamedAsTorchNamesIt) {
  EXPECT_EQ(names_of(SGD{}), Names{});
  EXPECT_EQ(names_of(SGD{.momentum = 0.9}), Names{"momentum_buffer"});
  EXPECT_EQ(names_of(Adam{}), (Names{"exp_avg", "exp_avg_sq"}));
  EXPECT_EQ(names_of(AdamW{.amsgrad = true}), (Names{"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}));
  EXPECT_EQ(names_of(NAdam{}), (Names{"exp_avg", "exp_avg_sq"}));
  EXPECT_EQ(names_of(RAdam{}), (Names{"exp_avg", "exp_avg_sq"}));
  EXPECT_EQ(names_of(Adamax{}), (Names{"exp_avg", "exp_inf"}));
  EXPECT_EQ(names_of(Adagrad{}), Names{"sum"});
  EXPECT_EQ(names_of(Adadelta{}), (Names{"square_avg", "acc_delta"}));
  EXPECT_EQ(names_of(RMSprop{}), Names{"square_avg"});
  EXPECT_EQ(names_of(RMSprop{.momentum = 0.9}), (Names{"square_avg", "momentum_buffer"}));
  EXPECT_EQ(names_of(RMSprop{.centered = true}), (Names{"square_avg", "grad_avg"}));
  EXPECT_EQ(names_of(RMSprop{.momentum = 0.9, .centered = true}),
            (Names{"square_avg", "momentum_buffer", "grad_avg"}));
  EXPECT_EQ(names_of(Lion{}), Names{"exp_avg"});
  EXPECT_EQ(names_of(LAMB{}), (Names{"exp_avg", "exp_avg_sq"}));
  EXPECT_EQ(names_of(LARS{}), Names{"momentum_buffer"});
  EXPECT_EQ(names_of(AdEMAMix{}), (Names{"exp_avg_fast", "exp_avg_slow", "exp_avg_sq"}));
  EXPECT_EQ(names_of(Adafactor{}), (Names{"col_var", "row_var", "variance"}));
  EXPECT_EQ(names_of(Muon{}), (Names{"momentum_buffer", "exp_avg", "exp_avg_sq"}));
  EXPECT_EQ(names_of(ScheduleFreeSGD{}), Names{"z"});
  EXPECT_EQ(names_of(ScheduleFreeAdamW{}), (Names{"z", "exp_avg_sq"}));
}

TEST(State, StartsAtZeroEverywhere) {
  Rig rig(mixed_layout(1), {.rule = AdamW{.amsgrad = true}});
  for (const std::string_view name : rig.optimizer.state_names()) {
    for (const float value : rig.optimizer.state(name)) ASSERT_EQ(value, 0.0f);
  }
  EXPECT_EQ(rig.optimizer.segment_steps(), std::vector<std::int64_t>(13, 0));
}

TEST(State, StartsAtAdagradsInitialValue) {
  Optimizer optimizer(mixed_layout(1), {.rule = Adagrad{.initial_accumulator_value = 0.5}});
  for (const float value : optimizer.state("sum")) ASSERT_EQ(value, 0.5f);
}

/// Beyond 2^24, where a float stops counting, and near the largest count there is.
TEST(State, CountsBeyondWhatFloatsCount) {
  for (const std::int64_t many : {(std::int64_t{1} << 24) + 1, std::int64_t{1} << 61}) {
    Rig rig(mixed_layout(1),
            {.rule = Adagrad{.lr = 1, .lr_decay = 1.0 / static_cast<double>(many)}});
    rig.optimizer.set_steps(many, std::vector<std::int64_t>(13, many));
    rig.param("scalar")[0] = 0;
    rig.gradient("scalar")[0] = 1;
    rig.step();
    rig.step();
    EXPECT_EQ(rig.optimizer.segment_steps(), std::vector<std::int64_t>(13, many + 2));
    EXPECT_EQ(rig.optimizer.report().steps, many + 2);
    // Half the rate, over the roots of 1 and 2.
    EXPECT_FLOAT_EQ(rig.param("scalar")[0], static_cast<float>(-0.5 - 0.5 / std::sqrt(2.0)));
  }
}

TEST(State, ViewsAreWhereTheLayoutSays) {
  const Layout layout = mixed_layout(1);
  Optimizer optimizer(layout, {.rule = AdamW{}});
  const std::span<float> m = optimizer.state("exp_avg");
  EXPECT_EQ(std::ssize(m), layout.size());
  const TensorView<float> head = optimizer.state("exp_avg", "last_head");
  EXPECT_EQ(head.data, m.data() + layout.segment("last_head").offset);
  EXPECT_EQ(head.size, 4097);
  EXPECT_EQ(optimizer.state("exp_avg", "shared129").shape, (Shape{3, 43}));
  EXPECT_EQ(optimizer.state("exp_avg", "empty_head").size, 0);
  EXPECT_NE(optimizer.state("exp_avg_sq").data(), m.data());
}

TEST(State, WhatIsWrittenThroughAViewIsUsed) {
  Rig rig(mixed_layout(1), {.rule = SGD{.lr = 1, .momentum = 0.5}});
  rig.step();
  rig.optimizer.state("momentum_buffer", "scalar").data[0] = 8;
  rig.gradient("scalar")[0] = 1;
  rig.param("scalar")[0] = 0;
  rig.step();
  EXPECT_EQ(rig.param("scalar")[0], -5);
}

TEST(State, UnknownNamesAreRefused) {
  Optimizer adam(mixed_layout(1), {.rule = Adam{}});
  expect_error<InvalidArgument>([&] { adam.state("momentum_buffer"); },
                                {"got \"momentum_buffer\"", "expected", "exp_avg"});
  expect_error<InvalidArgument>([&] { adam.state("max_exp_avg_sq"); }, {"max_exp_avg_sq"});
  expect_error<InvalidArgument>([&] { adam.state("exp_avg", "tail"); }, {"\"tail\""});
  Optimizer sgd(mixed_layout(1), {});
  expect_error<InvalidArgument>([&] { sgd.state("momentum_buffer"); }, {"momentum_buffer"});
}

/// A segment that had no gradient yet takes its own first step when it gets one: undampened
/// momentum, Adam's bias correction of t = 1.
TEST(State, SegmentsCountTheirOwnSteps) {
  for (const Rule& rule : {Rule(SGD{.lr = 0.1, .momentum = 0.9, .dampening = 0.5}),
                           Rule(AdamW{.lr = 0.1, .epsilon = 0.1})}) {
    Twin twin(mixed_layout(1), {.rule = rule});
    twin.set_active("shared128", false);
    twin.set_active("last_head", false);
    const std::vector<float> before(twin.param("shared128").begin(), twin.param("shared128").end());
    twin.draw_and_step(3);
    EXPECT_TRUE(same_bits(before, twin.param("shared128")));
    for (const std::string_view name : twin.optimizer.state_names()) {
      for (const float value : twin.optimizer.state(name, "shared128").span()) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(value), 0u) << name;
      }
    }
    const Layout& layout = twin.optimizer.layout();
    const auto steps_of = [&](std::string_view name) {
      return twin.optimizer.segment_steps()[static_cast<std::size_t>(layout.index(name))];
    };
    EXPECT_EQ(steps_of("shared128"), 0);
    EXPECT_EQ(steps_of("scalar"), 3);
    EXPECT_EQ(steps_of("shared0"), 3);
    twin.set_active("shared128", true);
    twin.draw_and_step(2);
    EXPECT_EQ(steps_of("shared128"), 2);
    EXPECT_EQ(steps_of("last_head"), 0);
    twin.expect_close();
    EXPECT_EQ(twin.optimizer.report().steps, 5);
  }
}

OptimizerOptions pcgrad_options() {
  return {.rule = AdamW{.amsgrad = true}, .aggregator = PCGrad{.seed = 4}, .tasks = 3};
}

TEST(State, CopiedStateGoesOnWithTheSameBits) {
  const Layout layout = mixed_layout(3);
  Rig first(layout, pcgrad_options());
  first.optimizer.set_active("scalar", false);
  first.draw_and_step(2);
  first.gradient("shared1")[0] = NAN;
  first.step();
  Rig second(layout, pcgrad_options(), 0, 99);
  second.draw_and_step(5);
  second.optimizer.copy_state(first.optimizer);
  std::ranges::copy(first.params.span(), second.params.data());
  second.random = first.random;
  EXPECT_EQ(second.optimizer.segment_steps(), first.optimizer.segment_steps());
  EXPECT_EQ(second.optimizer.report().skipped_steps, 1);
  first.draw_and_step(2);
  second.draw_and_step(2);
  expect_same(first.snapshot(), second.snapshot());
  EXPECT_EQ(second.param("scalar")[0], first.param("scalar")[0]);
}

TEST(State, CopiedStateOfItselfIsItself) {
  Rig rig(mixed_layout(3), pcgrad_options());
  rig.draw_and_step(2);
  const Snapshot before = rig.snapshot();
  rig.optimizer.copy_state(rig.optimizer);
  expect_same(before, rig.snapshot());
}

TEST(State, OfAnotherLayoutOrRuleIsRefused) {
  Rig rig(mixed_layout(3), pcgrad_options());
  rig.draw_and_step(2);
  const Snapshot before = rig.snapshot();
  const auto expect_refused = [&](const Layout& layout, const Rule& rule,
                                  const std::vector<std::string>& words) {
    OptimizerOptions options = pcgrad_options();
    options.rule = rule;
    const Optimizer other(layout, options);
    expect_error<InvalidState>([&] { rig.optimizer.copy_state(other); }, words);
    expect_same(before, rig.snapshot());
  };
  Layout longer = mixed_layout(3);
  longer.add("one more", {1});
  expect_refused(longer, AdamW{.amsgrad = true}, {"copy_state", "layout"});
  expect_refused(mixed_layout(2), AdamW{.amsgrad = true}, {"copy_state", "layout"});
  expect_refused(mixed_layout(3), AdamW{}, {"copy_state", "rule"});
  expect_refused(mixed_layout(3), SGD{.momentum = 0.9}, {"copy_state", "rule"});
}

/// SDMGrad and MoDo both keep "weights" [K]: another aggregator's are refused all the same.
TEST(State, OfAnotherAggregatorOrPlanIsRefused) {
  const OptimizerOptions kept{.rule = SGD{}, .aggregator = MoDo{}, .tasks = 3};
  Rig rig(mixed_layout(3), kept);
  rig.draw_and_step(2);
  const Snapshot before = rig.snapshot();
  const std::vector<double> state = rig.optimizer.plan_state("weights");
  const auto expect_refused = [&](OptimizerOptions options, const std::vector<std::string>& words) {
    Rig other(mixed_layout(3), options);
    other.losses = {1, 2, 3};
    other.draw_and_step();
    expect_error<InvalidState>([&] { rig.optimizer.copy_state(other.optimizer); }, words);
    expect_same(before, rig.snapshot());
    EXPECT_TRUE(same_bits(state, rig.optimizer.plan_state("weights")));
  };
  OptimizerOptions other = kept;
  other.aggregator = SDMGrad{};
  expect_refused(other, {"copy_state", "got", "SDMGrad", "expected", "MoDo"});
  other.aggregator = FAMO{};
  expect_refused(other, {"FAMO", "MoDo"});
  other.aggregator = Mean{};
  expect_refused(other, {"Mean", "MoDo"});
  other = kept;
  other.smoothing = 0.5;
  expect_refused(other, {"copy_state", "smooth"});
  other = kept;
  other.projection = Projection::segment;
  expect_refused(other, {"3 tasks and 10 projections", "3 tasks and 1 projections"});
}

TEST(State, OfAnotherAggregatorIsTakenWhereNeitherKeepsAny) {
  Rig rig(mixed_layout(3), {.rule = Adam{}, .aggregator = MGDA{}, .tasks = 3});
  Rig other(mixed_layout(3), {.rule = Adam{}, .aggregator = PCGrad{}, .tasks = 3});
  other.draw_and_step(2);
  rig.optimizer.copy_state(other.optimizer);
  EXPECT_EQ(rig.optimizer.report().steps, 2);
  EXPECT_TRUE(same_bits(rig.optimizer.state("exp_avg", "scalar").span(),
                        other.optimizer.state("exp_avg", "scalar").span()));
}

/// The report goes with the state; learning rate and loss scale do not.
TEST(State, TheReportIsCopied) {
  Rig rig(mixed_layout(3), {.rule = SGD{.lr = 0.1}, .aggregator = MGDA{}, .tasks = 3});
  Rig other(mixed_layout(3), {.rule = SGD{.lr = 0.2}, .aggregator = MGDA{}, .tasks = 3});
  other.draw_and_step();
  rig.optimizer.copy_state(other.optimizer);
  const Report mine = rig.optimizer.report(), theirs = other.optimizer.report();
  EXPECT_TRUE(mine.looked);
  EXPECT_EQ(mine.norm, theirs.norm);
  EXPECT_TRUE(same_bits(mine.cosines, theirs.cosines));
  rig.step();
  EXPECT_EQ(rig.optimizer.report().lr, 0.1);
}

TEST(State, MovesWithTheOptimizer) {
  static_assert(!std::is_copy_constructible_v<Optimizer> && !std::is_copy_assignable_v<Optimizer>);
  static_assert(std::is_nothrow_move_constructible_v<Optimizer> &&
                std::is_nothrow_move_assignable_v<Optimizer>);
  Rig rig(mixed_layout(3), pcgrad_options()), still(mixed_layout(3), pcgrad_options());
  rig.draw_and_step(2);
  still.draw_and_step(2);
  const float* state = rig.optimizer.state("exp_avg").data();
  Optimizer moved = std::move(rig.optimizer);
  EXPECT_EQ(moved.state("exp_avg").data(), state);
  rig.optimizer = std::move(moved);
  EXPECT_EQ(rig.optimizer.state("exp_avg").data(), state);
  rig.draw_and_step(2);
  still.draw_and_step(2);
  expect_same(still.snapshot(), rig.snapshot());
}

TEST(State, AMovedFromOptimizerSaysSo) {
  Rig rig(mixed_layout(1), {.rule = Adam{}});
  Optimizer& from = rig.optimizer;
  const Gradients gradients = rig.gradients();
  const Layout layout = from.layout();
  Floats gradient(layout.size());
  Optimizer to = std::move(from);
  const auto expect_invalid = [](const std::string& member, const std::function<void()>& call) {
    expect_error<InvalidState>(call, {"Optimizer::" + member, "moved from"});
  };
  expect_invalid("step", [&] { from.step(rig.params.span(), gradients); });
  expect_invalid("step", [&] { from.step(rig.params.span(), gradient.span()); });
  expect_invalid("set_lr", [&] { from.set_lr(0.1); });
  expect_invalid("set_loss_scale", [&] { from.set_loss_scale(2); });
  expect_invalid("set_rule", [&] { from.set_rule(Adam{}); });
  expect_invalid("set_schedule", [&] { from.set_schedule(StepLR{}); });
  expect_invalid("set_clip_norm", [&] { from.set_clip_norm(1); });
  expect_invalid("loss_scale_data", [&] { from.loss_scale_data(); });
  expect_invalid("evaluation_params", [&] { from.evaluation_params({}, {}); });
  expect_invalid("segment_state_names", [&] { from.segment_state_names(); });
  expect_invalid("segment_state", [&] { from.segment_state("mu_product"); });
  expect_invalid("set_segment_state", [&] { from.set_segment_state("mu_product", {}); });
  expect_invalid("export_run", [&] { from.export_run(); });
  expect_invalid("import_run", [&] { from.import_run({}); });
  expect_invalid("set_active", [&] { from.set_active("scalar", false); });
  expect_invalid("report", [&] { from.report(); });
  expect_invalid("segment_steps", [&] { from.segment_steps(); });
  expect_invalid("set_steps", [&] { from.set_steps(0, {}); });
  expect_invalid("state_names", [&] { from.state_names(); });
  expect_invalid("state", [&] { from.state("exp_avg"); });
  expect_invalid("state", [&] { from.state("exp_avg", "scalar"); });
  expect_invalid("copy_state", [&] { from.copy_state(to); });
  expect_invalid("copy_state", [&] { to.copy_state(from); });
  expect_invalid("layout", [&] { from.layout(); });
  expect_invalid("options", [&] { from.options(); });
  from = Optimizer(layout, {.rule = Adam{}});
  EXPECT_NO_THROW(from.report());
}

}  // namespace
}  // namespace gramstep::test
