// The update stage's bodies under the fiber runner against the CPU backend's loops: equal bits.
#include "tests/kernels/stage_rig.hpp"

namespace gramstep::test {
namespace {

/// Weights that no rounding spares; inactive segments; tenth step, which RAdam rectifies.
void decide(StageRig& rig) {
  rig.segments[3].active = rig.segments[5].active = 0;
  rig.step.steps = 9;
  for (auto& segment : rig.segments) segment.steps = 9;
  rig.setup.checks = false;  // of the partials, which nothing has written
  rig.run_plan_on_cpu();
  for (int k = 0; k < rig.setup.tasks; ++k) {
    rig.applied(k) = 1.0f / static_cast<float>(k + 3);
  }
  rig.step.plan.head_weight = 0.7f;
}

/// The update of any rule.
template <class... Rules>
void run_update(StageRig& rig, const simt::Launch& order, std::int64_t blocks,
                const std::variant<Rules...>*) {
  rig.run_update<Rules...>(order, blocks);
}
void run_update(StageRig& rig, const simt::Launch& order, std::int64_t blocks) {
  run_update(rig, order, blocks, static_cast<const Rule*>(nullptr));
}

class UpdateBodyTest : public ::testing::TestWithParam<RuleCase> {};

TEST_P(UpdateBodyTest, HasTheBitsOfTheCpu) {
  for (const int tasks : {1, 2, 3, 8, 17, 64}) {
    for (const int shift : {0, 1, 4}) {
      const OptimizerOptions options{.rule = GetParam().rule, .tasks = tasks};
      const std::int64_t chunk_elements = chunk_elements_at(shift);
      StageRig cpu(awkward_layout(tasks), options, shift, 1, chunk_elements);
      decide(cpu);
      cpu.run_update_on_cpu();
      cpu.expect_padding_untouched();
      // All orders once; the rest of the grid is about sizes.
      for (const simt::Launch& order : every_order) {
        if (tasks != 3 && order.order != simt::Order::reverse) continue;
        StageRig fibers(awkward_layout(tasks), options, shift, 1, chunk_elements);
        decide(fibers);
        run_update(fibers, order, 3);  // blocks stride over the chunks
        EXPECT_TRUE(same_bits(fibers.params.span(), cpu.params.span()))
            << tasks << " tasks, shift " << shift;
        for (std::size_t s = 0; s < cpu.states.size(); ++s) {
          EXPECT_TRUE(same_bits(fibers.states[s].span(), cpu.states[s].span())) << "state " << s;
        }
        EXPECT_TRUE(same_bits(fibers.measures, cpu.measures)) << "what a rule measures";
        EXPECT_TRUE(same_bits(fibers.matrix_sums, cpu.matrix_sums)) << "sums by row and column";
      }
    }
  }
}

TEST_P(UpdateBodyTest, LeavesASkippedStepAndInactiveSegmentsAlone) {
  const OptimizerOptions options{.rule = GetParam().rule, .tasks = 2};
  const StageRig before(awkward_layout(2), options);
  StageRig rig(awkward_layout(2), options);
  decide(rig);
  rig.step.plan.skip = 1;
  run_update(rig, {}, rig.chunks());
  EXPECT_TRUE(same_bits(rig.params.span(), before.params.span()));
  EXPECT_TRUE(same_bits(rig.kept_state(), before.kept_state()));
  rig.step.plan.skip = 0;
  run_update(rig, {}, rig.chunks());
  EXPECT_FALSE(same_bits(rig.params.span(), before.params.span()));
  EXPECT_TRUE(same_bits(rig.segment(rig.params, 5), before.segment(before.params, 5)));
  const auto after = rig.states_of(5), expected = before.states_of(5);
  for (std::size_t b = 0; b < after.size(); ++b) EXPECT_TRUE(same_bits(after[b], expected[b]));
}

INSTANTIATE_TEST_SUITE_P(Rules, UpdateBodyTest, ::testing::ValuesIn(rule_cases),
                         [](const auto& each) { return each.param.name; });
INSTANTIATE_TEST_SUITE_P(RulesWithProducts, UpdateBodyTest, ::testing::ValuesIn(product_rule_cases),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace gramstep::test
