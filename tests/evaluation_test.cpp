// evaluation_params, and the scalars that rules keep for segments.
#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

Layout small_layout() {
  const std::int64_t sizes[] = {1, 129, 4097};
  return mixed_layout(1, sizes);
}

/// (x - y) has the error of y and z magnified by 1 / share - 1.
void expect_averaged(Twin& twin, std::span<float> out) {
  for (auto& tensor : twin.tensors) {
    const auto got = view(twin.optimizer.layout(), out.data(), tensor.name).span();
    if (tensor.state.t == 0) {
      EXPECT_TRUE(same_bits(got, twin.param(tensor.name))) << "no average yet: " << tensor.name;
      continue;
    }
    const auto expected = reference::averaged(tensor.rule, tensor.params, tensor.state);
    for (std::size_t i = 0; i < got.size(); ++i) {
      ASSERT_LE(std::fabs(static_cast<double>(got[i]) - expected[i].value), expected[i].error);
    }
  }
}

TEST(Evaluation, IsTheAverageOfTheScheduleFreeRules) {
  for (const int threads : {1, 3}) {
    for (const Rule& rule : {Rule(ScheduleFreeSGD{.lr = 0.05, .momentum = 0.8}),
                             Rule(ScheduleFreeAdamW{.lr = 0.01, .weight_decay = 0.1})}) {
      Twin twin(small_layout(), {.rule = rule, .device = cpu(threads)});
      twin.set_active("shared129", false);
      twin.draw_and_step(3);
      const std::vector<float> y(twin.params.span().begin(), twin.params.span().end());
      Floats out(twin.optimizer.layout().size());
      twin.optimizer.evaluation_params(twin.params.span(), out.span());
      expect_averaged(twin, out.span());
      EXPECT_TRUE(same_bits(y, twin.params.span())) << "params were written";
      EXPECT_FALSE(same_bits(out.span(), twin.params.span()));
      // In place, and padding as it was: poisoned.
      std::vector<float> apart(out.span().begin(), out.span().end());
      twin.optimizer.evaluation_params(twin.params.span(), twin.params.span());
      EXPECT_TRUE(same_bits(apart, twin.params.span()));
      twin.expect_padding_untouched();
    }
  }
}

TEST(Evaluation, IsACopyForAllOtherRules) {
  for (const Rule& rule : {Rule(SGD{}), Rule(AdamW{}), Rule(AdEMAMix{})}) {
    Rig rig(small_layout(), {.rule = rule});
    rig.draw_and_step(2);
    Floats out(rig.optimizer.layout().size());
    rig.optimizer.evaluation_params(rig.params.span(), out.span());
    EXPECT_TRUE(same_bits(out.span(), rig.params.span()));
    rig.optimizer.evaluation_params(rig.params.span(), rig.params.span());
    EXPECT_TRUE(same_bits(out.span(), rig.params.span()));
  }
}

TEST(Evaluation, RefusesMemoryThatDoesNotFit) {
  Rig rig(small_layout(), {.rule = ScheduleFreeSGD{}});
  const std::int64_t size = rig.optimizer.layout().size();
  Floats out(size), large(size + 128);
  const std::span<float> params = rig.params.span();
  const auto expect_refused = [&](std::span<const float> from, std::span<float> to,
                                  const std::vector<std::string>& words) {
    expect_error<InvalidArgument>([&] { rig.optimizer.evaluation_params(from, to); }, words);
  };
  const std::string call = "Optimizer::evaluation_params: ";
  expect_refused(params.first(params.size() - 1), out.span(), {call + "params", "layout.size()"});
  expect_refused(params, out.span().first(1), {call + "out", "got 1"});
  expect_refused(params, {static_cast<float*>(nullptr), params.size()}, {call + "out", "null"});
  std::ranges::fill(large.span(), 1.0f);
  expect_refused(large.span().first(params.size()), large.span().last(params.size()),
                 {call + "out", "overlaps"});
}

TEST(SegmentState, IsNamedByTheRule) {
  using Names = std::vector<std::string_view>;
  const auto names_of = [](const Rule& rule) {
    return Optimizer(small_layout(), {.rule = rule}).segment_state_names();
  };
  EXPECT_EQ(names_of(Adam{}), Names{});
  EXPECT_EQ(names_of(NAdam{}), Names{"mu_product"});
  EXPECT_EQ(names_of(ScheduleFreeSGD{}), (Names{"weight_sum", "lr_max"}));
  EXPECT_EQ(names_of(ScheduleFreeAdamW{}), (Names{"weight_sum", "lr_max"}));
}

TEST(SegmentState, IsWhatTheReferenceHas) {
  const OptimizerOptions nadam{.rule = NAdam{.lr = 0.01}},
      average{.rule = ScheduleFreeSGD{.lr = 0.1, .r = 1}};
  Twin product(small_layout(), nadam), sums(small_layout(), average);
  for (Twin* twin : {&product, &sums}) {
    twin->set_active("scalar", false);
    twin->draw_and_step(3);
    twin->set_active("scalar", true);
    twin->draw_and_step(2);
  }
  const auto of_products = product.optimizer.segment_state("mu_product");
  const auto of_sums = sums.optimizer.segment_state("weight_sum");
  const auto of_rates = sums.optimizer.segment_state("lr_max");
  for (std::size_t n = 0; n < of_products.size(); ++n) {
    EXPECT_DOUBLE_EQ(of_products[n], product.tensors[n].state.mu_product);
    EXPECT_DOUBLE_EQ(of_sums[n], sums.tensors[n].state.weight_sum);
    EXPECT_DOUBLE_EQ(of_rates[n], sums.tensors[n].state.lr_max);
  }
}

TEST(SegmentState, OfASkippedStepIsAsItWas) {
  for (const Rule& rule : {Rule(NAdam{}), Rule(ScheduleFreeSGD{}), Rule(ScheduleFreeAdamW{})}) {
    Rig rig(small_layout(), {.rule = rule, .non_finite = NonFinite::skip});
    rig.draw_and_step(2);
    const auto names = rig.optimizer.segment_state_names();
    std::vector<std::vector<double>> before;
    for (const auto name : names) before.push_back(rig.optimizer.segment_state(name));
    const Snapshot shot = rig.snapshot();
    rig.gradient("scalar")[0] = NAN;
    rig.step();
    EXPECT_TRUE(rig.optimizer.report().skipped);
    for (std::size_t i = 0; i < names.size(); ++i) {
      EXPECT_TRUE(same_bits(before[i], rig.optimizer.segment_state(names[i]))) << names[i];
    }
    expect_same(shot, rig.snapshot(), false);
  }
}

TEST(SegmentState, IsPutBack) {
  const Layout layout = small_layout();
  const auto values_from = [&](double first) {
    std::vector<double> values(static_cast<std::size_t>(layout.segments()));
    for (std::size_t s = 0; s < values.size(); ++s) values[s] = first / static_cast<double>(s + 2);
    return values;
  };
  Rig two(layout, {.rule = ScheduleFreeSGD{}});
  two.optimizer.set_segment_state("weight_sum", values_from(1));
  two.optimizer.set_segment_state("lr_max", values_from(3));
  EXPECT_TRUE(same_bits(values_from(1), two.optimizer.segment_state("weight_sum")));
  EXPECT_TRUE(same_bits(values_from(3), two.optimizer.segment_state("lr_max")));
  Rig rig(layout, {.rule = NAdam{}});
  std::vector<double> values = values_from(1);
  rig.optimizer.set_segment_state("mu_product", values);
  EXPECT_TRUE(same_bits(values, rig.optimizer.segment_state("mu_product")));
  expect_error<InvalidArgument>([&] { rig.optimizer.segment_state("lr_max"); },
                                {"segment_state", "\"lr_max\"", "mu_product"});
  expect_error<InvalidArgument>([&] { rig.optimizer.set_segment_state("mu", values); }, {"\"mu\""});
  values.pop_back();
  expect_error<InvalidArgument>([&] { rig.optimizer.set_segment_state("mu_product", values); },
                                {"set_segment_state: values", "layout.segments()"});
  Rig adam(layout, {.rule = Adam{}});
  expect_error<InvalidArgument>([&] { adam.optimizer.segment_state("mu_product"); }, {"none"});
}

/// Adam's and NAdam's state by element have the same names, and only one has a product.
TEST(SegmentState, OfAnotherRuleIsNotCopied) {
  Rig nadam(small_layout(), {.rule = NAdam{}}), adam(small_layout(), {.rule = Adam{}});
  adam.draw_and_step(2);
  nadam.draw_and_step();
  const Snapshot before = nadam.snapshot();
  expect_error<InvalidState>([&] { nadam.optimizer.copy_state(adam.optimizer); },
                             {"copy_state", "rule"});
  expect_same(before, nadam.snapshot());
}

TEST(SegmentState, IsCopied) {
  Rig rig(small_layout(), {.rule = NAdam{}}), other(small_layout(), {.rule = NAdam{}}, 0, 9);
  rig.draw_and_step(3);
  other.optimizer.copy_state(rig.optimizer);
  EXPECT_TRUE(same_bits(rig.optimizer.segment_state("mu_product"),
                        other.optimizer.segment_state("mu_product")));
}

}  // namespace
}  // namespace gramstep::test
