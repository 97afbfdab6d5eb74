// Loss scales on the device: one that adapts, and those that somebody else keeps.
#include "tests/cases.hpp"
#include "tests/cuda/device_twin.hpp"

namespace gramstep::test {
namespace {

using CudaLossScaleTest = CudaTest;

/// Two numbers that the test writes, on the device.
struct Flags {
  Flags(float first, float second) : on_device(2) { set(first, second); }
  void set(float first, float second) const {
    const float values[] = {first, second};
    cudaMemcpy(on_device.data(), values, sizeof values, cudaMemcpyHostToDevice);
  }
  DeviceFloats on_device;
};

float read(const float* on_device) {
  float value = 0;
  cudaMemcpy(&value, on_device, sizeof value, cudaMemcpyDeviceToHost);
  return value;
}

TEST_F(CudaLossScaleTest, OneThatAdaptsHasTheValuesOfTheCpu) {
  for (const int tasks : {1, 3}) {
    const OptimizerOptions options{
        .rule = AdamW{.lr = 0.01},
        .tasks = tasks,
        .loss_scale = 8,
        .dynamic_loss_scale = DynamicLossScale{.growth_factor = 3, .growth_interval = 2}};
    Rig rig(awkward_layout(tasks), options);
    DeviceTwin twin(rig, options);
    for (int step = 0; step < 12; ++step) {
      rig.draw_uniform();
      if (step % 5 == 3) rig.gradient("shared129")[7] = INFINITY;
      twin.follow(rig);
      rig.step();
      twin.step();
      EXPECT_EQ(read(twin.optimizer.loss_scale_data()), *rig.optimizer.loss_scale_data()) << step;
    }
    EXPECT_EQ(twin.optimizer.report().skipped_steps, 2);
    twin.expect_same(rig);
    twin.optimizer.set_loss_scale(5);
    EXPECT_EQ(read(twin.optimizer.loss_scale_data()), 5.0f);
  }
}

TEST_F(CudaLossScaleTest, GradScaleAndFoundInfAreReadOnTheDevice) {
  for (const int tasks : {1, 2}) {
    const OptimizerOptions options{.rule = NAdam{.lr = 0.01}, .tasks = tasks};
    Rig rig(awkward_layout(tasks), options);
    DeviceTwin twin(rig, options);
    const Flags flags(1, 0);
    OwnStream own;
    for (const auto& [scale, found] :
         {std::pair(4.0f, 0.0f), std::pair(4.0f, 2.0f), std::pair(2.0f, 0.5f),
          std::pair(0.0f, 0.0f), std::pair(NAN, 0.0f), std::pair(8.0f, 0.0f)}) {
      rig.draw_uniform();
      twin.follow(rig);
      flags.set(scale, found);
      cudaDeviceSynchronize();
      Gradients here = rig.gradients(), there = twin.gradients();
      here.grad_scale = &scale;
      here.found_inf = &found;
      there.grad_scale = flags.on_device.data();
      there.found_inf = flags.on_device.data() + 1;
      rig.optimizer.step(rig.params.span(), here);
      twin.optimizer.step(twin.params.span(), there, own.stream);
      EXPECT_EQ(twin.optimizer.report(own.stream).skipped, rig.optimizer.report().skipped);
    }
    EXPECT_EQ(twin.optimizer.report(own.stream).steps, 2);
    twin.expect_same(rig);
  }
}

/// What a graph was captured with is where it looks, and not what it saw.
TEST_F(CudaLossScaleTest, AGraphReadsTheNumbersAnew) {
  const OptimizerOptions options{.rule = SGD{.lr = 0.5}};
  Rig rig(awkward_layout(1), options);
  rig.draw_uniform();
  DeviceTwin twin(rig, options);
  const Flags flags(1, 1);
  OwnStream own;
  Gradients gradients = twin.gradients();
  gradients.grad_scale = flags.on_device.data();
  gradients.found_inf = flags.on_device.data() + 1;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cudaStreamBeginCapture(own.stream, cudaStreamCaptureModeThreadLocal);
  twin.optimizer.step(twin.params.span(), gradients, own.stream);
  cudaStreamEndCapture(own.stream, &graph);
  GRAMSTEP_CUDA_OK(cudaGraphInstantiate(&executable, graph, 0));
  for (const auto& [scale, found] :
       {std::pair(1.0f, 1.0f), std::pair(2.0f, 0.0f), std::pair(4.0f, 0.0f)}) {
    flags.set(scale, found);
    cudaDeviceSynchronize();
    cudaGraphLaunch(executable, own.stream);
    cudaStreamSynchronize(own.stream);
    if (found == 0) {
      rig.optimizer.set_loss_scale(static_cast<double>(scale));
      rig.step();
    }
  }
  EXPECT_TRUE(same_bits(twin.params.read(), rig.params.span()));
  EXPECT_EQ(twin.optimizer.report(own.stream).skipped_steps, 1);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
}

TEST_F(CudaLossScaleTest, HostMemoryIsRefused) {
  const OptimizerOptions options{.rule = SGD{}};
  Rig rig(awkward_layout(1), options);
  DeviceTwin twin(rig, options);
  const Flags flags(1, 0);
  const float one = 1;
  const auto step = [](auto& of, const float* grad_scale, const float* found_inf) {
    Gradients gradients = of.gradients();
    gradients.grad_scale = grad_scale;
    gradients.found_inf = found_inf;
    of.optimizer.step(of.params.span(), gradients);
  };
  expect_error<InvalidArgument>([&] { step(twin, &one, nullptr); },
                                {"gradients.grad_scale", "host memory"});
  expect_error<InvalidArgument>([&] { step(twin, nullptr, &one); },
                                {"gradients.found_inf", "host memory"});
  expect_error<InvalidArgument>([&] { step(rig, nullptr, flags.on_device.data()); },
                                {"gradients.found_inf", "CUDA"});
  EXPECT_EQ(twin.optimizer.report().steps, 0);
}

/// A run goes from one device to the other by name.
TEST_F(CudaLossScaleTest, ARunMovesBetweenDevices) {
  for (const Rule& rule : {Rule(NAdam{.lr = 0.01}), Rule(ScheduleFreeAdamW{.lr = 0.01})}) {
    const OptimizerOptions options{.rule = rule, .tasks = 2, .loss_scale = 4};
    Rig rig(awkward_layout(2), options);
    rig.draw_and_step(3);
    DeviceTwin twin(rig, options);
    twin.optimizer.import_run(rig.optimizer.export_run());
    rig.draw_uniform();
    twin.follow(rig);
    rig.step();
    twin.step();
    twin.expect_same(rig);
    const SavedRun here = rig.optimizer.export_run(), there = twin.optimizer.export_run();
    for (const auto& [name, segment] : here.segments) {
      EXPECT_EQ(segment.scalars, there.segments.at(name).scalars) << name;
    }
  }
}

}  // namespace
}  // namespace gramstep::test
