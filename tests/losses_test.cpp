// Losses handed to a step: where they go, and what is refused.
#include <cmath>

#include "tests/every_aggregator.hpp"
#include "tests/rig.hpp"

namespace gramstep::test {
namespace {

void step(Rig& rig, std::span<const float> losses) {
  rig.losses.assign(losses.begin(), losses.end());
  rig.step();
}

TEST(Losses, ReachTheAggregatorUnscaled) {
  Rig rig(mixed_layout(3), {.aggregator = ScaleInvariant{}, .tasks = 3, .loss_scale = 8});
  const float losses[] = {0.5f, 2.0f, 4.0f};
  rig.draw();
  step(rig, losses);
  EXPECT_EQ(rig.optimizer.report().weights, (std::vector<double>{2, 0.5, 0.25}));
}

TEST(Losses, AreTakenAndIgnoredWhereNobodyNeedsThem) {
  Rig with(mixed_layout(3), {.aggregator = PCGrad{}, .tasks = 3}),
      without(mixed_layout(3), {.aggregator = PCGrad{}, .tasks = 3});
  const float losses[] = {NAN, -1, INFINITY};
  step(with, losses);
  without.step();
  EXPECT_TRUE(same_bits(with.params.span(), without.params.span()));
}

TEST(Losses, ThatAreMissingOrUnfitChangeNothing) {
  const float right[] = {0.5f, 2.0f, 4.0f};
  int needy = 0;
  for (const Aggregator& aggregator : every_aggregator(3)) {
    const bool needs =
        std::visit([](const auto& a) { return aggregators::needs_losses(a); }, aggregator);
    if (!needs) continue;
    ++needy;
    const bool positive =
        std::visit([](const auto& a) { return aggregators::needs_positive_losses(a); }, aggregator);
    Rig rig(mixed_layout(3), {.aggregator = aggregator, .tasks = 3});
    step(rig, right);
    const Snapshot before = rig.snapshot();
    const auto expect_refused = [&](std::span<const float> losses,
                                    const std::vector<std::string>& words) {
      expect_error<InvalidArgument>([&] { step(rig, losses); }, words);
      expect_same(before, rig.snapshot());
    };
    const std::string name(std::visit([](const auto& a) { return a.name; }, aggregator));
    expect_refused({}, {"losses", "got 0", "expected 3", name});
    expect_refused(std::span(right).first(2), {"losses", "got 2", "expected 3"});
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      const float losses[] = {1, bad, 1};
      expect_refused(losses, {"losses[1]", "finite", name});
    }
    if (!positive) continue;
    for (const float bad : {0.0f, -1.0f}) {
      const float losses[] = {1, 1, bad};
      expect_refused(losses, {"losses[2]", "> 0", name});
    }
  }
  EXPECT_GE(needy, 9);  // eight weightings, and DB-MTL's logarithm
}

TEST(Losses, OfAWeightThatFp32CannotHoldSkipTheStep) {
  Rig rig(mixed_layout(2), {.aggregator = ScaleInvariant{}, .tasks = 2});
  const float losses[] = {1e-45f, 1};  // a subnormal: its inverse is beyond fp32
  const Snapshot before = rig.snapshot();
  step(rig, losses);
  EXPECT_TRUE(rig.optimizer.report().skipped);
  expect_same(before, rig.snapshot(), false);
}

TEST(Losses, LearnedStateIsVisibleAndRestored) {
  const OptimizerOptions options{.aggregator = FAMO{}, .tasks = 3};
  Rig rig(mixed_layout(3), options), again(mixed_layout(3), options);
  const std::vector<std::vector<float>> losses = {{1, 2, 3}, {0.9f, 1.9f, 2}, {0.8f, 1, 1.9f}};
  for (const auto& each : losses) {
    rig.draw();
    step(rig, each);
  }
  again.optimizer.copy_state(rig.optimizer);
  ASSERT_FALSE(rig.optimizer.plan_state_names().empty());
  for (const std::string_view name : rig.optimizer.plan_state_names()) {
    EXPECT_TRUE(same_bits(again.optimizer.plan_state(name), rig.optimizer.plan_state(name)))
        << name;
    std::vector<double> values = rig.optimizer.plan_state(name);
    for (double& value : values) value += 1;
    again.optimizer.set_plan_state(name, values);
    EXPECT_TRUE(same_bits(again.optimizer.plan_state(name), values)) << name;
    values.push_back(0);
    expect_error<InvalidArgument>([&] { again.optimizer.set_plan_state(name, values); },
                                  {std::string(name), "expected"});
  }
  expect_error<InvalidArgument>([&] { (void)rig.optimizer.plan_state("phi"); }, {"phi", "xi"});
}

}  // namespace
}  // namespace gramstep::test
