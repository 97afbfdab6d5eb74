// Whole steps through the public class, against the reference.
#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

/// The aggregators in their variants.
std::vector<Aggregator> aggregators(int tasks) {
  std::vector<double> weights;
  for (int k = 0; k < tasks; ++k) weights.push_back(0.5 - 0.25 * k / tasks * (k % 2 == 0 ? 1 : -1));
  return {Sum{}, Mean{}, Constant{TaskValues{std::span<const double>(weights)}}, PCGrad{.seed = 3},
          PCGrad{.reduction = Reduction::mean, .order = PCGradOrder::fixed}};
}

class ManyTasks : public ::testing::TestWithParam<int> {};

/// Where rows cancel all but their roundings, Adam would blow those up to a whole lr, here and in
/// the reference: an epsilon that outweighs them keeps the comparison meaningful.
constexpr AdamW conditioned{.lr = 0.01, .epsilon = 0.1, .weight_decay = 0.1};

/// Heads, groups, a clip, a loss scale that changes, segments without gradient for a while
/// (poisoned: nobody is to look).
TEST_P(ManyTasks, AgreeWithTheReference) {
  const int tasks = GetParam();
  double share = 0;
  for (const Aggregator& aggregator : aggregators(tasks)) {
    SCOPED_TRACE("aggregator " + std::to_string(aggregator.index()));
    Twin twin(mixed_layout(tasks, few_edge_sizes), {.rule = conditioned,
                                                    .aggregator = aggregator,
                                                    .tasks = tasks,
                                                    .clip_norm = 3.0,
                                                    .loss_scale = 8});
    twin.draw_and_step();
    twin.draw_and_step_without("shared129", "first_head");
    twin.set_loss_scale(0.25);
    twin.draw_and_step(2);
    EXPECT_LT(twin.outcome.clip, 1) << "the clip did nothing";
    share = std::max(share, twin.expect_close());
  }
  record_share(share);
}

INSTANTIATE_TEST_SUITE_P(Step, ManyTasks, ::testing::Values(1, 2, 3, 8, 17, 64));

TEST(Step, EveryCountOfTasksCombinesAllItsRows) {
  Layout layout;
  layout.add("a", {513});
  for (int tasks = 1; tasks <= max_tasks; ++tasks) {
    SCOPED_TRACE(tasks);
    Twin twin(layout, {.rule = SGD{.lr = 0.5}, .tasks = tasks});
    twin.draw_and_step(2);
    twin.expect_close();
  }
}

TEST(Step, ALargeClipDoesNothing) {
  const OptimizerOptions options{.rule = SGD{.lr = 0.1}, .tasks = 2};
  OptimizerOptions clipped = options;
  clipped.clip_norm = 1e6;
  Rig plain(mixed_layout(2), options), rig(mixed_layout(2), clipped);
  plain.draw_and_step(3);
  rig.draw_and_step(3);
  expect_same(plain.snapshot(), rig.snapshot());
}

TEST(Step, MisalignedMemoryGivesTheSameBits) {
  for (const int tasks : {1, 2, 8, 17}) {
    const OptimizerOptions options{.rule = AdamW{}, .aggregator = PCGrad{}, .tasks = tasks};
    Rig aligned(mixed_layout(tasks, few_edge_sizes), options);
    aligned.draw_and_step(3);
    const Snapshot expected = aligned.snapshot();
    for (const int shift : {1, 2, 3}) {
      SCOPED_TRACE(std::to_string(tasks) + " tasks, shifted by " + std::to_string(shift));
      Rig shifted(mixed_layout(tasks, few_edge_sizes), options, shift);
      shifted.draw_and_step(3);
      expect_same(expected, shifted.snapshot());
      shifted.expect_padding_untouched();
    }
  }
}

TEST(Step, RowsMayBeTheSameMemory) {
  Rig rig(mixed_layout(3), {.rule = SGD{.lr = 0.25}, .tasks = 3});
  Rig one(mixed_layout(3),
          {.rule = SGD{.lr = 0.25}, .aggregator = Constant{{3, 0, 0}}, .tasks = 3});
  const float* row = rig.rows[0].data();
  const std::vector<const float*> thrice{row, row, row};
  rig.optimizer.step(rig.params.span(),
                     {thrice, rig.optimizer.layout().shared_size(), rig.heads.span()});
  one.step();
  // 1 + 1 + 1 and 3 times a multiple of 1/16 are the same number.
  EXPECT_TRUE(same_bits(rig.snapshot().params, one.snapshot().params));
}

TEST(Step, OneGradientOverTheWholeBufferIsOneRowAndTheHeads) {
  const Layout layout = mixed_layout(1);
  const OptimizerOptions options{.rule = AdamW{}};
  Rig parts(layout, options), whole(layout, options);
  Floats gradient(layout.size());
  for (int i = 0; i < 3; ++i) {
    parts.draw_and_step();
    std::copy_n(parts.rows[0].data(), layout.shared_size(), gradient.data());
    std::copy_n(parts.heads.data(), layout.heads_size(), gradient.data() + layout.shared_size());
    whole.optimizer.step(whole.params.span(), gradient.span());
  }
  expect_same(parts.snapshot(), whole.snapshot());
}

TEST(Step, LayoutsWithoutASharedPartWithoutHeadsOrWithoutElements) {
  Layout heads_only, shared_only, no_elements;
  heads_only.add("head", {130}, {.task = 1});
  shared_only.add("a", {130});
  no_elements.add("none", {0});
  for (const Layout& layout : {heads_only, shared_only, no_elements, Layout{}}) {
    for (const int tasks : {2, 3}) {
      Twin twin(layout,
                {.rule = conditioned, .aggregator = PCGrad{}, .tasks = tasks, .clip_norm = 1.0});
      twin.draw_and_step(3);
      twin.expect_close();
      EXPECT_EQ(twin.optimizer.report().steps, 3);
    }
  }
}

TEST(Step, LrIsFollowedFromTheNextStepOn) {
  Twin twin(mixed_layout(1), {.rule = SGD{.lr = 0.5, .momentum = 0.5}});
  twin.draw_and_step();
  twin.set_lr(0);
  const std::vector<float> before(twin.params.span().begin(), twin.params.span().end());
  twin.draw_and_step();
  EXPECT_TRUE(same_bits(before, twin.params.span())) << "lr = 0 moved a parameter";
  twin.set_lr(0.125);
  twin.draw_and_step();
  twin.expect_close();
  EXPECT_EQ(twin.optimizer.report().lr, 0.125);
  EXPECT_EQ(std::get<SGD>(twin.optimizer.options().rule).lr, 0.125);
}

TEST(Step, LossScaleIsDividedOut) {
  const OptimizerOptions options{.rule = SGD{.lr = 0.5}, .tasks = 2};
  Rig plain(mixed_layout(2), options), scaled(mixed_layout(2), options);
  scaled.optimizer.set_loss_scale(1024);
  EXPECT_EQ(scaled.optimizer.options().loss_scale, 1024);
  for (const Floats& row : scaled.rows) {
    for (float& g : row.span()) g *= 1024;
  }
  for (float& g : scaled.heads.span()) g *= 1024;
  plain.step();
  scaled.step();
  EXPECT_TRUE(same_bits(plain.param("shared4097"), scaled.param("shared4097")));
  EXPECT_TRUE(same_bits(plain.param("last_head"), scaled.param("last_head")));
  EXPECT_EQ(plain.optimizer.report().gram, scaled.optimizer.report().gram);
}

}  // namespace
}  // namespace gramstep::test
