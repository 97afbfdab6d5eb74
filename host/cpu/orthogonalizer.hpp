// Newton and Schulz' iteration on the CPU: matrices brought near the orthogonal ones that are closest to
// them.
#pragma once

#include <vector>

#include "host/cpu/leaves.hpp"
#include "host/places.hpp"

namespace gramstep::host {

/// The workspace for a layout's matrices, one after another.
class Orthogonalizer {
 public:
  Orthogonalizer(const Places& places, const Leaves& leaves, int threads);

  /// Takes the iteration's steps on the matrices of active segments in x, the buffer of all batches. The
  /// bits do not depend on the number of threads.
  void run(const NewtonSchulz& iteration, float* x,
           const std::vector<kernels::SegmentState>& segments);

 private:
  void orthogonalize(const NewtonSchulz& iteration, const MatrixBatch& batch, float* x);
  void multiply(const Product& product, int threads) const;

  const Places& places_;
  const Leaves& leaves_;
  const int threads_;
  std::vector<float> other_;  // the matrix before or after a step
  std::vector<float> gram_;   // x x^T of its shorter side
  std::vector<float> polynomial_;
};

}  // namespace gramstep::host
