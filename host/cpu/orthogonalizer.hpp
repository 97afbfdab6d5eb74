// Newton-Schulz' iteration on the CPU: a matrix brought near the orthogonal one that is closest to it.
#pragma once

#include <vector>

#include "host/cpu/leaves.hpp"
#include "host/places.hpp"

namespace gramstep::host {

/// The workspace for a layout's matrices, one after another.
class Orthogonalizer {
 public:
  Orthogonalizer(const Places& places, const Leaves& leaves);

  /// x [columns, rows], stored by column, becomes scale x after the iteration's steps. Runs on that many
  /// threads; its bits do not depend on them.
  void run(const NewtonSchulz& iteration, float scale, const MatrixStack& stack, float* x, int threads);

 private:
  void multiply(const Product& product, int threads) const;

  const Leaves& leaves_;
  std::vector<float> other_;    // the matrix before or after a step
  std::vector<float> gram_;     // x x^T of its shorter side
  std::vector<float> polynomial_;
};

}  // namespace gramstep::host
