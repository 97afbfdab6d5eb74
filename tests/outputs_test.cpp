// What a step writes beside parameters and state: a copy, a delta, an average, zeros; and micro-batches.
#include "tests/narrow_rig.hpp"

namespace gramstep::test {
namespace {

constexpr DType bf16 = DType::bfloat16, fp16 = DType::float16, fp32 = DType::float32;

Layout layout_of() {
  Layout layout;
  layout.add("weight", {64, 70});
  layout.add("bias", {256});
  return layout;
}

const Rule some_rules[] = {SGD{.lr = 0.1, .momentum = 0.9}, AdamW{.lr = 0.01}, LAMB{.lr = 0.01},
                           Muon{.lr = 0.1}, Adafactor{.lr = 0.1}};

/// Two rigs that see the same gradients, one of which writes more.
struct Pair {
  NarrowRig plain, other;

  Pair(const Rule& rule, OptimizerOptions options)
      : plain(layout_of(), {.rule = rule, .tasks = 2, .precision = options.precision}),
        other(layout_of(), with(rule, options)) {}

  static OptimizerOptions with(const Rule& rule, OptimizerOptions options) {
    options.rule = rule;
    options.tasks = 2;
    return options;
  }
  void draw() {
    plain.draw();
    for (std::size_t k = 0; k < 2; ++k) other.rows[k].set(plain.rows[k].numbers());
  }
  void step_other(const Outputs& outputs) {
    const void* const rows[] = {other.rows[0].data(), other.rows[1].data()};
    const Layout& layout = other.optimizer.layout();
    const DType dtype = other.optimizer.options().precision.gradients;
    other.optimizer.step(other.params.buffer(),
                         {.rows = {rows, 2, dtype}, .row_size = layout.shared_size()}, outputs);
  }
};

TEST(Outputs, ACopyIsTheParametersAfterTheStep) {
  for (const Rule& rule : some_rules) {
    for (const DType dtype : {fp32, bf16, fp16}) {
      Pair pair(rule, {});
      NarrowMemory copy(dtype, pair.plain.optimizer.layout().size());
      for (int step = 0; step < 2; ++step) {
        pair.draw();
        pair.plain.step();
        pair.step_other({.copy = copy.buffer()});
        EXPECT_TRUE(same_bits(pair.other.params.numbers(), pair.plain.params.numbers()));
        EXPECT_TRUE(same_bits(copy.numbers(), rounded_to(dtype, pair.plain.params.numbers())))
            << text_of(rule);
      }
    }
  }
}

/// Memory of no elements is none, wherever it points.
TEST(Outputs, NothingIsWrittenWhereThereAreNoElements) {
  Pair pair(AdamW{}, {});
  std::vector<float> untouched(static_cast<std::size_t>(pair.plain.optimizer.layout().size()), 7);
  pair.draw();
  pair.plain.step();
  pair.step_other({.copy = {untouched.data(), 0, fp32}, .delta = {untouched.data(), 0, fp32}});
  EXPECT_TRUE(same_bits(pair.other.params.numbers(), pair.plain.params.numbers()));
  EXPECT_EQ(std::ranges::count(untouched, 7.0f), std::ssize(untouched));
}

TEST(Outputs, ADeltaIsWhatTheStepWouldAdd) {
  for (const Rule& rule : some_rules) {
    for (const DType dtype : {fp32, bf16}) {
      Pair pair(rule, {.precision = {.params = dtype}});
      NarrowMemory delta(fp32, pair.plain.optimizer.layout().size());
      const std::vector<float> before = pair.other.params.numbers();
      pair.draw();
      NarrowRig wide(layout_of(), {.rule = rule, .tasks = 2});
      wide.params.set(before);
      for (std::size_t k = 0; k < 2; ++k) wide.rows[k].set(pair.other.rows[k].numbers());
      wide.step();
      pair.step_other({.delta = delta.buffer()});
      EXPECT_TRUE(same_bits(pair.other.params.numbers(), before)) << "parameters stay";
      const std::vector<float> after = wide.params.numbers(), got = delta.numbers();
      for (std::size_t i = 0; i < before.size(); ++i) {
        ASSERT_EQ(got[i], after[i] - before[i]) << text_of(rule) << " at " << i;
      }
      if (dtype != fp32) continue;
      pair.plain.step();
      for (const std::string_view name : pair.plain.optimizer.state_names()) {
        if (std::holds_alternative<Muon>(rule) || std::holds_alternative<Adafactor>(rule)) break;
        EXPECT_TRUE(same_bits(pair.other.state(name), pair.plain.state(name))) << "state moves on";
      }
    }
  }
}

TEST(Outputs, AnAverageFollowsTheParameters) {
  for (const Rule& rule : some_rules) {
    Pair pair(rule, {.ema_decay = 0.75});
    std::vector<float> expected;
    for (int step = 0; step < 3; ++step) {
      pair.draw();
      pair.plain.step();
      pair.step_other({});
      const std::vector<float> params = pair.plain.params.numbers();
      if (step == 0) expected = params;
      for (std::size_t i = 0; i < params.size(); ++i) {
        expected[i] = expected[i] + 0.25f * (params[i] - expected[i]);
      }
      EXPECT_TRUE(same_bits(pair.other.params.numbers(), params)) << text_of(rule);
      EXPECT_TRUE(same_bits(pair.other.state("ema"), expected)) << text_of(rule);
    }
    NarrowMemory out(fp32, pair.other.optimizer.layout().size());
    pair.other.optimizer.evaluation_params(pair.other.params.buffer(), out.buffer());
    EXPECT_TRUE(same_bits(out.numbers(), expected)) << "what is evaluated";
    NarrowRig restored(layout_of(), Pair::with(rule, {.ema_decay = 0.75}));
    restored.optimizer.import_run(pair.other.optimizer.export_run());
    EXPECT_TRUE(same_bits(restored.state("ema"), expected)) << "and what is saved";
  }
}

TEST(Outputs, AnAverageIsOfTheMaster) {
  NarrowRig rig(layout_of(), {.rule = SGD{.lr = 0x1p-12},
                              .precision = {.params = bf16, .master = Master::float32},
                              .ema_decay = 0.0});
  rig.draw_and_step(2);
  EXPECT_TRUE(same_bits(rig.state("ema"), rig.state("master")));
  EXPECT_FALSE(same_bits(rig.state("ema"), rig.params.numbers()));
}

TEST(Outputs, GradientsAreLeftAtZero) {
  Layout layout = layout_of();
  layout.add("head", {5}, {.task = 1});
  for (const DType dtype : {fp32, bf16}) {
    for (const Aggregator& aggregator :
         {Aggregator(PCGrad{}), Aggregator(MoCo{}), Aggregator(GradDrop{})}) {
      Optimizer optimizer(layout, {.rule = AdamW{},
                                   .aggregator = aggregator,
                                   .tasks = 2,
                                   .precision = {.gradients = dtype},
                                   .zero_gradients = true});
      std::vector<float> params(static_cast<std::size_t>(layout.size()), 0.5f);
      NarrowMemory rows[] = {{dtype, layout.shared_size()}, {dtype, layout.shared_size()}};
      NarrowMemory heads(dtype, layout.heads_size());
      const void* const pointers[] = {rows[0].data(), rows[1].data()};
      const auto step = [&](float gradient) {
        for (NarrowMemory* each : {&rows[0], &rows[1], &heads}) {
          each->set(std::vector<float>(each->numbers().size(), gradient));
        }
        optimizer.step(params, {.rows = {pointers, 2, dtype},
                                .row_size = layout.shared_size(),
                                .heads = heads.buffer()});
        for (int s = 0; s < layout.segments(); ++s) {
          const Segment segment = layout.segment(s);
          const bool head = segment.task >= 0;
          const std::vector<float> left = (head ? heads : rows[1]).numbers();
          const std::int64_t first = segment.offset - (head ? layout.shared_size() : 0);
          for (std::int64_t i = first; i < first + segment.size; ++i) {
            ASSERT_EQ(left[static_cast<std::size_t>(i)], 0) << segment.name << " at " << i;
          }
        }
        EXPECT_NE(heads.numbers()[5], 0) << "padding";
      };
      step(0.25f);
      EXPECT_NE(params[3], 0.5f);
      const float before = params[3];
      optimizer.set_active("bias", false);
      step(0.25f);
      if (std::holds_alternative<GradDrop>(aggregator))
        continue;  // it has no look at all gradients
      optimizer.set_active("bias", true);
      const std::vector<float> kept = params;
      step(std::nanf(""));
      EXPECT_TRUE(same_bits(params, kept)) << "a step that is skipped";
      EXPECT_EQ(optimizer.report().skipped_steps, 1);
      EXPECT_NE(before, kept[3]);
    }
  }
}

TEST(Outputs, MicroBatchesAddUp) {
  for (const DType dtype : {fp32, bf16, fp16}) {
    NarrowRig rig(layout_of(), {.rule = SGD{}, .device = cpu(2)});
    for (const std::int64_t size : {0, 1, 255, 70'001}) {
      NarrowMemory micro(dtype, size);
      std::vector<float> sum(static_cast<std::size_t>(size), 1.0f), expected = sum;
      Random random(3);
      for (int batch = 0; batch < 3; ++batch) {
        std::vector<float> drawn(sum.size());
        for (float& each : drawn) each = static_cast<float>(random.uniform());
        micro.set(drawn);
        rig.optimizer.accumulate(sum, micro.buffer(), 0.25);
        const std::vector<float> numbers = micro.numbers();
        for (std::size_t i = 0; i < sum.size(); ++i) expected[i] += 0.25f * numbers[i];
      }
      EXPECT_TRUE(same_bits(sum, expected)) << name_of(dtype) << " " << size;
    }
  }
}

TEST(BadOutputs, AreRefusedAndNothingChanges) {
  Pair pair(AdamW{}, {});
  Pair with_master(AdamW{}, {.precision = {.params = bf16, .master = Master::float32}});
  const std::int64_t size = pair.other.optimizer.layout().size();
  NarrowMemory room(fp32, size);
  const auto before = pair.other.params.numbers();
  const Buffer buffer = room.buffer();
  const Buffer params = pair.other.params.buffer();
  const Buffer state = pair.other.optimizer.stored_state("exp_avg");
  const auto refused = [&](const Outputs& outputs, const std::vector<std::string>& words) {
    expect_error<InvalidArgument>([&] { pair.step_other(outputs); }, words);
  };
  refused({.copy = {buffer.data, size - 1, fp32}}, {"outputs.copy", std::to_string(size)});
  refused({.delta = {buffer.data, size, DType::int16}}, {"outputs.delta", "int16"});
  refused({.copy = {nullptr, size, fp32}}, {"outputs.copy", "null"});
  refused({.copy = params}, {"outputs.copy", "overlaps", "params"});
  refused({.delta = state}, {"outputs.delta", "overlaps", "state"});
  refused({.copy = buffer, .delta = buffer}, {"outputs.copy", "overlaps", "outputs.delta"});
  const Buffer row{const_cast<void*>(pair.other.rows[1].data()), size, fp32};
  refused({.copy = row}, {"rows[1]", "overlaps", "outputs.copy"});
  expect_error<InvalidArgument>([&] { with_master.step_other({.delta = buffer}); },
                                {"outputs.delta", "master"});
  EXPECT_TRUE(same_bits(pair.other.params.numbers(), before));
  EXPECT_EQ(pair.other.optimizer.report().steps, 0);

  for (const double decay : {-0.1, 1.0, std::nan("")}) {
    expect_error<InvalidArgument>([&] { Optimizer(layout_of(), {.ema_decay = decay}); },
                                  {"ema_decay", "< 1"});
  }
  expect_error<InvalidArgument>(
      [&] { Optimizer(layout_of(), {.rule = ScheduleFreeSGD{}, .ema_decay = 0.9}); },
      {"ema_decay", "averages"});
  Optimizer& optimizer = pair.other.optimizer;
  std::vector<float> sum(8);
  expect_error<InvalidArgument>([&] { optimizer.accumulate(sum, std::vector<float>(7)); },
                                {"sum", "got 8", "expected 7"});
  expect_error<InvalidArgument>([&] { optimizer.accumulate(sum, sum); }, {"overlaps", "sum"});
  expect_error<InvalidArgument>(
      [&] { optimizer.accumulate(sum, std::vector<float>(8), std::nan("")); }, {"scale"});
  expect_error<InvalidArgument>([&] { optimizer.accumulate(sum, std::vector<std::int16_t>(8)); },
                                {"gradient", "int16"});
}

}  // namespace
}  // namespace gramstep::test
