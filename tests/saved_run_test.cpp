// export_run and import_run: a run by name goes on to the same bits, in another order of segments too.
#include <algorithm>

#include "tests/every_aggregator.hpp"
#include "tests/rig.hpp"
#include "tests/rule_trace.hpp"

namespace gramstep::test {
namespace {

constexpr int tasks = 3;

/// Segments with and without elements, a group of its own, heads; forwards or backwards.
Layout ordered(bool backwards) {
  struct Tensor {
    const char* name;
    Shape shape;
    SegmentOptions options;
  };
  std::vector<Tensor> tensors{
      {"weight", {3, 43}, {}},    {"empty", {0, 5}, {}}, {"scale", {}, {.group = "slow"}},
      {"head", {7}, {.task = 1}}, {"late", {130}, {}},   {"no head", {0}, {.task = 2}}};
  if (backwards) std::ranges::reverse(tensors);
  Layout layout;
  layout.add_group("slow", {.lr_scale = 0.5, .weight_decay = 0.25});
  for (const Tensor& each : tensors) layout.add(each.name, each.shape, each.options);
  return layout;
}

/// Puts the same numbers into the gradients of both, segment by segment, and takes a step with each.
void step_both(Rig& a, Rig& b, Random& random) {
  const Layout& layout = a.optimizer.layout();
  for (int s = 0; s < layout.segments(); ++s) {
    const Segment segment = layout.segment(s);
    for (int k = 0; k < (segment.task == shared_by_all ? tasks : 1); ++k) {
      const std::span<float> to = b.gradient(segment.name, k);
      for (float& g : a.gradient(segment.name, k)) g = random.exact();
      std::ranges::copy(a.gradient(segment.name, k), to.begin());
    }
  }
  a.losses = b.losses = {0.5f, 1.5f, static_cast<float>(2 + random.uniform())};
  a.step();
  b.step();
}

/// The part of a plan's state that is a segment's projection's.
std::vector<double> part_of(const SavedRun& run, const std::string& state,
                            const std::string& name) {
  int projections = 1;
  for (const auto& [each, segment] : run.segments) {
    projections = std::max(projections, segment.projection + 1);
  }
  const std::vector<double>& values = run.plan.at(state);
  const std::ptrdiff_t size = std::ssize(values) / projections;
  const auto first = values.begin() + run.segments.at(name).projection * size;
  return {first, first + size};
}

void expect_same_plan(const SavedRun& a, const SavedRun& b) {
  ASSERT_EQ(a.plan.size(), b.plan.size());
  for (const auto& [state, values] : a.plan) {
    ASSERT_EQ(values.size(), b.plan.at(state).size());
    for (const auto& [name, segment] : a.segments) {
      if (name.ends_with("head")) continue;  // is in no projection
      EXPECT_TRUE(same_bits(part_of(a, state, name), part_of(b, state, name))) << state << name;
    }
  }
}

void expect_same_run(const SavedRun& a, const SavedRun& b) {
  EXPECT_EQ(a.steps, b.steps);
  EXPECT_EQ(a.loss_scale, b.loss_scale);
  EXPECT_EQ(a.loss_scale_good_steps, b.loss_scale_good_steps);
  ASSERT_EQ(a.segments.size(), b.segments.size());
  for (const auto& [name, segment] : a.segments) {
    SCOPED_TRACE(name);
    const SavedSegment& other = b.segments.at(name);
    EXPECT_EQ(segment.shape, other.shape);
    EXPECT_EQ(segment.steps, other.steps);
    EXPECT_EQ(segment.scalars, other.scalars);
    ASSERT_EQ(segment.state.size(), other.state.size());
    for (const auto& [state, values] : segment.state) {
      EXPECT_TRUE(same_bits(values, other.state.at(state))) << state;
    }
    ASSERT_EQ(segment.task_momentum.size(), other.task_momentum.size());
    for (std::size_t k = 0; k < segment.task_momentum.size(); ++k) {
      EXPECT_TRUE(same_bits(segment.task_momentum[k], other.task_momentum[k])) << "task " << k;
    }
  }
  expect_same_plan(a, b);
}

void copy_params(const Rig& from, const Rig& to) {
  for (int s = 0; s < from.optimizer.layout().segments(); ++s) {
    const std::string name = from.optimizer.layout().segment(s).name;
    std::ranges::copy(from.param(name), to.param(name).begin());
  }
}

void expect_same_params(const Rig& a, const Rig& b) {
  for (int s = 0; s < a.optimizer.layout().segments(); ++s) {
    const std::string name = a.optimizer.layout().segment(s).name;
    EXPECT_TRUE(same_bits(a.param(name), b.param(name))) << name;
  }
}

/// Runs `steps` steps, in which "late" takes none, and goes on from what was exported.
void expect_goes_on(const OptimizerOptions& options, int steps, bool backwards) {
  Rig run(ordered(false), options), other(ordered(false), options);
  Rig resumed(ordered(backwards), options, 0, 99);
  Random random(4);
  run.optimizer.set_active("late", false);
  for (int i = 0; i < steps; ++i) step_both(run, other, random);
  const SavedRun saved = run.optimizer.export_run();
  EXPECT_EQ(saved.segments.at("late").steps, 0);
  EXPECT_EQ(saved.segments.at("empty").steps, steps);
  resumed.optimizer.import_run(saved);
  copy_params(run, resumed);
  expect_same_run(saved, resumed.optimizer.export_run());
  run.optimizer.set_active("late", true);
  for (int i = 0; i < 4; ++i) step_both(run, resumed, random);
  expect_same_params(run, resumed);
  expect_same_run(run.optimizer.export_run(), resumed.optimizer.export_run());
  resumed.expect_padding_untouched();
}

TEST(SavedRun, GoesOnToTheSameBitsByEveryRule) {
  for_every_rule([](const auto& rule) {
    for (const int steps : {0, 1, 4}) {
      SCOPED_TRACE(std::string(rule.name) + " after " + std::to_string(steps));
      // The sum of three tasks has no weights in which the order of segments could show.
      expect_goes_on({.rule = rule,
                      .tasks = tasks,
                      .schedule = CosineAnnealingLR{.total_steps = 20},
                      .warmup = {.steps = 3},
                      .loss_scale = 4,
                      .dynamic_loss_scale = DynamicLossScale{.growth_interval = 3}},
                     steps, true);
    }
  });
  for (const Rule& rule :
       {Rule(SGD{.momentum = 0.9, .dampening = 0.5}), Rule(Adam{.amsgrad = true}),
        Rule(RMSprop{.momentum = 0.9, .centered = true}),
        Rule(Adagrad{.initial_accumulator_value = 0.5})}) {
    expect_goes_on({.rule = rule, .tasks = tasks}, 3, true);
  }
}

/// The momenta and the plan's state, whatever the parity of the count; a projection is a group, whose
/// order does not change with that of its segments.
TEST(SavedRun, GoesOnToTheSameBitsByEveryAggregator) {
  for (const Aggregator& aggregator : every_aggregator(tasks)) {
    for (const int steps : {1, 2}) {
      SCOPED_TRACE(text_of(aggregator) + " after " + std::to_string(steps));
      OptimizerOptions options{.rule = AdamW{}, .aggregator = aggregator, .tasks = tasks};
      if (!elementwise(aggregator)) options.smoothing = 0.25;
      expect_goes_on(options, steps, false);
    }
  }
}

/// In another order of segments as well: gradients that sum exactly have the same Gram matrix.
TEST(SavedRun, MomentaGoWithTheirSegments) {
  const OptimizerOptions options{.rule = AdamW{}, .aggregator = MoCo{}, .tasks = tasks};
  Rig run(ordered(false), options), backwards(ordered(true), options, 0, 99);
  run.losses = {1, 2, 3};
  run.draw_and_step(3);
  const SavedRun saved = run.optimizer.export_run();
  EXPECT_EQ(saved.segments.at("weight").task_momentum.size(), 3u);
  EXPECT_TRUE(saved.segments.at("head").task_momentum.empty());
  EXPECT_TRUE(saved.segments.at("empty").task_momentum.at(2).empty());
  backwards.optimizer.import_run(saved);
  expect_same_run(saved, backwards.optimizer.export_run());
  const Segment weight = backwards.optimizer.layout().segment("weight");
  const std::span<float> momentum = backwards.optimizer.task_momentum(1);
  EXPECT_TRUE(same_bits(momentum.subspan(static_cast<std::size_t>(weight.offset),
                                         static_cast<std::size_t>(weight.size)),
                        saved.segments.at("weight").task_momentum[1]));
}

/// Every segment a projection, or every group: a part of the plan's state goes with its segments, whatever
/// their order. No sum runs over two segments, so that all is as it was to the last bit.
TEST(SavedRun, PlansGoWithTheirSegments) {
  for (const Aggregator& aggregator :
       {Aggregator(MoDo{}), Aggregator(FAMO{}), Aggregator(MoCo{})}) {
    SCOPED_TRACE(text_of(aggregator));
    const OptimizerOptions options{.rule = AdamW{},
                                   .aggregator = aggregator,
                                   .tasks = tasks,
                                   .projection = Projection::segment,
                                   .smoothing = 0.25};
    expect_goes_on(options, 2, true);
    expect_goes_on(options, 3, true);
  }
}

TEST(SavedRun, BringsTheLossScaleAlong) {
  const OptimizerOptions options{
      .rule = SGD{}, .loss_scale = 4, .dynamic_loss_scale = DynamicLossScale{.growth_interval = 3}};
  Rig run(ordered(false), {.rule = SGD{}, .tasks = tasks}), adapting(ordered(false), [&] {
    OptimizerOptions with_tasks = options;
    with_tasks.tasks = tasks;
    return with_tasks;
  }());
  SavedRun saved = run.optimizer.export_run();
  saved.loss_scale = 32;
  saved.loss_scale_good_steps = 2;
  adapting.optimizer.import_run(saved);
  EXPECT_EQ(*adapting.optimizer.loss_scale_data(), 32.0f);
  EXPECT_EQ(adapting.optimizer.options().loss_scale, 32.0);
  adapting.draw_and_step();
  EXPECT_EQ(*adapting.optimizer.loss_scale_data(), 64.0f);
  // A run that had a longer interval: it is over.
  saved.loss_scale_good_steps = 1000;
  adapting.optimizer.import_run(saved);
  adapting.draw_and_step();
  EXPECT_EQ(*adapting.optimizer.loss_scale_data(), 64.0f);
}

/// What a run must not have, each alone, and that nothing was changed by it.
class ImportRun : public ::testing::Test {
 protected:
  ImportRun() : rig_(ordered(false), options()) {
    rig_.losses = {1, 2, 3};
    rig_.draw_and_step(2);
    before_ = rig_.optimizer.export_run();
  }

  static OptimizerOptions options() {
    return {.rule = NAdam{},
            .aggregator = MoCo{},
            .tasks = tasks,
            .dynamic_loss_scale = DynamicLossScale{}};
  }

  template <class Change>
  void expect_refused(const Change& change, std::vector<std::string> words) {
    SavedRun run = before_;
    // So that what is good of it would show.
    run.steps += 5;
    run.loss_scale *= 2;
    run.segments.at("weight").state.at("exp_avg")[0] += 1;
    change(run);
    words.insert(words.end(), {"Optimizer::import_run", "got", "expected"});
    expect_error<InvalidArgument>([&] { rig_.optimizer.import_run(run); }, words);
    expect_same_run(before_, rig_.optimizer.export_run());
  }
  template <class Change>
  void expect_segment_refused(const Change& change, const std::vector<std::string>& words) {
    expect_refused([&](SavedRun& run) { change(run.segments.at("weight")); }, words);
  }

  Rig rig_;
  SavedRun before_;
};

TEST_F(ImportRun, RefusesCountsAndScalesThatNoRunHas) {
  expect_refused([](SavedRun& run) { run.steps = -1; }, {"steps", "-1"});
  expect_refused([](SavedRun& run) { run.steps = INT64_MAX; }, {"steps"});
  for (const double bad : {0.0, -1.0, std::nan(""), 1e39}) {
    expect_refused([&](SavedRun& run) { run.loss_scale = bad; }, {"loss_scale"});
  }
  expect_refused([](SavedRun& run) { run.loss_scale_good_steps = -1; }, {"loss_scale_good_steps"});
  expect_segment_refused([](SavedSegment& saved) { saved.steps = -1; }, {"segment weight: steps"});
  expect_segment_refused([](SavedSegment& saved) { saved.steps = 99; }, {"segment weight", "99"});
}

TEST_F(ImportRun, RefusesOtherSegments) {
  expect_refused([](SavedRun& run) { run.segments.erase("head"); }, {"segments", "no head"});
  expect_refused([](SavedRun& run) { run.segments.erase("empty"); }, {"segments", "no empty"});
  expect_refused([](SavedRun& run) { run.segments["tail"] = run.segments.at("head"); },
                 {"segments", "tail"});
  expect_segment_refused([](SavedSegment& saved) { saved.shape = {43, 3}; },
                         {"segment weight", "[43, 3]", "[3, 43]"});
}

TEST_F(ImportRun, RefusesOtherState) {
  expect_segment_refused([](SavedSegment& saved) { saved.state.erase("exp_avg"); },
                         {"segment weight: state", "no exp_avg"});
  expect_segment_refused([](SavedSegment& saved) { saved.state["velocity"]; }, {"velocity"});
  expect_segment_refused([](SavedSegment& saved) { saved.state.at("exp_avg_sq").pop_back(); },
                         {"state exp_avg_sq", "128 values", "129"});
  expect_segment_refused([](SavedSegment& saved) { saved.scalars.clear(); },
                         {"segment weight: scalars", "no mu_product"});
  expect_segment_refused([](SavedSegment& saved) { saved.scalars["lr_max"] = 1; }, {"lr_max"});
}

TEST_F(ImportRun, RefusesOtherMomentaAndPlans) {
  expect_segment_refused([](SavedSegment& saved) { saved.task_momentum.pop_back(); },
                         {"task_momentum", "2 values", "3"});
  expect_segment_refused([](SavedSegment& saved) { saved.task_momentum[1].push_back(0); },
                         {"task_momentum", "130 values", "129"});
  expect_refused([](SavedRun& run) { run.segments.at("head").task_momentum.resize(3); },
                 {"segment head"});
  ASSERT_FALSE(before_.plan.empty());
  expect_refused([](SavedRun& run) { run.plan.clear(); }, {"plan", "no "});
  expect_refused([](SavedRun& run) { run.plan["mood"] = {1}; }, {"plan", "mood"});
  expect_refused([](SavedRun& run) { run.plan.begin()->second.push_back(0); }, {"plan"});
}

TEST(SavedRun, OfOtherProjectionsIsRefused) {
  const OptimizerOptions options{
      .rule = SGD{}, .aggregator = MoDo{}, .tasks = tasks, .projection = Projection::segment};
  Rig rig(ordered(false), options);
  rig.draw_and_step(2);
  const SavedRun good = rig.optimizer.export_run();
  for (const int bad : {-1, 4, good.segments.at("scale").projection}) {
    SavedRun run = good;
    run.steps += 1;
    run.segments.at("weight").projection = bad;
    expect_error<InvalidArgument>([&] { rig.optimizer.import_run(run); },
                                  {"import_run: segment ", "projection", "got", "expected"});
    expect_same_run(good, rig.optimizer.export_run());
  }
}

TEST(SavedRun, OfAnotherRuleIsRefused) {
  Rig adam(ordered(false), {.rule = Adam{}, .tasks = tasks});
  Rig lion(ordered(false), {.rule = Lion{}, .tasks = tasks});
  const SavedRun saved = adam.optimizer.export_run();
  expect_error<InvalidArgument>([&] { lion.optimizer.import_run(saved); }, {"exp_avg_sq"});
  adam.optimizer.set_rule(Lion{});
  lion.optimizer.import_run(adam.optimizer.export_run());
}

}  // namespace
}  // namespace gramstep::test
