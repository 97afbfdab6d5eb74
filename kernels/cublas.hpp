// The few functions of cuBLAS that the library calls, found at run time: no build needs cuBLAS, and no
// program but one that orthogonalises matrices on CUDA.
#pragma once

#include <cstddef>

#include "gramstep/optimizer.hpp"

namespace gramstep::kernels {

/// cuBLAS' C interface: statuses are 0 for success, operations 0 for a matrix as it is stored and 1 for its
/// transpose.
struct Cublas {
  using Handle = void*;
  static constexpr int plain = 0, transposed = 1;

  int (*create)(Handle* handle);
  int (*destroy)(Handle handle);
  int (*set_stream)(Handle handle, Stream stream);
  int (*set_workspace)(Handle handle, void* workspace, std::size_t bytes);
  /// c = alpha a b + beta c of `count` matrices each, stored by column, so many elements apart; alpha and
  /// beta in host memory.
  int (*multiply)(Handle handle, int a_operation, int b_operation, int rows, int columns, int inner,
                  const float* alpha, const float* a, int a_lead, long long a_stride,
                  const float* b, int b_lead, long long b_stride, const float* beta, float* c,
                  int c_lead, long long c_stride, int count);

  /// The library of this CUDA version, as the process has it loaded or the system finds it. Throws
  /// DeviceUnavailable where there is none.
  static const Cublas& get();
};

}  // namespace gramstep::kernels
