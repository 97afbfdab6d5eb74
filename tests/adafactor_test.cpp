// Adafactor, which keeps second moments of matrices by row and by column.
#include <algorithm>
#include <cmath>

#include "tests/matrices.hpp"
#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

TEST(Adafactor, IsTheReferenceOverTilesAndStacks) {
  for (const int tasks : {1, 3}) {
    Twin twin(
        matrix_layout(),
        {.rule = Adafactor{.lr = 0.125, .epsilon1 = 0.01, .weight_decay = 0.1}, .tasks = tasks});
    twin.draw_and_step(2);
    twin.draw_and_step_without("large", "head");
    twin.draw_and_step();
    twin.expect_close();
  }
}

/// |g_ij| = a_i b_j is a gradient whose squares are of rank one: nothing is lost by keeping their rows and
/// columns, and the first step is the learning rate times the RMS of the parameters, for every element.
TEST(Adafactor, SquaresOfRankOneAreKeptExactly) {
  Layout layout;
  layout.add("a", {65, 516});
  Rig rig(layout, {.rule = Adafactor{.lr = 0.25}});
  double squares = 0;
  for (const float p : rig.param("a")) squares += static_cast<double>(p) * static_cast<double>(p);
  const std::vector<float> before = copy_of(rig.param("a"));
  for (std::size_t i = 0; i < 65; ++i) {
    for (std::size_t j = 0; j < 516; ++j) {
      const float sign = (i * j) % 3 == 0 ? -1.0f : 1.0f;
      rig.gradient("a")[i * 516 + j] =
          sign * static_cast<float>(i % 7 + 1) * std::ldexp(1.0f, static_cast<int>(j % 9));
    }
  }
  rig.step();
  const double step = 0.25 * std::sqrt(squares / (65 * 516));
  for (std::size_t e = 0; e < before.size(); ++e) {
    const double moved = static_cast<double>(before[e]) - static_cast<double>(rig.param("a")[e]);
    const double expected = rig.gradient("a")[e] < 0 ? -step : step;
    // Of the means 16 roundings each, of the norms as many halves; and the parameter's own.
    ASSERT_NEAR(moved, expected, 40 * 0x1p-24 * step + 0x1p-24) << e;
  }
}

/// At step t the mean squares move by t^beta2_decay, and no relative step is longer than 1 / sqrt(t).
TEST(Adafactor, DecaysAndStepsByTheCount) {
  Layout layout;
  layout.add("a", {2, 2});
  Rig rig(layout, {.rule = Adafactor{.lr = 1, .beta2_decay = -0.5, .epsilon2 = 0, .d = 4}});
  rig.optimizer.set_steps(3, std::vector<std::int64_t>{3});
  std::ranges::fill(rig.param("a"), 2.0f);
  std::ranges::fill(rig.gradient("a"), 2.0f);
  rig.step();
  EXPECT_EQ(rig.optimizer.state("row_var", "a").data[0], 2.0f) << "half of the way to 4";
  EXPECT_EQ(rig.optimizer.state("col_var", "a").data[1], 2.0f);
  // p - 1/2 RMS(p) g / sqrt(2)
  EXPECT_NEAR(static_cast<double>(rig.param("a")[0]), 2 - std::sqrt(2.0), 8 * 0x1p-24);
}

/// The update's RMS is cut to d, the parameters' taken to be epsilon2 at least.
TEST(Adafactor, ClipsItsUpdateAndLeavesZero) {
  Layout layout;
  layout.add("a", {130});
  for (const double d : {1.0, 0.125}) {
    Rig rig(layout, {.rule = Adafactor{.lr = 0.5, .epsilon2 = 0.25, .d = d}});
    std::ranges::fill(rig.param("a"), 0.0f);
    std::ranges::fill(rig.gradient("a"), -3.0f);
    rig.step();
    for (const float p : rig.param("a")) ASSERT_FLOAT_EQ(p, static_cast<float>(0.125 * d));
  }
}

/// fp32 would lose a millionth of a sum of four million squares, and in the end all that is added.
TEST(Adafactor, LongRowsAndColumnsAreAddedUpAsShortOnesAre) {
  Layout layout;
  layout.add("row", {2, (1 << 21) + 5});
  layout.add("column", {(1 << 20) + 5, 3});
  Rig rig(layout, {.rule = Adafactor{}});
  std::ranges::fill(rig.rows[0].span(), 0.3f);
  rig.step();
  const double square = static_cast<double>(0.3f) * static_cast<double>(0.3f);
  for (const char* name : {"row", "column"}) {
    for (const char* state : {"row_var", "col_var"}) {
      const float kept = rig.optimizer.state(state, name).data[0];
      EXPECT_NEAR(static_cast<double>(kept), square, 18 * 0x1p-24 * square) << name << state;
    }
  }
}

}  // namespace
}  // namespace gramstep::test
