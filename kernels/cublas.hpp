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
  /// c[i] = alpha a[i] b[i] + beta c[i] of matrices stored by column, `count` of them by pointers in device
  /// memory, alpha and beta in host memory.
  int (*multiply)(Handle handle, int a_operation, int b_operation, int rows, int columns, int inner,
                  const float* alpha, const float* const* a, int a_lead, const float* const* b,
                  int b_lead, const float* beta, float* const* c, int c_lead, int count);

  /// The library of this CUDA version, as the process has it loaded or the system finds it. Throws
  /// DeviceUnavailable where there is none.
  static const Cublas& get();
};

}  // namespace gramstep::kernels
