// Projection by group and by segment: what an optimizer of each part alone would do.
#include <cmath>

#include "tests/every_aggregator.hpp"
#include "tests/rig.hpp"

namespace gramstep::test {
namespace {

/// Segments of two groups in turn, so that no group is one piece of memory.
Layout interleaved() {
  Layout layout;
  layout.add_group("other", {});
  layout.add("a", {129});
  layout.add("b", {5'000}, {.group = "other"});
  layout.add("c", {4'097});
  layout.add("empty", {0}, {.group = "other"});
  layout.add("d", {300}, {.group = "other"});
  layout.add("head", {77}, {.task = 1});
  return layout;
}

OptimizerOptions options_with(Projection projection) {
  return {.rule = AdamW{.lr = 0.01},
          .aggregator = PCGrad{.order = PCGradOrder::fixed},
          .tasks = 3,
          .projection = projection};
}

/// Takes the steps of `parts` of the rig's layout in an optimizer that has only them, and expects the
/// rig's parameters and, of projection `p`, its weights.
void expect_as_alone(Rig& rig, int p, const std::vector<std::string>& parts) {
  Layout layout;
  for (const std::string& name : parts)
    layout.add(name, rig.optimizer.layout().segment(name).shape);
  OptimizerOptions options = rig.optimizer.options();
  options.projection = Projection::model;
  Rig alone(layout, options);
  Rig again(rig.optimizer.layout(), rig.optimizer.options());  // the same draws as `rig` began with
  for (const std::string& name : parts)
    std::ranges::copy(again.param(name), alone.param(name).begin());
  for (int step = 0; step < 3; ++step) {
    again.draw();
    for (const std::string& name : parts) {
      for (int k = 0; k < options.tasks; ++k) {
        std::ranges::copy(again.gradient(name, k), alone.gradient(name, k).begin());
      }
    }
    alone.step();
  }
  for (const std::string& name : parts) {
    EXPECT_TRUE(same_bits(rig.param(name), alone.param(name))) << name;
  }
  const Report whole = rig.optimizer.report(), part = alone.optimizer.report();
  const auto tasks = static_cast<std::ptrdiff_t>(options.tasks);
  const auto first = whole.weights.begin() + p * tasks;
  EXPECT_EQ(std::vector<double>(first, first + tasks), part.weights);
  const auto gram = whole.gram.begin() + p * tasks * tasks;
  EXPECT_EQ(std::vector<double>(gram, gram + tasks * tasks), part.gram);
}

TEST(Projection, ByGroupIsAnOptimizerForEveryGroup) {
  Rig rig(interleaved(), options_with(Projection::group));
  EXPECT_EQ(rig.optimizer.projection_of("a"), 0);
  EXPECT_EQ(rig.optimizer.projection_of("b"), 1);
  EXPECT_EQ(rig.optimizer.projection_of("c"), 0);
  EXPECT_EQ(rig.optimizer.projection_of("d"), 1);
  for (int step = 0; step < 3; ++step) rig.draw_and_step();
  EXPECT_EQ(rig.optimizer.report().projections, 2);
  expect_as_alone(rig, 0, {"a", "c"});
  expect_as_alone(rig, 1, {"b", "empty", "d"});
  rig.expect_padding_untouched();
}

TEST(Projection, BySegmentIsAnOptimizerForEverySegment) {
  Rig rig(interleaved(), options_with(Projection::segment));
  for (int step = 0; step < 3; ++step) rig.draw_and_step();
  EXPECT_EQ(rig.optimizer.report().projections, 5);
  int p = 0;
  for (const char* name : {"a", "b", "c", "empty", "d"}) {
    EXPECT_EQ(rig.optimizer.projection_of(name), p);
    expect_as_alone(rig, p++, {name});
  }
}

TEST(Projection, OfAHeadIsRefused) {
  Rig rig(interleaved(), options_with(Projection::group));
  expect_error<InvalidArgument>([&] { (void)rig.optimizer.projection_of("head"); }, {"head"});
  expect_error<InvalidArgument>([&] { (void)rig.optimizer.projection_of("tail"); }, {"tail"});
}

TEST(Projection, ANaNInOnePartSkipsTheWholeStepAndKeepsEveryPartsState) {
  OptimizerOptions options = options_with(Projection::segment);
  options.aggregator = MoDo{};
  options.smoothing = 0.5;
  Rig rig(interleaved(), options);
  rig.draw_and_step(2);
  const Snapshot before = rig.snapshot();
  const auto weights = rig.optimizer.plan_state("weights");
  const auto smoothed = rig.optimizer.plan_state("smoothed_weights");
  EXPECT_EQ(weights.size(), 5u * 3);
  rig.gradient("d", 1)[299] = NAN;
  rig.step();
  EXPECT_TRUE(rig.optimizer.report().skipped);
  expect_same(before, rig.snapshot(), false);
  EXPECT_EQ(rig.optimizer.plan_state("weights"), weights);
  EXPECT_EQ(rig.optimizer.plan_state("smoothed_weights"), smoothed);
}

TEST(Projection, TheClipIsOfTheWholeNorm) {
  OptimizerOptions options = options_with(Projection::segment);
  options.clip_norm = 1.0;
  Rig rig(interleaved(), options);
  rig.draw_and_step();
  const Report report = rig.optimizer.report();
  double squared = report.heads_norm * report.heads_norm;
  for (const double norm : report.projection_norms) squared += norm * norm;
  EXPECT_NEAR(report.norm, std::sqrt(squared), 1e-12 * report.norm);
  EXPECT_NEAR(report.clipped_norm, 1.0, 1e-6);  // torch's 1e-6 beside the norm
}

/// Whatever the number of threads, and for every aggregator.
TEST(Projection, BitsDoNotDependOnTheNumberOfThreads) {
  for (const Aggregator& aggregator : every_aggregator(3)) {
    std::vector<float> first;
    for (const int threads : {1, 3}) {
      OptimizerOptions options = options_with(Projection::segment);
      options.aggregator = aggregator;
      options.device = cpu(threads);
      Rig rig(interleaved(), options);
      rig.losses = {1, 2, 3};
      rig.draw_and_step(3);
      if (first.empty()) {
        first.assign(rig.params.span().begin(), rig.params.span().end());
      } else {
        EXPECT_TRUE(same_bits(rig.params.span(), first)) << text_of(aggregator);
      }
    }
  }
}

}  // namespace
}  // namespace gramstep::test
