// DeviceTwin: a CUDA optimizer beside a rig's CPU optimizer, on copies of the same memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdlib>
#include <memory>

#include "tests/rig.hpp"

namespace gramstep::test {

#define GRAMSTEP_CUDA_OK(call) \
  ASSERT_EQ((call), cudaSuccess) << cudaGetErrorString(cudaGetLastError())

/// Tests that need a GPU: skipped, visibly, where there is none; failed where one is required.
class CudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda_devices() > 0) return;
    const char* required = std::getenv("GRAMSTEP_REQUIRE_GPU");
    if (required != nullptr && std::string_view(required) == "1") {
      FAIL() << "GRAMSTEP_REQUIRE_GPU=1, and there is no CUDA device";
    }
    GTEST_SKIP() << "there is no CUDA device";
  }
};

/// Device memory of that many floats, `shift` floats beyond an allocation's start.
class DeviceFloats {
 public:
  explicit DeviceFloats(std::int64_t size, int shift = 0)
      : size_(static_cast<std::size_t>(size)), shift_(static_cast<std::size_t>(shift)) {
    if (cudaMalloc(&memory_, (size_ + shift_) * sizeof(float)) != cudaSuccess) {
      cudaGetLastError();
      memory_ = nullptr;
    }
  }
  explicit DeviceFloats(const Floats& from, int shift = 0)
      : DeviceFloats(std::ssize(from.span()), shift) {
    copy_from(from);
  }
  DeviceFloats(DeviceFloats&& from) noexcept
      : size_(from.size_), shift_(from.shift_), memory_(std::exchange(from.memory_, nullptr)) {}
  DeviceFloats& operator=(DeviceFloats&&) = delete;
  ~DeviceFloats() { cudaFree(memory_); }

  bool there() const { return memory_ != nullptr; }
  float* data() const { return memory_ + shift_; }
  std::span<float> span() const { return {data(), size_}; }

  void copy_from(const Floats& from) {
    cudaMemcpy(data(), from.data(), size_ * sizeof(float), cudaMemcpyHostToDevice);
  }
  std::vector<float> read() const {
    std::vector<float> values(size_);
    cudaMemcpy(values.data(), data(), size_ * sizeof(float), cudaMemcpyDeviceToHost);
    return values;
  }

 private:
  std::size_t size_, shift_;
  float* memory_ = nullptr;
};

class DeviceTwin {
 public:
  DeviceTwin(const Rig& rig, OptimizerOptions options, int shift = 0)
      : optimizer(rig.optimizer.layout(), on_device(std::move(options))),
        params(rig.params, shift),
        heads(rig.heads, shift) {
    for (const Floats& row : rig.rows) rows.emplace_back(row, shift);
    for (const DeviceFloats& row : rows) row_pointers_.push_back(row.data());
  }

  /// Takes over the rig's gradients.
  void follow(const Rig& rig) {
    heads.copy_from(rig.heads);
    for (std::size_t k = 0; k < rows.size(); ++k) rows[k].copy_from(rig.rows[k]);
  }
  Gradients gradients() const {
    return {row_pointers_, optimizer.layout().shared_size(), heads.span()};
  }
  void step(Stream stream = nullptr) { optimizer.step(params.span(), gradients(), stream); }

  /// That parameters and state have the rig's bits.
  void expect_same(Rig& rig) {
    EXPECT_TRUE(same_bits(params.read(), rig.params.span()));
    for (int s = 0; s < optimizer.layout().segments(); ++s) {
      const std::string segment = optimizer.layout().segment(s).name;
      for (const std::string_view name : optimizer.state_names(segment)) {
        const TensorView<float> on_device = optimizer.state(name, segment);
        std::vector<float> read(static_cast<std::size_t>(on_device.size));
        cudaMemcpy(read.data(), on_device.data, read.size() * sizeof(float),
                   cudaMemcpyDeviceToHost);
        EXPECT_TRUE(same_bits(read, rig.optimizer.state(name, segment).span())) << name << segment;
      }
    }
    EXPECT_EQ(optimizer.segment_steps(), rig.optimizer.segment_steps());
  }

  Optimizer optimizer;
  DeviceFloats params, heads;
  std::vector<DeviceFloats> rows;

 private:
  static OptimizerOptions on_device(OptimizerOptions options) {
    options.device = cuda();
    return options;
  }

  std::vector<const float*> row_pointers_;
};

/// A stream that may be captured.
struct OwnStream {
  OwnStream() { cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking); }
  ~OwnStream() { cudaStreamDestroy(stream); }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  cudaStream_t stream = nullptr;
};

}  // namespace gramstep::test
