// What is kept beside 16-bit parameters, saved and restored; and what makes no sense.
#include "tests/narrow_rig.hpp"

namespace gramstep::test {
namespace {

constexpr DType bf16 = DType::bfloat16, fp16 = DType::float16;

/// Sizes that leave padding.
Layout layout_of() {
  Layout layout;
  layout.add("weight", {130});
  layout.add("matrix", {9, 70});
  layout.add("empty", {0});
  return layout;
}

const Precision kept_precisions[] = {
    {.params = bf16, .master = Master::float32},
    {.params = fp16, .gradients = bf16, .master = Master::float32, .states = bf16},
    {.params = bf16, .master = Master::remainder},
    {.params = bf16, .rounding = Rounding::kahan},
    {.params = fp16, .states = bf16, .rounding = Rounding::kahan},
    {.params = bf16, .states = bf16, .rounding = Rounding::stochastic, .seed = 3},
    {.states = bf16},
    {.params = bf16, .master = Master::float32, .states = DType::dynamic8}};

void expect_same(NarrowRig& a, NarrowRig& b) {
  const Layout& layout = a.optimizer.layout();
  const auto of = [&](const std::vector<float>& numbers, const Segment& segment) {
    const auto first = numbers.begin() + segment.offset;
    return std::vector<float>(first, first + segment.size);
  };
  for (int s = 0; s < layout.segments(); ++s) {
    const Segment segment = layout.segment(s);
    EXPECT_TRUE(same_bits(of(a.params.numbers(), segment), of(b.params.numbers(), segment)));
    for (const std::string_view name : a.optimizer.state_names()) {
      if (name.ends_with("_scale")) {
        EXPECT_TRUE(same_bits(a.state(name), b.state(name))) << name;
      } else {
        EXPECT_TRUE(same_bits(of(a.state(name), segment), of(b.state(name), segment))) << name;
      }
    }
  }
}

/// Takes the same steps on both, whose gradients are drawn alike from here on.
void step_both(NarrowRig& a, NarrowRig& b) {
  for (int step = 0; step < 3; ++step) {
    a.draw();
    for (std::size_t k = 0; k < a.rows.size(); ++k) b.rows[k].set(a.rows[k].numbers());
    a.step();
    b.step();
  }
}

TEST(PrecisionState, ARunGoesOnToTheSameBits) {
  for (const Precision& precision : kept_precisions) {
    const OptimizerOptions options{.rule = AdamW{.lr = 0.01}, .tasks = 2, .precision = precision};
    NarrowRig rig(layout_of(), options), other(layout_of(), options, 2),
        copied(layout_of(), options, 3);
    rig.draw_and_step(3);
    other.optimizer.import_run(rig.optimizer.export_run());
    copied.optimizer.copy_state(rig.optimizer);
    for (NarrowRig* each : {&other, &copied}) each->params.set(rig.params.numbers());
    expect_same(rig, other);
    expect_same(rig, copied);
    step_both(rig, other);
    expect_same(rig, other);
  }
}

TEST(PrecisionState, HasNamesAndTypes) {
  using Names = std::vector<std::string_view>;
  const auto names = [](const Precision& precision) {
    return Optimizer(layout_of(), {.rule = AdamW{}, .precision = precision}).state_names();
  };
  EXPECT_EQ(names({}), (Names{"exp_avg", "exp_avg_sq"}));
  EXPECT_EQ(names(kept_precisions[0]), (Names{"exp_avg", "exp_avg_sq", "master"}));
  EXPECT_EQ(names(kept_precisions[2]), (Names{"exp_avg", "exp_avg_sq", "remainder"}));
  EXPECT_EQ(names(kept_precisions[3]), (Names{"exp_avg", "exp_avg_sq", "compensation"}));

  EXPECT_EQ(names(kept_precisions[7]),
            (Names{"exp_avg", "exp_avg_sq", "master", "exp_avg_scale", "exp_avg_sq_scale"}));
  Optimizer in_blocks(layout_of(), {.rule = AdamW{}, .precision = kept_precisions[7]});
  EXPECT_EQ(in_blocks.stored_state("exp_avg").dtype, DType::dynamic8);
  EXPECT_EQ(in_blocks.state("exp_avg_scale", "matrix").size, 5) << "630 elements";
  EXPECT_EQ(in_blocks.state("exp_avg_scale").size(),
            static_cast<std::size_t>(in_blocks.layout().size() / 128));

  Optimizer optimizer(layout_of(), {.rule = AdamW{}, .precision = kept_precisions[4]});
  EXPECT_EQ(optimizer.stored_state("compensation").dtype, fp16);
  EXPECT_EQ(optimizer.stored_state("exp_avg", "matrix").dtype, bf16);
  EXPECT_EQ(optimizer.stored_state("exp_avg", "matrix").size, 630);
  EXPECT_EQ(optimizer.stored_state("exp_avg").size, optimizer.layout().size());
  expect_error<InvalidArgument>([&] { optimizer.state("exp_avg"); },
                                {"exp_avg", "bfloat16", "float32", "stored_state"});
  expect_error<InvalidArgument>([&] { optimizer.stored_state("master"); }, {"master", "exp_avg"});
  // A rule that treats matrices apart has no buffer for all of its state, but one beside the parameters.
  Optimizer muon(layout_of(), {.rule = Muon{}, .precision = kept_precisions[0]});
  EXPECT_EQ(muon.state("master").size(), static_cast<std::size_t>(muon.layout().size()));
  EXPECT_EQ(muon.state_names("weight").back(), "master");
}

TEST(PrecisionState, StaysWhereTheRuleIsSet) {
  NarrowRig rig(layout_of(), {.rule = AdamW{}, .precision = kept_precisions[0]});
  rig.draw_and_step();
  rig.optimizer.set_rule(Lion{.lr = 0.01});
  const std::vector<float> before = rig.state("master");
  rig.draw_and_step();
  EXPECT_EQ(rig.optimizer.state_names().back(), "master");
  EXPECT_FALSE(same_bits(rig.state("master"), before));
  NarrowRig other(layout_of(), {.rule = Lion{.lr = 0.01}, .precision = kept_precisions[0]}, 2);
  other.optimizer.copy_state(rig.optimizer);
  other.params.set(rig.params.numbers());
  expect_same(rig, other);
}

TEST(PrecisionState, EvaluationTakesTheMasterForScheduleFreeRules) {
  OptimizerOptions options{.rule = ScheduleFreeSGD{.lr = 0.1}};
  NarrowRig wide(layout_of(), options);
  options.precision = {.params = bf16, .gradients = bf16, .master = Master::float32};
  NarrowRig narrow(layout_of(), options);
  wide.params.set(narrow.params.numbers());
  NarrowMemory expected(DType::float32, wide.optimizer.layout().size());
  NarrowMemory got(bf16, wide.optimizer.layout().size());
  for (int step = 0; step < 2; ++step) {
    wide.optimizer.evaluation_params(wide.params.buffer(), expected.buffer());
    narrow.optimizer.evaluation_params(narrow.params.buffer(), got.buffer());
    for (int s = 0; s < 2; ++s) {
      const Segment segment = layout_of().segment(s);
      const std::vector<float> right = rounded_to(bf16, expected.numbers());
      for (std::int64_t i = segment.offset; i < segment.offset + segment.size; ++i) {
        ASSERT_EQ(got.numbers()[static_cast<std::size_t>(i)], right[static_cast<std::size_t>(i)]);
      }
    }
    narrow.draw();
    wide.rows[0].set(narrow.rows[0].numbers());
    wide.step();
    narrow.step();
  }
}

TEST(PrecisionState, AggregationTakesRowsOfSixteenBits) {
  const std::int64_t size = 5'001;
  Random random(4);
  std::vector<NarrowMemory> narrow, wide;
  std::vector<const void*> pointers;
  std::vector<const float*> floats;
  for (int k = 0; k < 3; ++k) {
    std::vector<float> numbers(static_cast<std::size_t>(size));
    for (float& each : numbers) each = static_cast<float>(random.uniform());
    narrow.emplace_back(bf16, size).set(numbers);
    wide.emplace_back(DType::float32, size).set(narrow.back().numbers());
  }
  for (int k = 0; k < 3; ++k) {
    pointers.push_back(narrow[static_cast<std::size_t>(k)].data());
    floats.push_back(static_cast<const float*>(wide[static_cast<std::size_t>(k)].data()));
  }
  Aggregation of_narrow({.tasks = 3, .size = size, .gradients = bf16});
  Aggregation of_wide({.tasks = 3, .size = size});
  const Rows rows{pointers.data(), 3, bf16};
  std::vector<double> gram(9), expected(9), weights{0.5, -1, 3};
  of_narrow.gram(rows, gram);
  of_wide.gram(floats, expected);
  EXPECT_TRUE(same_bits(gram, expected));
  std::vector<float> combined(5'001), right(5'001);
  of_narrow.combine(rows, weights, combined);
  of_wide.combine(floats, weights, right);
  EXPECT_TRUE(same_bits(combined, right));
  expect_error<InvalidArgument>([&] { of_wide.gram(rows, gram); }, {"rows", "bfloat16", "float32"});
}

TEST(BadPrecision, IsRefused) {
  struct Bad {
    Rule rule;
    Precision precision;
    std::vector<std::string> words;
  };
  const Bad all[] = {
      {AdamW{}, {.master = Master::float32}, {"precision.master", "float32"}},
      {AdamW{}, {.params = fp16, .master = Master::remainder}, {"master", "remainder", "bfloat16"}},
      {AdamW{}, {.params = DType::int16}, {"precision.params", "int16", "float16"}},
      {AdamW{}, {.gradients = DType::int16}, {"precision.gradients", "int16"}},
      {AdamW{}, {.states = fp16}, {"precision.states", "float16", "bfloat16"}},
      {SGD{}, {.states = bf16}, {"precision.states", "bfloat16", "moments"}},
      {SGD{}, {.states = DType::dynamic8}, {"precision.states", "dynamic8", "moments"}},
      {Muon{}, {.states = DType::dynamic8}, {"precision.states", "dynamic8", "moments"}},
      {AdamW{}, {.params = DType::dynamic8}, {"precision.params", "dynamic8"}},
      {ScheduleFreeSGD{}, {.states = bf16}, {"precision.states", "moments"}},
      {Muon{}, {.states = bf16}, {"precision.states", "moments"}},
      {Adafactor{}, {.states = bf16}, {"precision.states", "moments"}},
      {AdamW{},
       {.rounding = Rounding::kahan},
       {"precision.rounding", "kahan", "16-bit parameters"}},
      {AdamW{}, {.states = bf16, .rounding = Rounding::kahan}, {"precision.rounding", "kahan"}},
      {AdamW{},
       {.params = bf16, .master = Master::float32, .rounding = Rounding::kahan},
       {"precision.rounding", "without a master"}},
      {AdamW{}, {.gradients = bf16, .rounding = Rounding::stochastic}, {"rounding", "stochastic"}},
      {AdamW{},
       {.params = bf16, .master = Master::remainder, .rounding = Rounding::stochastic},
       {"rounding", "stochastic"}},
  };
  for (const Bad& bad : all) {
    expect_error<InvalidArgument>(
        [&] { Optimizer(layout_of(), {.rule = bad.rule, .precision = bad.precision}); }, bad.words);
  }
}

TEST(BadPrecision, MemoryOfAnotherTypeIsRefusedAndNothingChanges) {
  NarrowRig rig(layout_of(), {.rule = AdamW{}, .precision = {.params = bf16, .gradients = fp16}});
  const std::vector<float> before = rig.params.numbers();
  std::vector<float> floats(static_cast<std::size_t>(rig.optimizer.layout().size()));
  std::vector<float16> halves(floats.size());
  expect_error<InvalidArgument>([&] { rig.optimizer.step(floats, halves); },
                                {"params", "float32", "bfloat16"});
  expect_error<InvalidArgument>([&] { rig.optimizer.step(rig.params.buffer(), floats); },
                                {"gradient", "float32", "float16"});
  auto* odd = reinterpret_cast<char*>(floats.data()) + 1;
  expect_error<InvalidArgument>(
      [&] { rig.optimizer.step({odd, std::ssize(floats), bf16}, halves); },
      {"params", "multiple of 2 bytes"});
  expect_error<InvalidArgument>(
      [&] { rig.optimizer.evaluation_params(rig.params.buffer(), floats); },
      {"out", "float32", "bfloat16"});
  EXPECT_TRUE(same_bits(rig.params.numbers(), before));
  EXPECT_EQ(rig.optimizer.segment_steps()[0], 0);
}

TEST(BadPrecision, StateOfOtherTypesIsNotCopied) {
  NarrowRig plain(layout_of(), {.rule = AdamW{}});
  NarrowRig states(layout_of(), {.rule = AdamW{}, .precision = {.states = bf16}});
  NarrowRig master(layout_of(), {.rule = AdamW{}, .precision = kept_precisions[0]});
  expect_error<InvalidState>([&] { plain.optimizer.copy_state(states.optimizer); },
                             {"bfloat16", "float32"});
  expect_error<InvalidState>([&] { master.optimizer.copy_state(plain.optimizer); },
                             {"float32 parameters", "bfloat16 parameters"});
  expect_error<InvalidArgument>([&] { master.optimizer.import_run(plain.optimizer.export_run()); },
                                {"no master"});
  expect_error<InvalidArgument>([&] { plain.optimizer.import_run(master.optimizer.export_run()); },
                                {"master"});
}

}  // namespace
}  // namespace gramstep::test
