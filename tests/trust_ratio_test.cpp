// The rules that measure a tensor before they move it: norms, ratios, and who has none.
#include <algorithm>
#include <cmath>

#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

/// Two tensors of one size, and a third without elements.
Layout pair_layout(std::int64_t size = 5'001) {
  Layout layout;
  layout.add("a", {size});
  layout.add("none", {0});
  layout.add("b", {size});
  return layout;
}

double norm(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

const Rule layerwise[] = {LAMB{.lr = 0.25},
                          LARS{.lr = 0.25, .trust_coefficient = 0.5, .epsilon = 0}};

/// What its authors are after: |p' - p| = lr |p|, tensor by tensor, whatever the gradients.
TEST(TrustRatio, ATensorMovesByAShareOfItsLength) {
  const double share[] = {0.25, 0.125};
  for (std::size_t r = 0; r < std::size(layerwise); ++r) {
    SCOPED_TRACE(text_of(layerwise[r]));
    Rig rig(pair_layout(), {.rule = layerwise[r]});
    for (float& p : rig.param("b")) p *= 1000;
    for (float& g : rig.gradient("b")) g /= 1000;
    const Snapshot before = rig.snapshot();
    rig.step();
    for (const char* name : {"a", "b"}) {
      const Segment segment = rig.optimizer.layout().segment(name);
      std::vector<float> was, moved;
      for (std::int64_t i = 0; i < segment.size; ++i) {
        was.push_back(before.params[static_cast<std::size_t>(segment.offset + i)]);
        moved.push_back(rig.param(name)[static_cast<std::size_t>(i)] - was.back());
      }
      // Sixteen roundings of each norm's square, a few of the move, and of p - move, four times as long.
      const double length = share[r] * norm(was);
      EXPECT_NEAR(norm(moved), length, 32 * 0x1p-24 * length) << name;
    }
  }
}

/// Powers of two leave no rounding: a tensor twice as long moves twice as far, bit for bit, and tensors
/// know nothing of each other.
TEST(TrustRatio, ScalesWithTheTensorAlone) {
  for (const Rule& rule : layerwise) {
    SCOPED_TRACE(text_of(rule));
    Rig rig(pair_layout(), {.rule = rule}), scaled(pair_layout(), {.rule = rule});
    for (float& p : scaled.param("b")) p *= 8;
    if (std::holds_alternative<LARS>(rule)) {
      for (float& g : scaled.gradient("b")) g *= 4;  // of no account in a first step
    }
    rig.step();
    scaled.step();
    EXPECT_TRUE(same_bits(rig.param("a"), scaled.param("a")));
    std::vector<float> expected(rig.param("b").begin(), rig.param("b").end());
    for (float& p : expected) p *= 8;
    EXPECT_TRUE(same_bits(expected, scaled.param("b")));
  }
}

/// Parameters or gradients that are all zero: the ratio is 1, and the tensor gets away from there.
TEST(TrustRatio, IsOneWhereANormIsZero) {
  for (const double decay : {0.0, 0.5}) {
    for (const Rule& rule :
         {Rule(LAMB{.lr = 0.25, .weight_decay = decay}),
          Rule(LARS{.lr = 0.25, .weight_decay = decay, .trust_coefficient = 0.1})}) {
      SCOPED_TRACE(text_of(rule));
      Twin twin(mixed_layout(1), {.rule = rule});
      for (const char* name : {"shared129", "shared4097"}) {
        std::ranges::fill(twin.param(name), 0.0f);
        auto& tensor = twin.tensors[static_cast<std::size_t>(twin.optimizer.layout().index(name))];
        std::ranges::fill(tensor.params, reference::Bounded(0));
      }
      twin.draw();
      std::ranges::fill(twin.gradient("shared128"), 0.0f);
      std::ranges::fill(twin.gradient("shared4097"), 0.0f);
      twin.step();
      twin.expect_close();
      EXPECT_NE(twin.param("shared129")[128], 0.0f);
      EXPECT_EQ(twin.param("shared4097")[4096], 0.0f);
      twin.draw_and_step(2);
      twin.expect_close();
    }
  }
}

/// Without a ratio LARS is SGD with momentum, to the last bit.
TEST(TrustRatio, LarsWithoutOneIsSgd) {
  for (const bool nesterov : {false, true}) {
    Rig lars(mixed_layout(1),
             {.rule = LARS{.lr = 0.1, .nesterov = nesterov, .always_adapt = false}});
    Rig sgd(mixed_layout(1), {.rule = SGD{.lr = 0.1, .momentum = 0.9, .nesterov = nesterov}});
    lars.draw_and_step(3);
    sgd.draw_and_step(3);
    for (const char* name : {"shared1", "shared4097", "shared7001", "first_head"}) {
      EXPECT_TRUE(same_bits(lars.param(name), sgd.param(name))) << name;
    }
    // Its group has weight decay, and so a ratio.
    EXPECT_FALSE(same_bits(lars.param("last_head"), sgd.param("last_head")));
  }
}

/// Weights, clip, loss scale and heads: the norm is of the gradient that is descended along.
TEST(TrustRatio, IsOfTheCombinedGradient) {
  const Rule rules[] = {LAMB{.lr = 0.01, .epsilon = 0.1, .weight_decay = 0.1},
                        LARS{.lr = 0.1, .weight_decay = 0.1, .trust_coefficient = 0.1}};
  for (const Rule& rule : rules) {
    for (const int tasks : {1, 2, 5, 9, 17}) {
      SCOPED_TRACE(text_of(rule) + ", " + std::to_string(tasks) + " tasks");
      Twin twin(mixed_layout(tasks, few_edge_sizes), {.rule = rule,
                                                      .aggregator = PCGrad{.seed = 3},
                                                      .tasks = tasks,
                                                      .clip_norm = 3.0,
                                                      .loss_scale = 8});
      twin.draw_and_step();
      twin.draw_and_step_without("shared129", "first_head");
      twin.draw_and_step(2);
      EXPECT_LT(twin.outcome.clip, 1) << "the clip did nothing";
      twin.expect_close();
    }
  }
}

/// The mean of two rows, element by element, is one row: the drawn values have no rounding.
TEST(TrustRatio, IsOfWhatIsCombinedElementByElement) {
  for (const Rule& rule : layerwise) {
    Rig both(mixed_layout(2), {.rule = rule, .aggregator = TrimmedMean{.trim = 0}, .tasks = 2});
    Rig one(mixed_layout(2), {.rule = rule, .aggregator = Mean{}, .tasks = 2});
    both.draw_and_step(3);
    one.draw_and_step(3);
    const Snapshot a = both.snapshot(), b = one.snapshot();
    EXPECT_TRUE(same_bits(a.params, b.params)) << text_of(rule);
    EXPECT_TRUE(same_bits(a.states[0], b.states[0])) << text_of(rule);
  }
}

TEST(TrustRatio, MisalignedMemoryGivesTheSameBits) {
  for (const Rule& rule : layerwise) {
    for (const int tasks : {1, 3}) {
      Rig aligned(mixed_layout(tasks), {.rule = rule, .tasks = tasks});
      aligned.draw_and_step(3);
      for (const int shift : {1, 2, 3}) {
        Rig shifted(mixed_layout(tasks), {.rule = rule, .tasks = tasks}, shift);
        shifted.draw_and_step(3);
        expect_same(aligned.snapshot(), shifted.snapshot());
        shifted.expect_padding_untouched();
      }
    }
  }
}

/// LAMB's moments are brought up to date before it is known how far the tensor moves.
TEST(TrustRatio, ALearningRateOfZeroMovesTheStateAlone) {
  for (const Rule& rule : layerwise) {
    Rig rig(mixed_layout(1), {.rule = rule});
    rig.draw_and_step(2);
    const Snapshot before = rig.snapshot();
    rig.optimizer.set_lr(0);
    rig.draw_and_step();
    const Snapshot after = rig.snapshot();
    EXPECT_TRUE(same_bits(before.params, after.params)) << text_of(rule);
    EXPECT_FALSE(same_bits(before.states[0], after.states[0])) << text_of(rule);
  }
}

TEST(TrustRatio, ASkippedStepMovesNothing) {
  for (const Rule& rule : layerwise) {
    Rig rig(mixed_layout(1), {.rule = rule, .non_finite = NonFinite::skip});
    rig.draw_and_step(2);
    const Snapshot before = rig.snapshot();
    rig.gradient("shared4097")[4096] = NAN;
    rig.step();
    EXPECT_TRUE(rig.optimizer.report().skipped);
    expect_same(before, rig.snapshot(), false);
  }
}

/// A NaN is no norm of zero, by which all else in its tensor would take a whole step: it comes through
/// everywhere in the tensor, and nowhere else.
TEST(TrustRatio, ANanIsAllOfItsTensors) {
  for (const Rule& rule : layerwise) {
    for (const bool in_params : {false, true}) {
      Rig rig(pair_layout(), {.rule = rule});
      (in_params ? rig.param("b") : rig.gradient("b"))[5'000] = NAN;
      rig.step();
      const auto is_nan = [](float p) { return std::isnan(p); };
      EXPECT_TRUE(std::ranges::all_of(rig.param("b"), is_nan)) << text_of(rule);
      EXPECT_TRUE(std::ranges::none_of(rig.param("a"), is_nan)) << text_of(rule);
    }
  }
}

/// In one fp32 sum, four million terms would be off by a thousandth and more.
TEST(TrustRatio, LongTensorsAreMeasuredAsShortOnesAre) {
  Layout layout;
  layout.add("a", {(1 << 22) + 5});
  Rig rig(layout, {.rule = LARS{.lr = 1, .momentum = 0, .trust_coefficient = 1, .epsilon = 0}});
  std::ranges::fill(rig.param("a"), 0.3f);
  std::ranges::fill(rig.gradient("a"), 0.7f);
  const double by = norm(rig.param("a")) / norm(rig.gradient("a"));
  rig.step();
  // From 0.3, by a step of 0.3: what is left is rounding, of the sums' squares 16 each.
  const double expected = static_cast<double>(0.3f) - by * static_cast<double>(0.7f);
  EXPECT_NEAR(static_cast<double>(rig.param("a")[0]), expected, 0.3 * (16 + 4) * 0x1p-24);
}

}  // namespace
}  // namespace gramstep::test
