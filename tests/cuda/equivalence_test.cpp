// CUDA against the CPU backend: the update bit for bit, the Gram matrix within its bound.
#include "tests/cases.hpp"
#include "tests/cuda/device_twin.hpp"

namespace gramstep::test {
namespace {

class CudaUpdateTest : public CudaTest, public ::testing::WithParamInterface<RuleCase> {};

TEST_P(CudaUpdateTest, UpdateHasTheBitsOfTheCpu) {
  for (const int tasks : {1, 2, 3, 8, 17, 64}) {
    for (const int shift : {0, 1, 2}) {
      const OptimizerOptions options{
          .rule = GetParam().rule, .aggregator = Mean{}, .tasks = tasks, .loss_scale = 8};
      Rig rig(awkward_layout(tasks), options, shift);
      DeviceTwin twin(rig, options, shift);
      for (int step = 0; step < 7; ++step) {  // RAdam's case rectifies from the sixth on
        rig.draw_uniform();
        twin.follow(rig);
        if (step == 2) {
          rig.optimizer.set_active("shared4096", false);
          twin.optimizer.set_active("shared4096", false);
          rig.optimizer.set_lr(0.02);
          twin.optimizer.set_lr(0.02);
        }
        rig.step();
        twin.step();
      }
      twin.expect_same(rig);
      for (const std::string_view name : rig.optimizer.segment_state_names()) {
        EXPECT_TRUE(
            same_bits(rig.optimizer.segment_state(name), twin.optimizer.segment_state(name)));
      }
    }
  }
}

TEST_P(CudaUpdateTest, EvaluationHasTheBitsOfTheCpu) {
  const OptimizerOptions options{.rule = GetParam().rule};
  Rig rig(awkward_layout(1), options);
  DeviceTwin twin(rig, options);
  rig.optimizer.set_active("shared4096", false);
  twin.optimizer.set_active("shared4096", false);
  for (int step = 0; step < 2; ++step) {
    rig.draw_uniform();
    twin.follow(rig);
    rig.step();
    twin.step();
  }
  Floats expected(rig.optimizer.layout().size());
  const DeviceFloats got(expected);  // padding poisoned
  rig.optimizer.evaluation_params(rig.params.span(), expected.span());
  twin.optimizer.evaluation_params(twin.params.span(), got.span());
  EXPECT_TRUE(same_bits(got.read(), expected.span()));
  twin.optimizer.evaluation_params(twin.params.span(), twin.params.span());
  EXPECT_TRUE(same_bits(twin.params.read(), expected.span()));
}

INSTANTIATE_TEST_SUITE_P(Rules, CudaUpdateTest, ::testing::ValuesIn(rule_cases),
                         [](const auto& each) { return each.param.name; });

using CudaStepTest = CudaTest;

/// Muon's products are cuBLAS' there and Eigen's here: the steps are as far apart as two fp32 computations
/// of one iteration may be, relative to the length of the step; see the tests of Muon.
TEST_F(CudaStepTest, MuonIsTheCpusToRounding) {
  Layout layout;
  layout.add("wide", {65, 520});
  layout.add("tall", {300, 128});
  layout.add("again", {65, 520});
  layout.add("vector", {131});
  layout.add("head", {9, 33}, {.task = 0});
  for (const RuleCase& each : product_rule_cases) {
    Rig rig(layout, {.rule = each.rule, .tasks = 2});
    std::ranges::fill(rig.params.span(), 0.0f);
    rig.draw_uniform();
    DeviceTwin twin(rig, {.rule = each.rule, .tasks = 2});
    rig.step();
    twin.step();
    const std::vector<float> got = twin.params.read();
    for (int s = 0; s < layout.segments(); ++s) {
      const Segment segment = layout.segment(s);
      double apart = 0, length = 0;
      for (std::int64_t i = segment.offset; i < segment.offset + segment.size; ++i) {
        const double cpu = static_cast<double>(rig.params[i]);
        apart += std::pow(static_cast<double>(got[static_cast<std::size_t>(i)]) - cpu, 2);
        length += cpu * cpu;
      }
      const double bound = 2 * 311 * 10 * std::sqrt(520.0) * 0x1p-24;
      EXPECT_LE(std::sqrt(apart), bound * std::sqrt(length)) << each.name << segment.name;
    }
  }
}

TEST_F(CudaStepTest, GramIsWithinTheSumOfBothBounds) {
  // An fp32 sum has at most 320 terms on a GPU for K <= 8 and 512 on tensor cores, whose own products are off by
  // 100 more, 64 on a CPU, each off by 2^-24 of the sum of magnitudes, which Cauchy and Schwarz bound by n_i n_j.
  constexpr double bound = (512 + 100 + 2 + 64 + 2) * 0x1p-24;
  for (const int tasks : {2, 3, 5, 8, 9, 16, 17, 33, 64}) {
    const OptimizerOptions options{.aggregator = PCGrad{.seed = 3}, .tasks = tasks};
    Rig rig(awkward_layout(tasks), options);
    rig.draw_uniform();
    DeviceTwin twin(rig, options);
    rig.step();
    twin.step();
    const Report cpu = rig.optimizer.report(), gpu = twin.optimizer.report();
    for (int i = 0; i < tasks; ++i) {
      for (int j = 0; j < tasks; ++j) {
        const auto at = static_cast<std::size_t>(i * tasks + j);
        const double scale = cpu.gradient_norms[static_cast<std::size_t>(i)] *
                             cpu.gradient_norms[static_cast<std::size_t>(j)];
        EXPECT_LE(std::fabs(cpu.gram[at] - gpu.gram[at]), bound * scale) << tasks;
      }
    }
    EXPECT_NEAR(gpu.heads_norm, cpu.heads_norm, bound * cpu.heads_norm);
  }
}

TEST_F(CudaStepTest, RepeatsItselfBitForBit) {
  const OptimizerOptions options{
      .rule = AdamW{}, .aggregator = PCGrad{.seed = 3}, .tasks = 17, .clip_norm = 1.0};
  Rig rig(awkward_layout(17), options);
  rig.draw_uniform();
  DeviceTwin first(rig, options), second(rig, options);
  for (int step = 0; step < 3; ++step) {
    first.step();
    second.step();
  }
  EXPECT_TRUE(same_bits(first.params.read(), second.params.read()));
  EXPECT_TRUE(same_bits(first.optimizer.report().gram, second.optimizer.report().gram));
}

TEST_F(CudaStepTest, SkipsANonFiniteRowAndSaysSoLater) {
  for (const NonFinite policy : {NonFinite::skip, NonFinite::error}) {
    const OptimizerOptions options{
        .rule = SGD{.momentum = 0.9}, .aggregator = PCGrad{}, .tasks = 2, .non_finite = policy};
    Rig rig(awkward_layout(2), options);
    rig.draw_uniform();
    rig.gradient("shared129", 1)[128] = std::nanf("");
    DeviceTwin twin(rig, options);
    const std::vector<float> before = twin.params.read();
    twin.step();
    EXPECT_TRUE(same_bits(twin.params.read(), before));
    if (policy == NonFinite::error) {
      EXPECT_THROW(twin.optimizer.report(), NonFiniteGradient);
    }
    const Report report = twin.optimizer.report();
    EXPECT_TRUE(report.skipped);
    EXPECT_EQ(report.steps, 0);
    EXPECT_EQ(report.skipped_steps, 1);
  }
}

TEST_F(CudaStepTest, StateMovesBetweenDevices) {
  const OptimizerOptions options{.rule = Adam{}, .tasks = 2};
  Rig rig(awkward_layout(2), options);
  rig.draw_and_step(3);
  DeviceTwin twin(rig, options);
  twin.optimizer.copy_state(rig.optimizer);
  rig.step();
  twin.step();
  twin.expect_same(rig);
}

TEST_F(CudaStepTest, GoesOnFromWhatWasSavedByName) {
  for (const Aggregator& aggregator : {Aggregator(MoDo{}), Aggregator(MomentumConFIG{})}) {
    const OptimizerOptions options{.rule = Adam{}, .aggregator = aggregator, .tasks = 2};
    Rig rig(awkward_layout(2), options);
    DeviceTwin whole(rig, options), resumed(rig, options);
    const auto step = [&](bool both) {
      rig.draw_uniform();
      whole.follow(rig);
      whole.step();
      if (!both) return;
      resumed.follow(rig);
      resumed.step();
    };
    const auto copy = [](std::span<float> to, std::span<float> from) {
      GRAMSTEP_CUDA_OK(cudaMemcpy(to.data(), from.data(), from.size_bytes(), cudaMemcpyDefault));
    };
    for (int i = 0; i < 3; ++i) step(false);
    Optimizer &from = whole.optimizer, &to = resumed.optimizer;
    to.set_steps(from.report().steps, from.segment_steps());
    copy(resumed.params.span(), whole.params.span());
    for (const std::string_view name : from.state_names()) copy(to.state(name), from.state(name));
    for (const std::string_view name : from.plan_state_names()) {
      to.set_plan_state(name, from.plan_state(name));
    }
    for (int k = 0; k < 2 && from.report().of_momenta; ++k) {
      copy(to.task_momentum(k), from.task_momentum(k));
    }
    for (int i = 0; i < 3; ++i) step(true);
    EXPECT_TRUE(same_bits(resumed.params.read(), whole.params.read())) << text_of(aggregator);
    EXPECT_EQ(to.segment_steps(), from.segment_steps());
  }
}

TEST_F(CudaStepTest, ReachesBeyondTwoToTheThirtyOne) {
  const std::int64_t size = (std::int64_t{1} << 31) + 5'000;
  std::size_t free = 0, total = 0;
  GRAMSTEP_CUDA_OK(cudaMemGetInfo(&free, &total));
  if (free < 2.1 * sizeof(float) * static_cast<double>(size)) {
    GTEST_SKIP() << "needs 18 GB of device memory, has " << free / 1'000'000'000;
  }
  Layout layout;
  layout.add("vast", {size});
  const DeviceFloats params(layout.size()), gradient(layout.size());
  ASSERT_TRUE(params.there() && gradient.there());
  Optimizer optimizer(layout, {.rule = SGD{.lr = 0.5}, .device = cuda()});
  GRAMSTEP_CUDA_OK(cudaMemset(params.data(), 0, params.span().size_bytes()));
  GRAMSTEP_CUDA_OK(cudaMemset(gradient.data(), 0, gradient.span().size_bytes()));
  const std::int64_t marks[] = {0, size / 2, (std::int64_t{1} << 31) - 1, std::int64_t{1} << 31,
                                size - 1};
  for (const std::int64_t at : marks) {
    const float value = 4;
    GRAMSTEP_CUDA_OK(cudaMemcpy(gradient.data() + at, &value, 4, cudaMemcpyHostToDevice));
  }
  optimizer.step(params.span(), gradient.span());
  for (const std::int64_t at : marks) {
    float moved = 0;
    GRAMSTEP_CUDA_OK(cudaMemcpy(&moved, params.data() + at, 4, cudaMemcpyDeviceToHost));
    EXPECT_EQ(moved, -2.0f) << "element " << at;
  }
}

}  // namespace
}  // namespace gramstep::test
