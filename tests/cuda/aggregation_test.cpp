// The plan of every aggregator on CUDA against the CPU: the same Gram matrices, the same weights.
#include "gramstep/aggregation.hpp"

#include "tests/aggregators/problems.hpp"
#include "tests/cases.hpp"
#include "tests/cuda/device_twin.hpp"
#include "tests/every_aggregator.hpp"

namespace gramstep::test {
namespace {

/// Device memory with doubles in it.
class DeviceDoubles {
 public:
  explicit DeviceDoubles(std::vector<double> from) : size_(from.size()) {
    cudaMalloc(&data_, size_ * sizeof(double));
    cudaMemcpy(data_, from.data(), size_ * sizeof(double), cudaMemcpyHostToDevice);
  }
  ~DeviceDoubles() { cudaFree(data_); }
  DeviceDoubles(const DeviceDoubles&) = delete;
  DeviceDoubles& operator=(const DeviceDoubles&) = delete;

  std::span<double> span() const { return {data_, size_}; }
  std::vector<double> read() const {
    std::vector<double> values(size_);
    cudaMemcpy(values.data(), data_, size_ * sizeof(double), cudaMemcpyDeviceToHost);
    return values;
  }

 private:
  std::size_t size_;
  double* data_ = nullptr;
};

class CudaWeightsTest : public CudaTest, public ::testing::WithParamInterface<std::string> {};

/// Arithmetic is the same, IEEE's, in the same order; only exp, log and pow of the two libraries differ, by
/// a unit in the last place, and the rotations of eigenvectors, for which a device has a root's inverse: by
/// that much an element may be negligible a sweep sooner or later.
TEST_P(CudaWeightsTest, AreThoseOfTheCpu) {
  constexpr double relative = 1e-12;
  const int sweeps = GetParam() == "AlignedMTL" ? 1 : 0;
  for (const int tasks : {1, 2, 3, 8, 17, 32, 64}) {
    const auto aggregator = made_for(GetParam(), tasks);
    if (!aggregator || elementwise(*aggregator) || with_momentum(*aggregator)) continue;
    const std::vector<double> gram = make_problem(Kind::normal, tasks, 3).gram;
    std::vector<float> losses;
    for (int k = 0; k < tasks; ++k) losses.push_back(0.5f + 0.25f * static_cast<float>(k));
    Aggregation on_cpu({.aggregator = *aggregator, .tasks = tasks});
    Aggregation on_gpu({.aggregator = *aggregator, .tasks = tasks, .device = cuda()});
    const DeviceDoubles d_gram(gram),
        d_weights(std::vector<double>(static_cast<std::size_t>(tasks)));
    std::vector<double> weights(static_cast<std::size_t>(tasks));
    for (int step = 0; step < 3; ++step) {
      on_cpu.weights(gram, weights, losses);
      on_gpu.weights(d_gram.span(), d_weights.span(), losses);
      const std::vector<double> got = d_weights.read();
      double largest = 0;
      for (const double w : weights) largest = std::max(largest, std::fabs(w));
      for (std::size_t k = 0; k < weights.size(); ++k) {
        EXPECT_NEAR(got[k], weights[k], relative * largest) << tasks << " tasks, step " << step;
      }
      EXPECT_NEAR(on_gpu.solutions()[0].iterations, on_cpu.solutions()[0].iterations, sweeps)
          << tasks;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Aggregators, CudaWeightsTest, ::testing::ValuesIn(every_name()),
                         [](const auto& each) { return each.param; });

class CudaEveryAggregatorTest : public CudaTest,
                                public ::testing::WithParamInterface<std::string> {};

/// Whole steps, by segment, with losses and smoothing. G differs by fp32 sums' order, so parameters do
/// too; where weights do not depend on G, or are none, the bits are the same.
TEST_P(CudaEveryAggregatorTest, TakesStepsAsTheCpuDoes) {
  const auto aggregator = made_for(GetParam(), 3);
  if (!aggregator) GTEST_SKIP() << "not for three tasks";
  OptimizerOptions options{.rule = SGD{.lr = 0.01},
                           .aggregator = *aggregator,
                           .tasks = 3,
                           .projection = Projection::group};
  if (!elementwise(*aggregator)) options.smoothing = 0.25;
  Rig rig(awkward_layout(3), options);
  DeviceTwin twin(rig, options);
  const std::vector<float> losses = {0.5f, 2.0f, 1.25f};
  rig.losses = losses;
  DeviceFloats d_losses(3);
  cudaMemcpy(d_losses.data(), losses.data(), 3 * sizeof(float), cudaMemcpyHostToDevice);
  for (int step = 0; step < 3; ++step) {
    rig.draw();  // products of these sum exactly: G is the same on both
    twin.follow(rig);
    Gradients d_gradients = twin.gradients();
    d_gradients.losses = step == 0 ? std::span<const float>(losses) : d_losses.span();
    rig.step();
    twin.optimizer.step(twin.params.span(), d_gradients);
  }
  const Report cpu = rig.optimizer.report(), gpu = twin.optimizer.report();
  EXPECT_EQ(gpu.steps, 3);
  for (std::size_t k = 0; k < cpu.weights.size() && !elementwise(*aggregator); ++k) {
    EXPECT_NEAR(gpu.weights[k], cpu.weights[k], 1e-5 * (1 + std::fabs(cpu.weights[k])));
  }
  const std::vector<float> params = twin.params.read();
  for (int s = 0; s < rig.optimizer.layout().segments(); ++s) {
    const Segment segment = rig.optimizer.layout().segment(s);
    for (std::int64_t i = segment.offset; i < segment.offset + segment.size; ++i) {
      const float expected = rig.params.span()[static_cast<std::size_t>(i)];
      if (elementwise(*aggregator)) {
        ASSERT_EQ(params[static_cast<std::size_t>(i)], expected) << segment.name;
      } else {
        ASSERT_NEAR(params[static_cast<std::size_t>(i)], expected, 1e-4) << segment.name;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Aggregators, CudaEveryAggregatorTest, ::testing::ValuesIn(every_name()),
                         [](const auto& each) { return each.param; });

using CudaAggregationTest = CudaTest;

TEST_F(CudaAggregationTest, CombinesWithTheBitsOfTheCpu) {
  for (const int shift : {0, 1}) {
    Layout layout;
    layout.add("row", {70'001});
    Rig rig(layout, {.tasks = 5}, shift);
    rig.draw();
    Aggregation on_cpu({.tasks = 5, .size = 70'001});
    Aggregation on_gpu({.tasks = 5, .size = 70'001, .device = cuda()});
    std::vector<const float*> rows, d_rows;
    std::vector<DeviceFloats> copies;
    for (const Floats& row : rig.rows) {
      rows.push_back(row.data());
      copies.emplace_back(row, shift);
    }
    for (const DeviceFloats& copy : copies) d_rows.push_back(copy.data());
    std::vector<double> gram(25), weights{0.5, -1, 2, 0.3, 0.1};
    std::vector<float> combined(70'001);
    DeviceDoubles d_gram(gram);
    const DeviceDoubles d_weights(weights);
    const DeviceFloats d_combined(70'001, shift);
    on_cpu.gram(rows, gram);
    on_gpu.gram(d_rows, d_gram.span());
    EXPECT_EQ(d_gram.read(), gram) << "exact products";
    on_cpu.combine(rows, weights, combined);
    on_gpu.combine(d_rows, d_weights.span(), d_combined.span());
    EXPECT_TRUE(same_bits(d_combined.read(), combined));
  }
}

TEST_F(CudaAggregationTest, AMatrixThatIsNotFiniteGetsNoWeights) {
  Aggregation alone({.aggregator = MGDA{}, .tasks = 2, .batch = 2, .device = cuda()});
  const DeviceDoubles gram({1, 0, 0, 1, 1, NAN, NAN, NAN}), weights(std::vector<double>(4));
  alone.weights(gram.span(), weights.span());
  const std::vector<double> got = weights.read();
  EXPECT_EQ(got[0], 0.5);
  EXPECT_EQ(got[1], 0.5);
  EXPECT_TRUE(std::isnan(got[2]) && std::isnan(got[3]));
}

TEST_F(CudaAggregationTest, UnfitLossesInDeviceMemorySkipTheStep) {
  const OptimizerOptions options{.aggregator = ScaleInvariant{}, .tasks = 2};
  Rig rig(awkward_layout(2), options);
  DeviceTwin twin(rig, options);
  DeviceFloats losses(2);
  for (const auto& [first, skipped] :
       {std::pair(-1.0f, 1), std::pair(NAN, 2), std::pair(2.0f, 2)}) {
    const float values[] = {first, 1};
    cudaMemcpy(losses.data(), values, sizeof values, cudaMemcpyHostToDevice);
    Gradients gradients = twin.gradients();
    gradients.losses = losses.span();
    twin.optimizer.step(twin.params.span(), gradients);
    EXPECT_EQ(twin.optimizer.report().skipped_steps, skipped);
  }
  expect_error<InvalidArgument>(
      [&] {
        Gradients gradients = rig.gradients();
        gradients.losses = losses.span();
        rig.optimizer.step(rig.params.span(), gradients);
      },
      {"losses", "CUDA"});
}

TEST_F(CudaAggregationTest, ReplaysOfACapturedStepAdvanceStateAndMomenta) {
  const OptimizerOptions options{
      .rule = SGD{.lr = 0.01}, .aggregator = MoCo{}, .tasks = 3, .smoothing = 0.5};
  Rig rig(awkward_layout(3), options);
  rig.draw_uniform();
  DeviceTwin eager(rig, options), replayed(rig, options);
  const OwnStream own;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  GRAMSTEP_CUDA_OK(cudaStreamBeginCapture(own.stream, cudaStreamCaptureModeThreadLocal));
  replayed.step(own.stream);
  GRAMSTEP_CUDA_OK(cudaStreamEndCapture(own.stream, &graph));
  GRAMSTEP_CUDA_OK(cudaGraphInstantiate(&ready, graph, 0));
  for (int step = 0; step < 5; ++step) {
    eager.step();
    GRAMSTEP_CUDA_OK(cudaGraphLaunch(ready, own.stream));
  }
  EXPECT_TRUE(same_bits(eager.optimizer.plan_state("weights"),
                        replayed.optimizer.plan_state("weights", own.stream)));
  EXPECT_TRUE(same_bits(eager.params.read(), replayed.params.read()));
  cudaGraphExecDestroy(ready);
  cudaGraphDestroy(graph);
}

}  // namespace
}  // namespace gramstep::test
