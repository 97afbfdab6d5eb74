// Newton-Schulz' iteration on CUDA: matrices brought near the orthogonal ones that are closest to them, by
// cuBLAS, all matrices of one shape in one call.
#pragma once

#include <memory>
#include <vector>

#include "gramstep/optimizer.hpp"
#include "kernels/step_data.hpp"

namespace gramstep::kernels {

/// A matrix to be orthogonalised: its place, and where its elements are in the buffer of them all.
struct PlacedMatrix {
  std::int64_t rows, columns;
  std::int64_t at;
};

/// The products of a layout's matrices. Takes its memory, cuBLAS' workspace included, when it is made; may
/// then be captured in a graph.
class Orthogonalizer {
 public:
  /// x: the buffer of the matrices, on the current device. Throws DeviceUnavailable where cuBLAS is not
  /// found, OutOfMemory, CudaError.
  Orthogonalizer(const std::vector<PlacedMatrix>& matrices, float* x);
  ~Orthogonalizer();

  /// Queues the iteration on matrices that have been brought to length 1. Throws CudaError.
  void run(const NewtonSchulz& iteration, Stream stream);

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace gramstep::kernels
