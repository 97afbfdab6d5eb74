// Combining element by element, in the update pass: against the formulas, in double and by sorting.
#include <algorithm>
#include <cmath>

#include "tests/rig.hpp"

namespace gramstep::test {
namespace {

/// Descent with lr 1 from 0: what a parameter moves by is the combination.
std::vector<float> combined(const Aggregator& aggregator, int tasks, const char* segment,
                            std::vector<std::vector<float>>& gradients, int steps = 1,
                            int threads = 0) {
  Layout layout;
  layout.add("before", {4097});
  layout.add("a", {4'099});
  Rig rig(layout, {.rule = SGD{.lr = 1},
                   .aggregator = aggregator,
                   .tasks = tasks,
                   .loss_scale = 2,
                   .device = cpu(threads)});
  for (int step = 0; step < steps; ++step) {
    std::ranges::fill(rig.param("a"), 0.0f);
    rig.draw();
    rig.step();
  }
  gradients.clear();
  for (int k = 0; k < tasks; ++k) {
    const auto g = rig.gradient(segment, k);
    gradients.emplace_back(g.begin(), g.end());
    for (float& value : gradients.back()) value /= 2;  // the loss scale
  }
  std::vector<float> d(rig.param(segment).begin(), rig.param(segment).end());
  for (float& value : d) value = -value;
  EXPECT_TRUE(std::isnan(rig.optimizer.report().weights[0])) << "there are no weights";
  EXPECT_FALSE(rig.optimizer.report().skipped);
  rig.expect_padding_untouched();
  return d;
}

TEST(TrimmedMean, IsTheMeanOfTheMiddle) {
  for (const auto& [tasks, trim] :
       {std::pair(3, 1), std::pair(1, 0), std::pair(8, 2), std::pair(64, 31), std::pair(5, 0)}) {
    std::vector<std::vector<float>> g;
    const std::vector<float> d = combined(TrimmedMean{.trim = trim}, tasks, "a", g);
    for (std::size_t e = 0; e < d.size(); ++e) {
      std::vector<float> values;
      for (const auto& row : g) values.push_back(row[e]);
      std::ranges::sort(values);
      double sum = 0;
      for (int k = trim; k < tasks - trim; ++k) {
        sum += static_cast<double>(values[static_cast<std::size_t>(k)]);
      }
      // The drawn values sum exactly in fp32; the quotient rounds once, the scale by 1/2 does not.
      EXPECT_FLOAT_EQ(d[e], static_cast<float>(sum / (tasks - 2 * trim))) << e;
    }
  }
}

TEST(GradDrop, KeepsOneSignAndAsOftenAsItShould) {
  std::vector<std::vector<float>> g;
  const std::vector<float> d = combined(GradDrop{.seed = 3}, 3, "a", g);
  double expected = 0, variance = 0;
  int positives = 0;
  for (std::size_t e = 0; e < d.size(); ++e) {
    float up = 0, down = 0;
    for (const auto& row : g) (row[e] > 0 ? up : down) += row[e];
    // Values are multiples of 1/32: their sums are exact.
    EXPECT_TRUE(d[e] == up || d[e] == down) << d[e] << " of " << up << " and " << down;
    if (up == 0 || down == 0) continue;
    const double p = static_cast<double>(up) / static_cast<double>(up - down);
    expected += p;
    variance += p * (1 - p);
    positives += d[e] == up;
  }
  // Five standard deviations: a false alarm in two million seeds, and the seed is fixed.
  EXPECT_NEAR(positives, expected, 5 * std::sqrt(variance));
}

TEST(GradDrop, LeaksAsItIsTold) {
  std::vector<std::vector<float>> g;
  const std::vector<float> d = combined(GradDrop{.leak = {1, 1, 1}}, 3, "a", g);
  for (std::size_t e = 0; e < d.size(); ++e) EXPECT_EQ(d[e], g[0][e] + g[1][e] + g[2][e]);
}

TEST(GradDrop, DrawsAnewEveryStepAndTheSameForAnyThreads) {
  std::vector<std::vector<float>> first_rows, rows;
  const auto first = combined(GradDrop{.seed = 5}, 3, "a", first_rows, 1, 1);
  EXPECT_TRUE(same_bits(combined(GradDrop{.seed = 5}, 3, "a", rows, 1, 3), first));
  EXPECT_FALSE(same_bits(combined(GradDrop{.seed = 6}, 3, "a", rows, 1, 1), first));
  const float values[] = {1, -1};
  const float* rows_of_one[] = {values, values + 1};
  const auto draw = [&](std::int64_t step) {
    float d[1];
    GradDrop{.seed = 5}.combine(ElementsOf{rows_of_one, 0}, 2, step, 0, d);
    return d[0];
  };
  int changes = 0;
  for (std::int64_t step = 1; step < 100; ++step) changes += draw(step) != draw(step + 1);
  EXPECT_GT(changes, 20);
  EXPECT_LT(changes, 80);
}

/// What GradDrop of a row of 1 and one of -1 keeps, Width elements at a time: all have P = 1/2.
template <int Width>
std::vector<float> kept_by(std::int64_t first) {
  std::vector<float> up(256, 1.0f), down(256, -1.0f), kept;
  const float* both[] = {up.data(), down.data()};
  for (int at = 0; at < 256; at += Width) {
    float d[Width];
    GradDrop{.seed = 0xFEDCBA9876543210}.combine(ElementsOf{both, at}, 2, 7, first + at, d);
    kept.insert(kept.end(), d, d + Width);
  }
  return kept;
}

TEST(GradDrop, DrawsByTheIndexAlone) {
  // Across 2^34, where the counter's second word begins to count.
  for (const std::int64_t first :
       {0ll, 1ll, 2ll, 3ll, 1001ll, (1ll << 34) - 130, (1ll << 34) - 4}) {
    std::vector<float> expected;
    for (std::int64_t i = first; i < first + 256; ++i) {
      const auto four = static_cast<std::uint64_t>(i / 4);
      const PhiloxWords words = philox(
          0xFEDCBA9876543210,
          {{static_cast<std::uint32_t>(four), static_cast<std::uint32_t>(four >> 32), 7, 0}});
      expected.push_back(words.word[i % 4] >> 8 < 1u << 23 ? 1.0f : -1.0f);
    }
    EXPECT_EQ(kept_by<1>(first), expected) << first;
    EXPECT_EQ(kept_by<2>(first), expected) << first;
    EXPECT_EQ(kept_by<4>(first), expected) << first;
    EXPECT_EQ(kept_by<64>(first), expected) << first;
  }
}

TEST(Elementwise, ANaNSkipsTheStep) {
  Rig rig(mixed_layout(3), {.rule = SGD{}, .aggregator = TrimmedMean{}, .tasks = 3});
  rig.draw_and_step();
  const Snapshot before = rig.snapshot();
  rig.gradient("shared129", 2)[128] = NAN;
  rig.step();
  EXPECT_TRUE(rig.optimizer.report().skipped);
  expect_same(before, rig.snapshot(), false);
}

TEST(Elementwise, ANaNComesThroughWhereItIsToBePropagated) {
  for (const Aggregator& aggregator : {Aggregator(TrimmedMean{}), Aggregator(GradDrop{})}) {
    Rig rig(
        mixed_layout(3),
        {.rule = SGD{}, .aggregator = aggregator, .tasks = 3, .non_finite = NonFinite::propagate});
    rig.gradient("shared129", 2)[128] = NAN;
    rig.step();
    EXPECT_TRUE(std::isnan(rig.param("shared129")[128])) << text_of(aggregator);
    EXPECT_FALSE(std::isnan(rig.param("shared129")[127])) << text_of(aggregator);
  }
}

TEST(Elementwise, HasNeitherClipNorSmoothing) {
  for (const Aggregator& aggregator : {Aggregator(TrimmedMean{}), Aggregator(GradDrop{})}) {
    expect_error<InvalidArgument>(
        [&] {
          Optimizer(mixed_layout(3), {.aggregator = aggregator, .tasks = 3, .clip_norm = 1.0});
        },
        {"clip_norm", "element by element"});
    expect_error<InvalidArgument>(
        [&] {
          Optimizer(mixed_layout(3), {.aggregator = aggregator, .tasks = 3, .smoothing = 0.5});
        },
        {"smoothing", "element by element"});
  }
  expect_error<InvalidArgument>([] { GradDrop{.leak = {0.5, 2, 0}}.validate(3); }, {"leak"});
  expect_error<InvalidArgument>([] { GradDrop{.leak = {0.5}}.validate(3); }, {"leak"});
  expect_error<InvalidArgument>([] { TrimmedMean{.trim = -1}.validate(3); }, {"trim"});
}

}  // namespace
}  // namespace gramstep::test
