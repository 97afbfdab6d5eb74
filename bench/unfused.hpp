// Unfused: the step as it is written by hand, a pass over memory for every operation.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/memory.hpp"
#include "bench/unfused_rules.hpp"

namespace gramstep::bench {

/// PCGrad (sum, fixed order) with loss scale, clip by global norm and AdamW. Every pass is a plain
/// parallel loop, vectorised for this machine. A projected gradient is added to the sum as soon as
/// it is done, as a careful programmer would, so K rows need one temporary, not K.
class Unfused {
 public:
  /// Works in place on the first `size` elements of these gradients, with a scale and a clip that
  /// leave their values as they are, and on parameters and state of its own.
  Unfused(const Rows& rows, std::int64_t size);

  void step();

  std::span<const float> first_moment() const { return rule_.state(); }

  /// Bytes that the last step moved: they depend on how many pairs were in conflict.
  std::int64_t bytes() const { return 4 * streams_ * size_; }

 private:
  void unscale();
  void combine();
  void project(int task);
  void clip(float* gradient);

  void scale(float factor, float* x);
  void copy(const float* x, float* y);
  void axpy(float factor, const float* x, float* y);
  float dot(const float* x, const float* y);

  const Rows& rows_;
  std::int64_t size_;
  Floats projected_, combined_, params_;
  UnfusedRule rule_;
  std::vector<float> squares_;  // [K] squared norms of the rows
  std::int64_t steps_ = 0;
  std::int64_t streams_ = 0;  // arrays read or written by the last step
};

}  // namespace gramstep::bench
