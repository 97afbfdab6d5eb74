// Resuming: what is saved by name and restored in a fresh optimizer goes on to the same bits.
#include <algorithm>
#include <map>

#include "tests/every_aggregator.hpp"
#include "tests/rig.hpp"

namespace gramstep::test {
namespace {

constexpr int tasks = 4;

template <class Value>
using Named = std::map<std::string, std::vector<Value>, std::less<>>;

template <class Value>
std::vector<Value> copy_of(std::span<Value> values) {
  return {values.begin(), values.end()};
}

/// All that a run consists of, by name; segments only, for padding is not state.
struct Saved {
  std::int64_t steps;
  std::vector<std::int64_t> segment_steps;
  Named<float> tensors;  // parameters and the rule's state
  Named<double> plan;
  std::vector<std::vector<float>> momenta;
};

bool keeps_momenta(const Optimizer& optimizer) {
  return with_momentum(optimizer.options().aggregator);
}

/// Calls function(name, values) for every segment of the parameters and of the rule's state.
template <class Function>
void for_tensors(Rig& rig, const Function& function) {
  const Layout& layout = rig.optimizer.layout();
  for (int s = 0; s < layout.segments(); ++s) {
    const std::string segment = layout.segment(s).name;
    function("param/" + segment, rig.param(segment));
    for (const std::string_view state : rig.optimizer.state_names()) {
      function(std::string(state) + "/" + segment, rig.optimizer.state(state, segment).span());
    }
  }
}

Saved save(Rig& rig) {
  Optimizer& optimizer = rig.optimizer;
  Saved saved{optimizer.report().steps, optimizer.segment_steps(), {}, {}, {}};
  for_tensors(rig, [&](const std::string& name, std::span<float> values) {
    saved.tensors[name] = copy_of(values);
  });
  for (const std::string_view name : optimizer.plan_state_names()) {
    saved.plan[std::string(name)] = optimizer.plan_state(name);
  }
  for (int k = 0; k < tasks && keeps_momenta(optimizer); ++k) {
    saved.momenta.push_back(copy_of(optimizer.task_momentum(k)));
  }
  return saved;
}

void restore(const Saved& saved, Rig& rig) {
  rig.optimizer.set_steps(saved.steps, saved.segment_steps);
  for_tensors(rig, [&](const std::string& name, std::span<float> values) {
    std::ranges::copy(saved.tensors.at(name), values.begin());
  });
  for (const auto& [name, values] : saved.plan) rig.optimizer.set_plan_state(name, values);
  for (int k = 0; k < tasks && keeps_momenta(rig.optimizer); ++k) {
    std::ranges::copy(saved.momenta[static_cast<std::size_t>(k)],
                      rig.optimizer.task_momentum(k).begin());
  }
}

void expect_equal(const Saved& a, const Saved& b) {
  EXPECT_EQ(a.steps, b.steps);
  EXPECT_EQ(a.segment_steps, b.segment_steps);
  for (const auto& [name, values] : a.tensors) {
    EXPECT_TRUE(same_bits(values, b.tensors.at(name))) << name;
  }
  for (const auto& [name, values] : a.plan) {
    EXPECT_TRUE(same_bits(values, b.plan.at(name))) << name;
  }
  ASSERT_EQ(a.momenta.size(), b.momenta.size());
  for (std::size_t k = 0; k < a.momenta.size(); ++k) {
    EXPECT_TRUE(same_bits(a.momenta[k], b.momenta[k])) << "momentum " << k;
  }
}

void draw_and_step(Rig& rig) {
  rig.draw_uniform();
  rig.losses.clear();
  for (int k = 0; k < tasks; ++k) {
    rig.losses.push_back(static_cast<float>(1.5 + rig.random.uniform()));
  }
  rig.step();
}

class ResumeTest : public ::testing::TestWithParam<std::string> {};

/// Runs one rig `steps` steps, restores what it is into a fresh one, and goes on with both.
void expect_resumed(const OptimizerOptions& options, int steps) {
  const std::int64_t sizes[] = {3, 129};
  Rig run(mixed_layout(tasks, sizes), options), resumed(mixed_layout(tasks, sizes), options, 0, 99);
  for (int i = 0; i < steps; ++i) {
    run.optimizer.set_active("shared3", i > 0);  // a step less than the others
    draw_and_step(run);
  }
  const Saved saved = save(run);
  restore(saved, resumed);
  expect_equal(saved, save(resumed));
  resumed.random = run.random;
  run.optimizer.set_active("shared3", true);
  for (int i = 0; i < 3; ++i) {
    draw_and_step(run);
    draw_and_step(resumed);
    expect_equal(save(run), save(resumed));
    EXPECT_TRUE(same_bits(run.optimizer.report().weights, resumed.optimizer.report().weights));
  }
}

TEST_P(ResumeTest, GoesOnToTheSameBits) {
  const std::optional<Aggregator> aggregator = made_for(GetParam(), tasks);
  ASSERT_TRUE(aggregator);
  OptimizerOptions options{.rule = AdamW{.lr = 0.01, .amsgrad = true},
                           .aggregator = *aggregator,
                           .tasks = tasks,
                           .loss_scale = 2,
                           .projection = Projection::segment};
  for (const double smoothing : {0.0, 0.5}) {
    if (smoothing > 0 && elementwise(*aggregator)) continue;
    options.smoothing = smoothing;
    for (const int steps : {0, 1, 2, 3}) {
      SCOPED_TRACE(std::to_string(steps) + " steps, smoothing " + std::to_string(smoothing));
      expect_resumed(options, steps);
    }
  }
}

TEST_P(ResumeTest, AnAggregationGoesOnToTheSameWeights) {
  const std::optional<Aggregator> aggregator = made_for(GetParam(), tasks);
  ASSERT_TRUE(aggregator);
  if (elementwise(*aggregator) || with_momentum(*aggregator)) return;
  const AggregationOptions options{
      .aggregator = *aggregator, .tasks = tasks, .batch = 1, .smoothing = 0.25};
  const Optimizer names(mixed_layout(tasks),
                        {.aggregator = *aggregator, .tasks = tasks, .smoothing = 0.25});
  Random random(3);
  const auto weights_of = [&](Aggregation& aggregation, const std::vector<double>& rows) {
    std::vector<double> gram, weights(tasks);
    for (int i = 0; i < tasks; ++i) {
      for (int j = 0; j < tasks; ++j) {
        double product = i == j ? 1.0 : 0.0;
        for (int e = 0; e < 8; ++e) {
          product +=
              rows[static_cast<std::size_t>(8 * i + e)] * rows[static_cast<std::size_t>(8 * j + e)];
        }
        gram.push_back(product);
      }
    }
    std::vector<float> losses;
    for (int i = 0; i < tasks; ++i) {
      losses.push_back(static_cast<float>(1.5 + rows[static_cast<std::size_t>(i)]));
    }
    aggregation.weights(gram, weights, losses);
    return weights;
  };
  const auto draw = [&] {
    std::vector<double> rows(8 * tasks);
    for (double& value : rows) value = random.uniform();
    return rows;
  };
  for (const int steps : {1, 2}) {
    Aggregation run(options), resumed(options);
    for (int i = 0; i < steps; ++i) weights_of(run, draw());
    EXPECT_EQ(run.steps(), steps);
    resumed.set_steps(run.steps());
    for (const std::string_view name : names.plan_state_names()) {
      resumed.set_plan_state(name, run.plan_state(name));
    }
    for (int i = 0; i < 3; ++i) {
      const auto rows = draw();
      EXPECT_TRUE(same_bits(weights_of(run, rows), weights_of(resumed, rows))) << steps;
    }
    EXPECT_EQ(resumed.steps(), steps + 3);
  }
}

INSTANTIATE_TEST_SUITE_P(Aggregators, ResumeTest, ::testing::ValuesIn(every_name()),
                         [](const auto& each) { return each.param; });

TEST(SetSteps, RefusesCountsThatNoRunHas) {
  Layout layout;
  layout.add("a", {3});
  layout.add("b", {5});
  Rig rig(layout, {.rule = Adam{}, .aggregator = MoDo{}, .tasks = 2});
  rig.draw_and_step(3);
  const Snapshot before = rig.snapshot();
  const auto expect_refused = [&](std::int64_t steps, const std::vector<std::int64_t>& of_segments,
                                  const std::vector<std::string>& words) {
    expect_error<InvalidArgument>([&] { rig.optimizer.set_steps(steps, of_segments); }, words);
    expect_same(before, rig.snapshot());
  };
  expect_refused(-1, {0, 0}, {"Optimizer::set_steps: steps", "got -1", "expected 0"});
  expect_refused(std::int64_t{1} << 63, {0, 0}, {"steps"});
  expect_refused(INT64_MAX, {0, 0}, {"steps", "got 9223372036854775807"});
  expect_refused(5, {5, -2}, {"segment_steps[1]", "got -2"});
  expect_refused(5, {6, 5}, {"segment_steps[0]", "got 6", "expected 0 to 5"});
  expect_refused(5, {5}, {"segment_steps", "got 1", "expected 2"});
  expect_refused(5, {5, 5, 5}, {"got 3", "expected 2"});
  rig.optimizer.set_steps(5, std::vector<std::int64_t>{5, 2});
  EXPECT_EQ(rig.optimizer.segment_steps(), (std::vector<std::int64_t>{5, 2}));
  EXPECT_EQ(rig.optimizer.report().steps, 5);
  Aggregation aggregation({.aggregator = MoDo{}});
  expect_error<InvalidArgument>([&] { aggregation.set_steps(-1); },
                                {"Aggregation::set_steps: steps", "got -1"});
  EXPECT_EQ(aggregation.steps(), 0);
}

TEST(SetSteps, IsNoStepThatWasLookedAt) {
  Rig rig(mixed_layout(2), {.aggregator = MoDo{}, .tasks = 2});
  EXPECT_FALSE(rig.optimizer.report().looked);
  rig.optimizer.set_steps(7, std::vector<std::int64_t>(13, 7));
  EXPECT_FALSE(rig.optimizer.report().looked);
  rig.draw_and_step();
  EXPECT_TRUE(rig.optimizer.report().looked);
  EXPECT_EQ(rig.optimizer.report().steps, 8);
}

}  // namespace
}  // namespace gramstep::test
