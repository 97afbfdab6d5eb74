// The stages' bodies over memory of every type, under the fiber runner against the CPU backend's loops: equal
// bits.
#include "tests/kernels/stage_rig.hpp"

namespace gramstep::test {
namespace {

struct PrecisionCase {
  const char* name;
  Precision precision;
  friend std::ostream& operator<<(std::ostream& out, const PrecisionCase& each) {
    return out << each.name;
  }
};

constexpr DType bf16 = DType::bfloat16, fp16 = DType::float16;

/// Every way of each option, no two of them alike.
const PrecisionCase precision_cases[] = {
    {"Gradients", {.gradients = bf16}},
    {"Params", {.params = fp16}},
    {"Master", {.params = bf16, .gradients = fp16, .master = Master::float32}},
    {"Remainder", {.params = bf16, .gradients = bf16, .master = Master::remainder}},
    {"Kahan", {.params = bf16, .rounding = Rounding::kahan}},
    {"KahanHalf", {.params = fp16, .gradients = fp16, .rounding = Rounding::kahan}},
    {"Stochastic",
     {.params = bf16, .gradients = bf16, .rounding = Rounding::stochastic, .seed = 9}},
    {"StochasticHalf", {.params = fp16, .rounding = Rounding::stochastic, .seed = 1u << 31}},
    {"States", {.states = bf16}},
    {"Everything", {.params = bf16, .gradients = bf16, .states = bf16}},
    {"EverythingStochastic",
     {.params = bf16, .gradients = bf16, .states = bf16, .rounding = Rounding::stochastic}},
    {"EightBits", {.states = DType::dynamic8}},
    {"EightBitsBesideAll", {.params = bf16, .gradients = bf16, .states = DType::dynamic8}},
    {"EightBitsBesideMaster",
     {.params = bf16, .master = Master::remainder, .states = DType::dynamic8}},
    {"EightBitsStochastic",
     {.params = bf16, .states = DType::dynamic8, .rounding = Rounding::stochastic, .seed = 4}},
    {"StatesBesideMaster",
     {.params = fp16, .master = Master::float32, .states = bf16, .rounding = Rounding::stochastic}},
};

/// A tenth step of some segments and the first of others, with one that has no gradient.
void decide(StageRig& rig, int steps) {
  rig.segments[3].active = 0;
  rig.step.steps = 9;
  for (std::size_t s = 0; s < rig.segments.size(); ++s) {
    rig.segments[s].steps = s % 4 == 0 ? 0 : steps;
  }
  rig.setup.checks = false;  // of the partials, which nothing has written
  rig.run_plan_on_cpu();
  for (int k = 0; k < rig.setup.tasks; ++k) {
    rig.applied(k) = 1.0f / static_cast<float>(k + 3);
  }
  rig.step.plan.head_weight = 0.7f;
}

/// What is beside the parameters, as a step has left it.
void fill_beside(StageRig& rig) {
  if (rig.beside_params.span().empty()) return;
  Random random(17);
  const bool master = rig.setup.precision.master == Master::float32;
  for (int s = 0; s < rig.layout.segments(); ++s) {
    for (float& each : rig.segment(rig.beside_params, s)) {
      const auto small = std::bit_cast<std::uint32_t>(static_cast<float>(random.uniform() * 1e-3));
      // Two 16-bit numbers, small ones, where it is no master.
      each = std::bit_cast<float>(master ? small : (small >> 16) * 0x10001u);
    }
  }
}

/// The rules of this file.
void run_update(StageRig& rig, const simt::Launch& order) {
  rig.run_stored_update<SGD, AdamW, Adam, LAMB, LARS, Adafactor>(order, 3);  // blocks stride
}

class StorageBodyTest : public ::testing::TestWithParam<PrecisionCase> {};

/// Rules that between them have every kind of pass: none, one and several states, norms before or after the
/// state, sums by row and column.
const Rule rules_of_every_kind[] = {
    SGD{.lr = 0.1, .weight_decay = 0.01},
    SGD{.lr = 0.1, .momentum = 0.9, .dampening = 0.1},
    AdamW{.lr = 0.01, .weight_decay = 0.1},
    Adam{.lr = 0.01, .amsgrad = true},
    LAMB{.lr = 0.01, .weight_decay = 0.1},
    LARS{.lr = 0.1, .weight_decay = 0.01, .trust_coefficient = 0.1},
    Adafactor{.lr = 0.1, .weight_decay = 0.1},
};

TEST_P(StorageBodyTest, UpdateHasTheBitsOfTheCpu) {
  for (const Rule& rule : rules_of_every_kind) {
    const bool none = host::state_buffers(rule) == 0 || std::holds_alternative<Adafactor>(rule);
    if (none && GetParam().precision.states != DType::float32) continue;
    for (const int tasks : {1, 5}) {
      for (const int shift : {0, 1}) {
        const OptimizerOptions options{
            .rule = rule, .tasks = tasks, .precision = GetParam().precision};
        StageRig cpu(awkward_layout(tasks), options, shift);
        fill_beside(cpu);
        decide(cpu, 9);
        cpu.run_update_on_cpu();
        for (const simt::Launch& order : every_order) {
          if (tasks != 5 && order.order != simt::Order::random) continue;
          StageRig fibers(awkward_layout(tasks), options, shift);
          fill_beside(fibers);
          decide(fibers, 9);
          run_update(fibers, order);
          SCOPED_TRACE(std::to_string(tasks) + " tasks, shift " + std::to_string(shift));
          EXPECT_EQ(fibers.bits(fibers.params), cpu.bits(cpu.params));
          EXPECT_EQ(fibers.bits(fibers.beside_params), cpu.bits(cpu.beside_params));
          for (std::size_t s = 0; s < cpu.states.size(); ++s) {
            EXPECT_EQ(fibers.bits(fibers.states[s]), cpu.bits(cpu.states[s])) << "state " << s;
          }
          EXPECT_EQ(fibers.bits(fibers.scales), cpu.bits(cpu.scales));
          EXPECT_TRUE(same_bits(fibers.measures, cpu.measures)) << "what a rule measures";
        }
      }
    }
  }
}

TEST_P(StorageBodyTest, ElementwiseAggregatorsHaveTheBitsOfTheCpu) {
  const OptimizerOptions options{.rule = AdamW{},
                                 .aggregator = GradDrop{.seed = 9},
                                 .tasks = 3,
                                 .precision = GetParam().precision};
  StageRig cpu(awkward_layout(3), options), fibers(awkward_layout(3), options);
  for (StageRig* rig : {&cpu, &fibers}) {
    rig->run_gram_on_cpu();
    rig->run_plan_on_cpu();
  }
  cpu.run_update_on_cpu();
  run_update(fibers, {.order = simt::Order::random});
  EXPECT_EQ(fibers.bits(fibers.params), cpu.bits(cpu.params));
}

/// Where a step's copy and delta go, as bits of any type.
struct OutputRoom {
  explicit OutputRoom(StageRig& rig, DType dtype)
      : copy(rig.layout.size(), 0), delta(rig.layout.size(), 0) {
    rig.outputs = {.copy = {copy.data(), rig.layout.size(), dtype},
                   .delta = {delta.data(), rig.layout.size(), dtype}};
  }
  Floats copy, delta;
};

/// All that an update can write beside parameters and state, at once; and a step that is skipped.
TEST(StorageBody, WhatElseIsWrittenHasTheBitsOfTheCpu) {
  for (const DType dtype : {DType::float32, bf16, fp16}) {
    for (const Rule& rule : {Rule(AdamW{.lr = 0.01}), Rule(LAMB{}), Rule(Adafactor{})}) {
      for (const int shift : {0, 1}) {
        for (const int skip : {0, 1}) {
          const OptimizerOptions options{.rule = rule,
                                         .tasks = 3,
                                         .precision = {.params = dtype, .gradients = dtype},
                                         .ema_decay = 0.75,
                                         .zero_gradients = true};
          StageRig cpu(awkward_layout(3), options, shift),
              fibers(awkward_layout(3), options, shift);
          const OutputRoom of_cpu(cpu, dtype), of_fibers(fibers, dtype);
          for (StageRig* rig : {&cpu, &fibers}) {
            decide(*rig, 9);
            rig->step.plan.skip = skip;
          }
          cpu.run_update_on_cpu();
          run_update(fibers, {.order = simt::Order::random});
          EXPECT_EQ(fibers.bits(fibers.params), cpu.bits(cpu.params));
          EXPECT_EQ(fibers.bits(fibers.ema), cpu.bits(cpu.ema));
          EXPECT_EQ(cpu.bits(of_fibers.copy), cpu.bits(of_cpu.copy));
          EXPECT_EQ(cpu.bits(of_fibers.delta), cpu.bits(of_cpu.delta));
          for (std::size_t k = 0; k < cpu.rows.size(); ++k) {
            EXPECT_EQ(fibers.bits(fibers.rows[k]), cpu.bits(cpu.rows[k]));
            const auto bits = cpu.bits(cpu.rows[k]);
            EXPECT_EQ(bits[static_cast<std::size_t>(cpu.layout.segment(7).offset) + 4'000], 0u);
          }
          EXPECT_EQ(fibers.bits(fibers.heads), cpu.bits(cpu.heads));
        }
      }
    }
  }
}

TEST(AccumulateBody, HasTheBitsOfTheCpu) {
  for (const DType dtype : {DType::float32, bf16, fp16}) {
    for (const std::int64_t size : {1, 5, 127, 16'384, 40'003}) {
      for (const int shift : {0, 1}) {
        Floats gradient(size, shift), expected(size, shift), got(size, shift);
        Random random(2);
        for (std::int64_t i = 0; i < size; ++i) {
          gradient[i] = static_cast<float>(random.uniform());
          expected[i] = got[i] = static_cast<float>(random.uniform());
        }
        const StoredCopy narrow(gradient.span(), dtype == DType::float32 ? bf16 : dtype);
        const void* from = narrow.data();
        if (dtype == DType::float32) from = gradient.data();
        kernels::AccumulateBody body{expected.data(), from, dtype, size, 0.3f, false};
        for (std::int64_t run = 0; run < body.runs(); ++run) {
          host::choose_leaves().leaves->accumulate(body, run);
        }
        body.sum = got.data();
        body.aligned = shift == 0;
        simt::Launch order{.order = simt::Order::random};
        order.blocks = 2;
        order.threads = body.threads;
        const host::FlushToZero flush;
        simt::run(order, body);
        EXPECT_TRUE(same_bits(got.span(), expected.span()));
      }
    }
  }
}

/// The products of 16-bit rows are exact in fp32, so the gram stage has the bits of fp32 rows of the same
/// numbers, but for more than eight on a GPU, which tensor cores multiply.
TEST(StorageBody, GramHasTheBitsOfTheSameNumbersInFp32) {
  for (const DType dtype : {bf16, fp16}) {
    for (const int tasks : {1, 2, 3, 8, 16, 33}) {
      for (const int shift : {0, 1}) {
        StageRig wide(awkward_layout(tasks), {.tasks = tasks, .clip_norm = 1.0}, shift);
        for (const Floats& row : wide.rows) round_to(dtype, row.span());
        round_to(dtype, wide.heads.span());
        const OptimizerOptions options{
            .tasks = tasks, .clip_norm = 1.0, .precision = {.gradients = dtype}};
        StageRig narrow(awkward_layout(tasks), options, shift);
        wide.run_gram_on_cpu();
        narrow.run_gram_on_cpu();
        EXPECT_TRUE(same_bits(narrow.partials, wide.partials)) << tasks << " on the CPU";
        for (const simt::Launch& order : every_order) {
          if (tasks > 8 || (tasks > 3 && order.order != simt::Order::random)) continue;
          wide.run_gram(order);
          narrow.run_gram(order);
          EXPECT_TRUE(same_bits(narrow.partials, wide.partials)) << tasks << " by fibers";
        }
      }
    }
  }
}

/// The same of momenta, which take 16-bit gradients in.
TEST(StorageBody, MomentaHaveTheBitsOfTheSameNumbersInFp32) {
  for (const int shift : {0, 1}) {
    OptimizerOptions options{.aggregator = MoCo{}, .tasks = 3};
    StageRig wide(awkward_layout(3), options, shift);
    for (const Floats& row : wide.rows) round_to(bf16, row.span());
    round_to(bf16, wide.heads.span());
    options.precision.gradients = bf16;
    StageRig cpu(awkward_layout(3), options, shift), fibers(awkward_layout(3), options, shift);
    wide.run_gram_on_cpu();
    cpu.run_gram_on_cpu();
    fibers.run_gram({.order = simt::Order::random});
    EXPECT_EQ(cpu.bits(cpu.momenta), wide.bits(wide.momenta));
    EXPECT_EQ(fibers.bits(fibers.momenta), wide.bits(wide.momenta));
    EXPECT_TRUE(same_bits(cpu.partials, wide.partials));
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, StorageBodyTest, ::testing::ValuesIn(precision_cases),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace gramstep::test
