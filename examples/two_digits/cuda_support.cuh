// What the CUDA sources share: checked calls, a cuBLAS handle, an elementwise kernel.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

namespace two_digits {

inline void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

inline void check(cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS) throw std::runtime_error(cublasGetStatusString(status));
}

struct BlasDeleter {
  void operator()(cublasContext* handle) const { cublasDestroy(handle); }
};
using Blas = std::unique_ptr<cublasContext, BlasDeleter>;

/// A cuBLAS handle on the default stream that keeps to fp32.
inline Blas make_blas() {
  cublasHandle_t handle = nullptr;
  check(cublasCreate(&handle));
  Blas blas(handle);
  check(cublasSetMathMode(handle, CUBLAS_PEDANTIC_MATH));
  return blas;
}

template <class Function>
__global__ void each_kernel(std::int64_t size, Function function) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) function(i);
}

/// Calls function(i) on the device for i in [0, size).
template <class Function>
void each(std::int64_t size, Function function) {
  constexpr int threads = 256;
  if (size == 0) return;
  each_kernel<<<static_cast<unsigned>((size + threads - 1) / threads), threads>>>(size, function);
  check(cudaGetLastError());
}

}  // namespace two_digits
