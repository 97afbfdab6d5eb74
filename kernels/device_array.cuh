// Memory of a CUDA device.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "kernels/device_context.cuh"

namespace gramstep::kernels {

/// Waits for what the default stream was asked to set or copy: a stream that does not wait for the
/// default stream may be the first to use it.
inline void settle() { check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize"); }

/// Where an array that a device's kernels use is.
enum class Home {
  device,
  host,  ///< in pinned memory, which kernels read and write over the bus
};

/// Zeroed memory for the current device; see settle().
template <class T>
class DeviceArray {
 public:
  DeviceArray(std::int64_t count, const char* what, Home home = Home::device)
      : count_(static_cast<std::size_t>(count)), home_(home) {
    if (count_ == 0) return;
    const cudaError_t status =
        count_ > SIZE_MAX / sizeof(T) ? cudaErrorMemoryAllocation : allocate(count_ * sizeof(T));
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      throw OutOfMemory(std::string("Optimizer: cuda: no ") +
                        (home == Home::host ? "pinned host memory" : "memory") + " for " + what +
                        ", " + std::to_string(count) + " of " + std::to_string(sizeof(T)) +
                        " bytes");
    }
    check(status, "cudaMalloc");
    const cudaError_t zeroed = zero();
    if (zeroed != cudaSuccess) free();  // the destructor of a half-made object does not run
    check(zeroed, "cudaMemset");
  }
  DeviceArray(const std::vector<T>& from, const char* what)
      : DeviceArray(static_cast<std::int64_t>(from.size()), what) {
    write(from.data());
  }
  // A driver that is shutting down has freed it already: the status is of no use.
  ~DeviceArray() { free(); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }

  void write(const T* from) { write({from, count_}, 0); }
  void write(std::span<const T> from, std::int64_t at) {
    if (from.empty()) return;
    check(cudaMemcpy(data_ + at, from.data(), from.size_bytes(), cudaMemcpyHostToDevice),
          "cudaMemcpy");
    settle();
  }
  void read(T* to, Stream stream) const {
    if (count_ == 0) return;
    check(cudaMemcpyAsync(to, data_, count_ * sizeof(T), cudaMemcpyDeviceToHost, stream),
          "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  }

 private:
  cudaError_t allocate(std::size_t bytes) {
    void** to = reinterpret_cast<void**>(&data_);
    return home_ == Home::device ? cudaMalloc(to, bytes)
                                 : cudaHostAlloc(to, bytes, cudaHostAllocMapped);
  }
  cudaError_t zero() {
    if (home_ == Home::device) return cudaMemset(data_, 0, count_ * sizeof(T));
    std::memset(static_cast<void*>(data_), 0, count_ * sizeof(T));
    return cudaSuccess;
  }
  void free() { home_ == Home::device ? cudaFree(data_) : cudaFreeHost(data_); }

  std::size_t count_;
  Home home_;
  T* data_ = nullptr;
};

}  // namespace gramstep::kernels
