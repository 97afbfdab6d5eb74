// Memory of a CUDA device for the benchmarks, filled with random numbers, and errors as exceptions.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "gramstep/precision.hpp"

namespace gramstep::bench {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

/// Floats of the current device.
class DeviceFloats {
 public:
  explicit DeviceFloats(std::int64_t count) : bytes_(static_cast<std::size_t>(count) * 4) {
    check(cudaMalloc(&data_, bytes_), "cudaMalloc");
  }
  ~DeviceFloats() { cudaFree(data_); }
  DeviceFloats(const DeviceFloats&) = delete;
  DeviceFloats& operator=(const DeviceFloats&) = delete;

  float* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

  /// Fills with random numbers in [-1, 1), or as many bytes of bfloat16: 16 MiB of them, then copies of what
  /// there is.
  void fill(std::uint32_t seed, DType dtype = DType::float32) const {
    std::vector<float> numbers(std::min(bytes_ / 4, std::size_t{1} << 22));
    std::uint32_t bits = seed;
    const auto draw = [&] {
      bits = bits * 1664525u + 1013904223u;
      return static_cast<float>(static_cast<std::int32_t>(bits)) / 2147483648.0f;
    };
    for (float& number : numbers) {
      number = draw();
      if (dtype != DType::bfloat16) continue;
      const auto first = std::bit_cast<std::uint32_t>(number) >> 16;
      const auto second = std::bit_cast<std::uint32_t>(draw()) & 0xffff0000;
      number = std::bit_cast<float>(second | first);
    }
    std::size_t filled = numbers.size() * 4;
    check(cudaMemcpy(data_, numbers.data(), filled, cudaMemcpyHostToDevice), "cudaMemcpy");
    while (filled < bytes_) {
      const std::size_t more = std::min(filled, bytes_ - filled);
      check(cudaMemcpy(data_ + filled / 4, data_, more, cudaMemcpyDeviceToDevice), "cudaMemcpy");
      filled += more;
    }
  }

 private:
  std::size_t bytes_;
  float* data_ = nullptr;
};

/// Doubles of the current device.
class DeviceDoubles {
 public:
  explicit DeviceDoubles(std::int64_t count) : floats_(2 * count), size_(count) {}
  explicit DeviceDoubles(const std::vector<double>& from) : DeviceDoubles(std::ssize(from)) {
    check(cudaMemcpy(floats_.data(), from.data(), floats_.bytes(), cudaMemcpyHostToDevice),
          "cudaMemcpy");
  }

  std::span<double> span() const {
    return {reinterpret_cast<double*>(floats_.data()), static_cast<std::size_t>(size_)};
  }

 private:
  DeviceFloats floats_;
  std::int64_t size_;
};

/// K gradient rows of the current device, of an even number of elements.
class DeviceRows {
 public:
  DeviceRows(int tasks, std::int64_t size, DType dtype)
      : all_(tasks * (size * size_of(dtype) / 4 + padding)) {
    all_.fill(1, dtype);
    const std::int64_t apart = size * size_of(dtype) / 4 + padding;
    for (int k = 0; k < tasks; ++k) pointers_.push_back(all_.data() + k * apart);
  }

  /// [K], whatever their type
  std::span<const float* const> pointers() const { return pointers_; }

 private:
  static constexpr std::int64_t padding = 1120;  // rows of one size do not repeat each other
  DeviceFloats all_;
  std::vector<const float*> pointers_;
};

}  // namespace gramstep::bench
