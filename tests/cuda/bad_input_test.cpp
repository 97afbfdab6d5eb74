// Bad input that only a GPU machine can make.
#include "tests/cuda/device_twin.hpp"

namespace gramstep::test {
namespace {

using CudaBadInputTest = CudaTest;

Layout small_layout() {
  Layout layout;
  layout.add("weight", {300});
  return layout;
}

TEST_F(CudaBadInputTest, HostMemoryOnTheDeviceAndTheReverse) {
  const OptimizerOptions options{.rule = SGD{}};
  Rig rig(small_layout(), options);
  DeviceTwin twin(rig, options);
  expect_error<InvalidArgument>([&] { twin.optimizer.step(rig.params.span(), twin.gradients()); },
                                {"params", "host memory"});
  expect_error<InvalidArgument>([&] { twin.optimizer.step(twin.params.span(), rig.gradients()); },
                                {"gradients.rows[0]", "host memory"});
  expect_error<InvalidArgument>([&] { rig.optimizer.step(twin.params.span(), rig.gradients()); },
                                {"params", "CUDA"});
  EXPECT_EQ(twin.optimizer.report().steps, 0);
  EXPECT_EQ(rig.optimizer.report().steps, 0);
}

TEST_F(CudaBadInputTest, ADeviceThatIsNotThere) {
  const int devices = cuda_devices();
  expect_error<DeviceUnavailable>([&] { Optimizer(small_layout(), {.device = cuda(devices)}); },
                                  {"cuda(" + std::to_string(devices) + ")"});
}

TEST_F(CudaBadInputTest, AStreamOfAnotherDevice) {
  if (cuda_devices() < 2) GTEST_SKIP() << "there is one CUDA device";
  const OptimizerOptions options{.rule = SGD{}};
  Rig rig(small_layout(), options);
  DeviceTwin twin(rig, options);
  GRAMSTEP_CUDA_OK(cudaSetDevice(1));
  const OwnStream other;
  GRAMSTEP_CUDA_OK(cudaSetDevice(0));
  expect_error<InvalidArgument>([&] { twin.step(other.stream); }, {"stream", "device 1"});
}

TEST_F(CudaBadInputTest, MoreStateThanThereIsMemory) {
  Layout layout;
  layout.add("vast", {std::int64_t{1} << 38});
  std::size_t before = 0, after = 0, total = 0;
  GRAMSTEP_CUDA_OK(cudaMemGetInfo(&before, &total));
  EXPECT_THROW(Optimizer(layout, {.rule = Adam{}, .device = cuda()}), OutOfMemory);
  GRAMSTEP_CUDA_OK(cudaMemGetInfo(&after, &total));
  EXPECT_GE(after, before);  // the driver may have given back some of its own
}

}  // namespace
}  // namespace gramstep::test
