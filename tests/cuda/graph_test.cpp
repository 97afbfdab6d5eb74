// A step in a CUDA graph: what it consists of, and that replays go on as eager steps do.
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

TEST_F(CudaGraphTest, AStepIsThreeLaunchesAndOneTasksIsTwo) {
  for (const int tasks : {1, 2, 17}) {
    const OptimizerOptions options{.rule = AdamW{}, .aggregator = PCGrad{}, .tasks = tasks};
    Rig rig(many_segments(), options);
    DeviceTwin twin(rig, options);
    OwnStream own;
    const std::vector<cudaGraphNodeType> nodes = Graph(twin, own.stream).nodes();
    EXPECT_EQ(nodes.size(), tasks == 1 ? 2u : 3u);
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

}  // namespace
}  // namespace gramstep::test
