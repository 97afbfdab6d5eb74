// Gradients that are not finite: skipped, refused or passed on; and where nobody is to look.
#include <limits>

#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

OptimizerOptions options_with(std::optional<NonFinite> policy, int tasks = 2) {
  return {.rule = SGD{.lr = 0.1, .momentum = 0.9, .dampening = 0.5},
          .tasks = tasks,
          .non_finite = policy};
}

/// Puts `value` somewhere, runs `action`, and puts back what was there.
template <class Action>
void with_value(float& place, float value, const Action& action) {
  const float before = std::exchange(place, value);
  action();
  place = before;
}

constexpr float bad_values[] = {std::numeric_limits<float>::quiet_NaN(),
                                std::numeric_limits<float>::infinity(),
                                -std::numeric_limits<float>::infinity()};

/// First and last elements of rows and heads, around the ends of vectors and chunks.
std::vector<float*> places(const Rig& rig) {
  return {&rig.gradient("shared1", 0).front(),    &rig.gradient("shared129", 1).back(),
          &rig.gradient("shared4097", 1).front(), &rig.gradient("shared4097", 0).back(),
          &rig.gradient("shared7001", 1)[4096],   &rig.gradient("scalar", 0).front(),
          &rig.gradient("first_head").front(),    &rig.gradient("last_head").back()};
}

TEST(NonFinite, SkippedStepsChangeNothingAndAreCounted) {
  for (const std::optional<NonFinite> policy :
       {std::optional<NonFinite>{}, std::optional(NonFinite::skip)}) {
    Rig rig(mixed_layout(2), options_with(policy));
    rig.draw_and_step(2);
    const Snapshot before = rig.snapshot();
    std::int64_t skipped = 0;
    for (const float value : bad_values) {
      for (float* place : places(rig)) {
        with_value(*place, value, [&] { rig.step(); });
        const Report report = rig.optimizer.report();
        EXPECT_TRUE(report.skipped);
        EXPECT_EQ(report.skipped_steps, ++skipped);
        expect_same(before, rig.snapshot(), false);
      }
    }
    rig.step();
    EXPECT_FALSE(rig.optimizer.report().skipped);
    EXPECT_EQ(rig.optimizer.report().steps, 3);
  }
}

TEST(NonFinite, ASkippedStepIsNobodysFirst) {
  Rig skipping(mixed_layout(2), options_with(NonFinite::skip));
  Rig fresh(mixed_layout(2), options_with(NonFinite::skip));
  with_value(skipping.gradient("shared1")[0], NAN, [&] { skipping.step(); });
  skipping.step();
  fresh.step();
  expect_same(fresh.snapshot(), skipping.snapshot());
}

/// Nor does it take part in PCGrad's randomness: the order of step t is that of the t-th step
/// taken.
TEST(NonFinite, SkippedStepsDoNotAdvanceTheOrders) {
  Twin twin(mixed_layout(3, few_edge_sizes),
            {.rule = SGD{.lr = 0.01}, .aggregator = PCGrad{.seed = 9}, .tasks = 3});
  twin.draw_and_step();
  with_value(twin.gradient("scalar", 2)[0], INFINITY, [&] { twin.step(); });
  EXPECT_TRUE(twin.outcome.skipped);
  twin.draw_and_step(2);
  twin.expect_close();
}

TEST(NonFinite, ErrorThrowsOnceAndChangesNothing) {
  Rig rig(mixed_layout(2), options_with(NonFinite::error));
  rig.draw_and_step(2);
  const Snapshot before = rig.snapshot();
  for (float* place : places(rig)) {
    with_value(*place, NAN,
               [&] { expect_error<NonFiniteGradient>([&] { rig.step(); }, {"finite"}); });
    EXPECT_NO_THROW(rig.optimizer.report()) << "a second time";
    expect_same(before, rig.snapshot(), false);
  }
  EXPECT_EQ(rig.optimizer.report().skipped_steps, std::ssize(places(rig)));
  rig.step();
  EXPECT_EQ(rig.optimizer.report().steps, 3);
}

TEST(NonFinite, PropagateTakesTheStep) {
  for (const int tasks : {1, 2}) {
    Twin twin(mixed_layout(tasks), options_with(NonFinite::propagate, tasks));
    twin.draw_and_step(2);
    with_value(twin.gradient("shared4097")[4096], NAN, [&] { twin.Rig::step(); });
    EXPECT_TRUE(std::isnan(twin.param("shared4097")[4096]));
    EXPECT_TRUE(std::isnan(twin.optimizer.state("momentum_buffer", "shared4097").data[4096]));
    EXPECT_TRUE(std::isfinite(twin.param("shared4097")[4095]));
    EXPECT_TRUE(std::isfinite(twin.param("scalar")[0]));
    EXPECT_FALSE(twin.optimizer.report().skipped);
    EXPECT_EQ(twin.optimizer.report().steps, 3);
  }
}

/// torch.nn.utils.clip_grad_norm_ multiplies by min(1, clip / (norm + 1e-6)): by 0 where the norm
/// is infinite, by NaN where it is NaN.
TEST(NonFinite, PropagateClipsAsTorchDoes) {
  OptimizerOptions options = options_with(NonFinite::propagate, 1);
  options.clip_norm = 1.0;
  Rig rig(mixed_layout(1), options);
  const float before = rig.param("scalar")[0];
  with_value(rig.gradient("shared1")[0], INFINITY, [&] { rig.step(); });
  EXPECT_EQ(rig.param("scalar")[0], before);
  EXPECT_TRUE(std::isnan(rig.param("shared1")[0])) << "0 times infinity";
  with_value(rig.gradient("shared1")[0], NAN, [&] { rig.step(); });
  EXPECT_TRUE(std::isnan(rig.param("scalar")[0]));
}

TEST(NonFinite, OneTaskIsNotLookedAtUnlessAsked) {
  Rig rig(mixed_layout(1), options_with({}, 1));
  with_value(rig.gradient("shared1")[0], NAN, [&] { rig.step(); });
  EXPECT_FALSE(rig.optimizer.report().looked);
  EXPECT_FALSE(rig.optimizer.report().skipped);
  EXPECT_TRUE(std::isnan(rig.param("shared1")[0]));

  Rig asked(mixed_layout(1), options_with(NonFinite::skip, 1));
  with_value(asked.gradient("shared1")[0], NAN, [&] { asked.step(); });
  EXPECT_TRUE(asked.optimizer.report().looked);
  EXPECT_TRUE(asked.optimizer.report().skipped);
}

TEST(NonFinite, InactiveSegmentsAndPaddingAreNotLookedAt) {
  for (const NonFinite policy : {NonFinite::skip, NonFinite::error}) {
    Rig rig(mixed_layout(2), options_with(policy));
    rig.optimizer.set_active("shared129", false);
    rig.optimizer.set_active("last_head", false);
    for (float& g : rig.gradient("shared129", 0)) g = NAN;
    for (float& g : rig.gradient("last_head")) g = INFINITY;
    EXPECT_NO_THROW(rig.step());
    const Report report = rig.optimizer.report();
    EXPECT_FALSE(report.skipped);
    for (const double entry : report.gram) EXPECT_TRUE(std::isfinite(entry));
    rig.optimizer.set_active("last_head", true);
    if (policy == NonFinite::skip) {
      rig.step();
      EXPECT_TRUE(rig.optimizer.report().skipped);
    } else {
      EXPECT_THROW(rig.step(), NonFiniteGradient);
    }
  }
}

}  // namespace
}  // namespace gramstep::test
