// Newton and Schulz' iteration on CUDA: matrices brought near the orthogonal ones that are closest to them,
// by cuBLAS, all matrices of one shape in one call.
#pragma once

#include "host/places.hpp"
#include "kernels/cublas.hpp"
#include "kernels/device_array.cuh"

namespace gramstep::kernels {

/// The workspace for a layout's matrices. Takes its memory, cuBLAS' own included, when it is made; its work
/// may then be captured in a graph.
class Orthogonalizer {
 public:
  /// On the current device. Throws DeviceUnavailable where cuBLAS is not found, InvalidArgument for a matrix
  /// that it cannot address, OutOfMemory, CudaError.
  explicit Orthogonalizer(const std::vector<host::MatrixBatch>& batches);
  ~Orthogonalizer();
  Orthogonalizer(const Orthogonalizer&) = delete;
  Orthogonalizer& operator=(const Orthogonalizer&) = delete;

  /// Queues the iteration on the matrices in x, the buffer of all batches. Throws CudaError.
  void run(const NewtonSchulz& iteration, float* x, Stream stream);

 private:
  void take_step(const host::MatrixBatch& batch, const NewtonSchulz& by, const float* from,
                 float* to, Stream stream);

  const std::vector<host::MatrixBatch>& batches_;
  const Cublas& cublas_;
  DeviceArray<char> workspace_;
  DeviceArray<float> others_;  // the matrices before or after a step
  DeviceArray<float> grams_;   // x x^T of the shorter side
  DeviceArray<float> polynomials_;
  Cublas::Handle handle_ = nullptr;
};

}  // namespace gramstep::kernels
