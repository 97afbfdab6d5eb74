// A step in a CUDA graph: what it consists of, and that replays go on as eager steps do.
#include "tests/cases.hpp"
#include "tests/cuda/device_twin.hpp"

namespace gramstep::test {
namespace {

Layout many_segments() {
  Layout layout;
  layout.add_group("other", {.lr_scale = 0.5, .weight_decay = 0.0});
  for (int i = 0; i < 300; ++i) {
    SegmentOptions options;
    if (i % 2) options.group = "other";
    layout.add("tensor" + std::to_string(i), {i * 7}, options);
  }
  return layout;
}

/// A captured step.
class Graph {
 public:
  Graph(DeviceTwin& twin, cudaStream_t stream) {
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    twin.step(stream);
    cudaStreamEndCapture(stream, &graph_);
    cudaGraphInstantiate(&executable_, graph_, 0);
  }
  ~Graph() {
    cudaGraphExecDestroy(executable_);
    cudaGraphDestroy(graph_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void replay(cudaStream_t stream) { cudaGraphLaunch(executable_, stream); }

  std::vector<cudaGraphNodeType> nodes() const {
    std::size_t count = 0;
    cudaGraphGetNodes(graph_, nullptr, &count);
    std::vector<cudaGraphNode_t> nodes(count);
    cudaGraphGetNodes(graph_, nodes.data(), &count);
    std::vector<cudaGraphNodeType> types(count);
    for (std::size_t n = 0; n < count; ++n) cudaGraphNodeGetType(nodes[n], &types[n]);
    return types;
  }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

using CudaGraphTest = CudaTest;

TEST_F(CudaGraphTest, AStepIsThreeLaunchesOneTasksTwoAndOneMoreAddsManyPartials) {
  for (const auto& [tasks, launches] : {std::pair{1, 2u}, {2, 3u}, {17, 4u}}) {
    const OptimizerOptions options{.rule = AdamW{}, .aggregator = PCGrad{}, .tasks = tasks};
    Rig rig(many_segments(), options);
    DeviceTwin twin(rig, options);
    OwnStream own;
    const std::vector<cudaGraphNodeType> nodes = Graph(twin, own.stream).nodes();
    EXPECT_EQ(nodes.size(), launches);
    for (const cudaGraphNodeType type : nodes) EXPECT_EQ(type, cudaGraphNodeTypeKernel);
  }
}

TEST_F(CudaGraphTest, ReplaysCountStepsFollowTheLearningRateAndDrawFreshOrders) {
  const OptimizerOptions options{
      .rule = AdamW{.lr = 0.01}, .aggregator = PCGrad{.seed = 5}, .tasks = 8, .clip_norm = 1.0};
  Rig rig(many_segments(), options);
  rig.draw_uniform();
  DeviceTwin eager(rig, options), replayed(rig, options);
  OwnStream own;
  Graph graph(replayed, own.stream);
  for (int step = 0; step < 20; ++step) {
    if (step == 10) {
      eager.optimizer.set_lr(0.003);
      replayed.optimizer.set_lr(0.003, own.stream);
    }
    eager.step();
    graph.replay(own.stream);
  }
  const Report a = eager.optimizer.report(), b = replayed.optimizer.report(own.stream);
  EXPECT_EQ(b.steps, 20);
  EXPECT_EQ(b.lr, 0.003);
  EXPECT_TRUE(same_bits(a.weights, b.weights));
  EXPECT_TRUE(same_bits(eager.params.read(), replayed.params.read()));
}

/// A thousand replays under a schedule, with new options between them: the bits of eager steps, and of the
/// CPU, for nothing that a step is told depends on a Gram matrix.
class CudaScheduleTest : public CudaTest, public ::testing::WithParamInterface<RuleCase> {};

TEST_P(CudaScheduleTest, ReplaysFollowTheScheduleAndTheSetters) {
  const bool cycles =
      std::visit([](const auto& rule) { return rules::has_momentum(rule); }, GetParam().rule);
  const OptimizerOptions options{
      .rule = GetParam().rule,
      .schedule = OneCycleLR{.total_steps = 700, .cycle_momentum = cycles, .three_phase = true},
      .warmup = {.steps = 100, .start_factor = 0.1}};
  Rig rig(many_segments(), options);
  rig.draw_uniform();
  DeviceTwin eager(rig, options), replayed(rig, options);
  OwnStream own;
  Graph graph(replayed, own.stream);
  const auto set = [&](const auto& change) {
    change(rig.optimizer, nullptr);
    change(eager.optimizer, nullptr);
    change(replayed.optimizer, own.stream);
  };
  for (int step = 0; step < 1000; ++step) {
    if (step == 300)
      set([](Optimizer& optimizer, Stream stream) { optimizer.set_lr(0.003, stream); });
    if (step == 500) {
      Rule rule = rig.optimizer.options().rule;
      std::visit([](auto& held) { held.weight_decay = 0.05; }, rule);
      set([&](Optimizer& optimizer, Stream stream) { optimizer.set_rule(rule, stream); });
    }
    if (step == 900) {
      set([](Optimizer& optimizer, Stream stream) {
        optimizer.set_schedule(PolynomialLR{.total_steps = 2000, .exponent = 0.9}, {}, stream);
      });
    }
    rig.step();
    eager.step();
    graph.replay(own.stream);
  }
  const double lr = rig.optimizer.report().lr;
  EXPECT_EQ(replayed.optimizer.report(own.stream).lr, lr);
  EXPECT_EQ(eager.optimizer.report().lr, lr);
  EXPECT_TRUE(same_bits(eager.params.read(), replayed.params.read()));
  eager.expect_same(rig);
  for (const std::string_view name : rig.optimizer.segment_state_names()) {
    EXPECT_TRUE(same_bits(rig.optimizer.segment_state(name),
                          replayed.optimizer.segment_state(name, own.stream)));
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, CudaScheduleTest, ::testing::ValuesIn(rule_cases),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace gramstep::test
