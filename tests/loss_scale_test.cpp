// Loss scales that adapt, and those that somebody else keeps: grad_scale and found_inf.
#include <limits>

#include "tests/rig.hpp"

namespace gramstep::test {
namespace {

OptimizerOptions adapting(int tasks, const DynamicLossScale& dynamic, double first = 8) {
  return {.rule = AdamW{.lr = 0.01},
          .tasks = tasks,
          .loss_scale = first,
          .dynamic_loss_scale = dynamic};
}

Layout layout_of(int tasks) {
  const std::int64_t sizes[] = {1, 129};
  return mixed_layout(tasks, sizes);
}

/// Gradients multiplied by what the optimizer publishes, and a step.
void scaled_step(Rig& rig) {
  const float scale = *rig.optimizer.loss_scale_data();
  for (const Floats& row : rig.rows) {
    for (float& g : row.span()) g *= scale;
  }
  for (float& g : rig.heads.span()) g *= scale;
  rig.step();
}

void bad_step(Rig& rig) {
  rig.draw();
  rig.gradient("scalar")[0] = INFINITY;
  rig.step();
}

/// torch.amp.GradScaler: growth after `interval` good steps in a row, backoff at each bad one.
TEST(DynamicLossScale, GrowsAndBacksOffAsTorchs) {
  for (const int tasks : {1, 3}) {
    Rig rig(layout_of(tasks), adapting(tasks, {.growth_factor = 4, .growth_interval = 3}));
    const float* scale = rig.optimizer.loss_scale_data();
    EXPECT_EQ(*scale, 8.0f);
    const auto expect_after = [&](bool good, float expected) {
      rig.draw();
      if (good) {
        scaled_step(rig);
      } else {
        bad_step(rig);
      }
      EXPECT_EQ(rig.optimizer.report().skipped, !good);
      EXPECT_EQ(*scale, expected);
    };
    expect_after(true, 8);
    expect_after(true, 8);
    expect_after(true, 32);
    expect_after(true, 32);
    expect_after(true, 32);
    expect_after(false, 16);  // and begins to count anew
    expect_after(false, 8);
    expect_after(true, 8);
    expect_after(true, 8);
    expect_after(true, 32);
    EXPECT_EQ(rig.optimizer.loss_scale_data(), scale);
    EXPECT_EQ(rig.optimizer.export_run().loss_scale, 32.0);
    EXPECT_EQ(rig.optimizer.export_run().loss_scale_good_steps, 0);
  }
}

/// Scales that are powers of two leave no trace but in the steps that are skipped.
TEST(DynamicLossScale, IsDividedOut) {
  for (const int tasks : {1, 3}) {
    Rig scaled(layout_of(tasks), adapting(tasks, {.growth_interval = 2}));
    Rig plain(layout_of(tasks), {.rule = AdamW{.lr = 0.01}, .tasks = tasks});
    for (int i = 0; i < 7; ++i) {
      plain.draw_and_step();
      if (i == 3) {
        Random random = scaled.random;
        bad_step(scaled);
        scaled.random = random;
      }
      scaled.draw();
      scaled_step(scaled);
    }
    EXPECT_TRUE(same_bits(plain.param("shared129"), scaled.param("shared129")));
    EXPECT_TRUE(same_bits(plain.param("last_head"), scaled.param("last_head")));
    EXPECT_EQ(scaled.optimizer.report().skipped_steps, 1);
    EXPECT_EQ(*scaled.optimizer.loss_scale_data(), 32.0f);  // 8, 16, bad: 8, 16, 32
  }
}

TEST(DynamicLossScale, StaysWithinTheNumbersOfFp32) {
  const float largest = std::numeric_limits<float>::max();
  Rig up(layout_of(1), adapting(1, {.growth_interval = 1}, 0x1p126));
  for (int i = 0; i < 4; ++i) {
    for (const Floats& row : up.rows) std::ranges::fill(row.span(), 0.0f);
    std::ranges::fill(up.heads.span(), 0.0f);
    up.step();
    EXPECT_EQ(*up.optimizer.loss_scale_data(), 0x1p127f) << "2^128 is beyond " << largest;
  }
  Rig down(layout_of(1), adapting(1, {.backoff_factor = 0x1p-100}, 0x1p-40));
  bad_step(down);
  EXPECT_EQ(*down.optimizer.loss_scale_data(), 0x1p-140f);
  bad_step(down);
  EXPECT_EQ(*down.optimizer.loss_scale_data(), 0x1p-140f) << "0 is no scale";
}

TEST(DynamicLossScale, MayBeSet) {
  Rig rig(layout_of(1), adapting(1, {.growth_interval = 2}));
  scaled_step(rig);
  rig.optimizer.set_loss_scale(3);
  EXPECT_EQ(*rig.optimizer.loss_scale_data(), 3.0f);
  rig.draw();
  scaled_step(rig);
  EXPECT_EQ(*rig.optimizer.loss_scale_data(), 3.0f) << "counts anew";
  rig.draw();
  scaled_step(rig);
  EXPECT_EQ(*rig.optimizer.loss_scale_data(), 6.0f);
}

TEST(DynamicLossScale, OneThatDoesNotAdaptStays) {
  Rig rig(layout_of(2), {.tasks = 2, .loss_scale = 5});
  bad_step(rig);
  rig.draw_and_step(3);
  EXPECT_EQ(*rig.optimizer.loss_scale_data(), 5.0f);
}

TEST(DynamicLossScale, RefusesOptionsThatMakeNoSense) {
  const auto expect_refused = [](const OptimizerOptions& options, std::vector<std::string> words) {
    words.insert(words.end(), {"got", "expected"});
    expect_error<InvalidArgument>([&] { Optimizer(layout_of(1), options); }, words);
  };
  const std::string name = "OptimizerOptions.dynamic_loss_scale";
  for (const double bad : {0.5, infinity, std::nan("")}) {
    expect_refused(adapting(1, {.growth_factor = bad}), {name + ".growth_factor"});
  }
  for (const double bad : {0.0, 1.5, std::nan("")}) {
    expect_refused(adapting(1, {.backoff_factor = bad}), {name + ".backoff_factor"});
  }
  expect_refused(adapting(1, {.growth_interval = 0}), {name + ".growth_interval"});
  expect_refused(adapting(1, {}, 1e39), {"OptimizerOptions.loss_scale"});
  expect_refused(adapting(1, {}, 1e-39), {"OptimizerOptions.loss_scale"});
  OptimizerOptions propagating = adapting(2, {});
  propagating.non_finite = NonFinite::propagate;
  expect_refused(propagating, {name, "propagate"});
}

/// Nor may it be set beyond what is handed out.
TEST(DynamicLossScale, RefusesToBeSetBeyondFp32) {
  Rig rig(layout_of(1), adapting(1, {}));
  for (const double bad : {1e39, 1e-39}) {
    expect_error<InvalidArgument>([&] { rig.optimizer.set_loss_scale(bad); }, {"loss_scale"});
    EXPECT_EQ(*rig.optimizer.loss_scale_data(), 8.0f);
    EXPECT_EQ(rig.optimizer.options().loss_scale, 8.0);
  }
}

/// A step with one of the numbers that torch.amp.GradScaler keeps.
void step_with(Rig& rig, const float* grad_scale, const float* found_inf) {
  Gradients gradients = rig.gradients();
  gradients.grad_scale = grad_scale;
  gradients.found_inf = found_inf;
  rig.optimizer.step(rig.params.span(), gradients);
}

TEST(GradScale, StandsForTheLossScale) {
  for (const int tasks : {1, 2}) {
    for (const auto& clip : {std::optional<double>{}, std::optional(1.0)}) {
      OptimizerOptions options{
          .rule = AdamW{.lr = 0.01}, .tasks = tasks, .clip_norm = clip, .loss_scale = 64};
      Rig rig(layout_of(tasks), options);
      options.loss_scale = 3;
      Rig own(layout_of(tasks), options);
      const float three = 3;
      for (int i = 0; i < 3; ++i) {
        rig.draw();
        step_with(rig, &three, nullptr);
        own.draw_and_step();
      }
      expect_same(own.snapshot(), rig.snapshot());
    }
  }
}

/// Its owner adapts it: the optimizer's own stays as it is.
TEST(GradScale, IsNobodyElsesToAdapt) {
  Rig rig(layout_of(2), adapting(2, {.growth_interval = 1}));
  const float three = 3, zero = 0;
  step_with(rig, &three, &zero);
  EXPECT_EQ(*rig.optimizer.loss_scale_data(), 8.0f);
  rig.gradient("scalar")[0] = NAN;
  step_with(rig, &three, &zero);
  EXPECT_TRUE(rig.optimizer.report().skipped);
  EXPECT_EQ(*rig.optimizer.loss_scale_data(), 8.0f);
}

TEST(GradScale, ANumberThatIsNoScaleSkips) {
  for (const int tasks : {1, 2}) {
    for (const std::optional<NonFinite> policy :
         {std::optional<NonFinite>{}, std::optional(NonFinite::propagate)}) {
      Rig rig(layout_of(tasks), {.rule = Adam{}, .tasks = tasks, .non_finite = policy});
      rig.draw_and_step();
      const Snapshot before = rig.snapshot();
      for (const float bad : {0.0f, -1.0f, NAN, INFINITY, -INFINITY}) {
        step_with(rig, &bad, nullptr);
        EXPECT_TRUE(rig.optimizer.report().skipped) << bad;
        expect_same(before, rig.snapshot(), false);
      }
    }
  }
}

/// Not 0 is found, whatever it is: some count, some add.
TEST(FoundInf, IsWhateverIsNotZero) {
  for (const int tasks : {1, 2}) {
    for (const std::optional<NonFinite> policy :
         {std::optional<NonFinite>{}, std::optional(NonFinite::propagate)}) {
      Rig rig(layout_of(tasks),
              {.rule = SGD{.momentum = 0.9}, .tasks = tasks, .non_finite = policy});
      rig.draw_and_step();
      const Snapshot before = rig.snapshot();
      std::int64_t skipped = 0;
      for (const float found : {1.0f, 2.0f, 0.5f, -1.0f, 1e-30f, INFINITY, NAN}) {
        step_with(rig, nullptr, &found);
        EXPECT_EQ(rig.optimizer.report().skipped_steps, ++skipped) << found;
        expect_same(before, rig.snapshot(), false);
      }
      for (const float none : {0.0f, -0.0f}) step_with(rig, nullptr, &none);
      EXPECT_EQ(rig.optimizer.report().skipped_steps, skipped);
      EXPECT_EQ(rig.optimizer.report().steps, 3);
    }
  }
}

TEST(FoundInf, IsAnErrorWhereThatIsThePolicy) {
  Rig rig(layout_of(1), {.rule = SGD{}, .non_finite = NonFinite::error});
  const float one = 1;
  EXPECT_THROW(step_with(rig, nullptr, &one), NonFiniteGradient);
  EXPECT_EQ(rig.optimizer.report().steps, 0);
}

TEST(FoundInf, BacksOffALossScaleOfOnesOwn) {
  Rig rig(layout_of(1), adapting(1, {}));
  const float one = 1;
  step_with(rig, nullptr, &one);
  EXPECT_EQ(*rig.optimizer.loss_scale_data(), 4.0f);
}

TEST(GradScale, OfMisalignedMemoryIsRefused) {
  Rig rig(layout_of(2), {.rule = Adam{}, .tasks = 2});
  const float numbers[] = {1, 1};
  const auto* odd = reinterpret_cast<const float*>(reinterpret_cast<const char*>(numbers) + 2);
  expect_error<InvalidArgument>([&] { step_with(rig, odd, nullptr); },
                                {"Optimizer::step: gradients.grad_scale", "4 bytes"});
  expect_error<InvalidArgument>([&] { step_with(rig, nullptr, odd); },
                                {"Optimizer::step: gradients.found_inf", "4 bytes"});
  EXPECT_EQ(rig.optimizer.report().steps + rig.optimizer.report().skipped_steps, 0);
}

/// The momenta of an aggregator are unscaled by it, too.
TEST(GradScale, ReachesTheMomenta) {
  OptimizerOptions options{.rule = SGD{.lr = 0.1}, .aggregator = MoCo{}, .tasks = 2};
  Rig own(layout_of(2), options);
  options.loss_scale = 2;
  Rig rig(layout_of(2), options);
  const float four = 4;
  own.optimizer.set_loss_scale(4);
  for (int i = 0; i < 3; ++i) {
    rig.losses = own.losses = {1, 2};
    own.draw_and_step();
    rig.draw();
    step_with(rig, &four, nullptr);
  }
  expect_same(own.snapshot(), rig.snapshot());
}

}  // namespace
}  // namespace gramstep::test
