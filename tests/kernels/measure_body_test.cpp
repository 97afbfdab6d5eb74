// The passes before the update of a rule that needs norms, under the fiber runner: what they measure of
// every chunk, and what they settle for every segment.
#include "tests/kernels/stage_rig.hpp"

namespace gramstep::test {
namespace {

/// Its ratio is |p| / (|g| + decay |p|).
constexpr LARS plain{.lr = 1, .trust_coefficient = 1, .epsilon = 0};

/// Squares are rounded, and at most 16 of them added up in fp32: 16 roundings of what is never negative.
constexpr double fp32_sum = 16 * 0x1p-24;
/// Half of either sum's, and the ratio's own.
constexpr double ratio_bound = fp32_sum + 0x1p-24;

double squared(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

/// A rig that knows what the segments' scalars are before anything is measured.
StageRig planned(const Layout& layout, int shift = 0) {
  StageRig rig(layout, {.rule = plain}, shift);
  rig.run_plan_on_cpu();
  return rig;
}

std::span<float> gradient(const StageRig& rig, int s) {
  return rig.is_head(s) ? rig.segment(rig.heads, s, rig.layout.shared_size())
                        : rig.segment(rig.rows[0], s);
}

float ratio_of(const StageRig& rig, int s) {
  return rig.segments[static_cast<std::size_t>(s)].get<LARSScalars>().ratio;
}

/// What it should be; `before`: a rig whose parameters have not moved.
double expected_ratio(const StageRig& before, int s) {
  const double p = std::sqrt(squared(before.segment(before.params, s)));
  const double g = std::sqrt(squared(gradient(before, s)));
  const auto& segment = before.segments[static_cast<std::size_t>(s)];
  return p / (g + static_cast<double>(segment.get<LARSScalars>().l2) * p);
}

TEST(MeasureBody, AddsUpTheSquaresOfEveryChunk) {
  for (const int shift : {0, 1}) {
    const StageRig before = planned(awkward_layout(1), shift);
    for (const simt::Launch& order : every_order) {
      StageRig rig = planned(awkward_layout(1), shift);
      rig.segments[4].active = 0;
      rig.run_update<LARS>(order, 3);
      std::size_t c = 0;
      for (const kernels::Chunk& chunk : rig.setup.work.chunks) {
        const double* measured = &rig.measures[rules::max_measures * c++];
        if (chunk.segment == 4) {
          EXPECT_TRUE(std::isnan(measured[0])) << "an inactive segment was measured";
          continue;
        }
        const auto first = chunk.begin - rig.layout.segment(chunk.segment).offset;
        const auto of = [&](std::span<float> segment) {
          return squared(segment.subspan(static_cast<std::size_t>(first),
                                         static_cast<std::size_t>(chunk.count)));
        };
        const double p = of(before.segment(before.params, chunk.segment));
        const double g = of(gradient(rig, chunk.segment));
        EXPECT_NEAR(measured[0], p, fp32_sum * p) << "chunk " << c;
        EXPECT_NEAR(measured[1], g, fp32_sum * g) << "chunk " << c;
      }
    }
  }
}

TEST(SettleBody, GivesEverySegmentItsOwnRatio) {
  const StageRig before = planned(awkward_layout(1));
  for (const simt::Launch& order : every_order) {
    StageRig rig = planned(awkward_layout(1));
    rig.segments[4].active = 0;
    rig.run_update<LARS>(order, 3);
    EXPECT_EQ(ratio_of(rig, 0), 1.0f) << "a segment without elements";
    EXPECT_EQ(ratio_of(rig, 4), 1.0f) << "an inactive segment was settled";
    for (int s = 1; s < rig.layout.segments(); ++s) {
      const double expected = expected_ratio(before, s);
      if (s == 4) continue;
      EXPECT_NEAR(static_cast<double>(ratio_of(rig, s)), expected, ratio_bound * expected) << s;
    }
  }
}

/// More chunks than lanes.
TEST(SettleBody, AddsUpALongSegmentAsTheCpuDoes) {
  Layout layout;
  layout.add("long", {(2 * kernels::measure_lanes + 7) * kernels::chunk_elements + 5});
  StageRig cpu = planned(layout), fibers = planned(layout);
  const double expected = expected_ratio(cpu, 0);
  cpu.run_update_on_cpu();
  fibers.run_update<LARS>({.order = simt::Order::random}, 5);
  EXPECT_EQ(fibers.measures, cpu.measures);
  EXPECT_EQ(ratio_of(fibers, 0), ratio_of(cpu, 0));
  EXPECT_NEAR(static_cast<double>(ratio_of(cpu, 0)), expected, ratio_bound * expected);
}

}  // namespace
}  // namespace gramstep::test
