// Model: hard parameter sharing. A trunk that all tasks share, and a linear head for each.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <gramstep/gramstep.hpp>

#include "backend.hpp"
#include "gradient_buffer.hpp"
#include "pairs.hpp"

namespace two_digits {

/// Widths of the image and of the trunk's layers; ReLU after each layer.
inline constexpr std::array<std::int64_t, 3> widths{canvas_pixels, 256, 128};
inline constexpr std::size_t layers = widths.size() - 1;

/// The segments: trunk.<layer>.weight [out, in] and .bias [out], shared, then each head's
/// <task>.weight and <task>.bias. Biases do not decay.
gramstep::Layout model_layout();

/// Parameters to begin with: weights uniform with variance 2 / fan-in (He et al. 2015),
/// biases zero.
std::vector<float> initial_parameters(const gramstep::Layout& layout, std::uint64_t seed);

/// The network, for batches of up to `batch` images. Parameters and gradients are the caller's, on
/// the backend's device; the activations are the model's.
template <class Real>
class Model {
 public:
  Model(Backend<Real>& backend, const gramstep::Layout& layout, std::int64_t batch);

  /// Runs trunk and heads once; `images` [rows, canvas_pixels] is host memory.
  void forward(const Real* params, std::span<const Real> images);

  /// After forward, one pass back through its head and the trunk for each task: writes the gradient
  /// of scales[task] times its loss. Returns the losses, mean cross-entropy, not scaled.
  std::array<Real, tasks> backward(const Real* params,
                                   const std::array<std::vector<int>, tasks>& labels,
                                   const std::array<Real, tasks>& scales,
                                   const GradientBuffer<Real>& gradients);

  /// After forward, the likeliest class of each image for a task.
  std::vector<int> predictions(std::size_t task) const;

 private:
  Matrix<Real> rows_of(const Buffer<Real>& buffer, std::int64_t width) const {
    return {buffer.data(), rows_, width};
  }
  Matrix<Real> activation(std::size_t l) const { return rows_of(activations_[l], widths[l]); }
  Matrix<Real> logits(std::size_t task) const { return rows_of(logits_[task], classes); }
  Matrix<const Real> weight(const Real* params, const std::string& layer) const;

  void linear(const Real* params, const std::string& layer, Matrix<Real> x, Matrix<Real> y);
  void linear_weights(std::size_t task, const std::string& layer, Matrix<Real> x, Matrix<Real> dy,
                      const GradientBuffer<Real>& gradients);
  void backward_trunk(const Real* params, std::size_t task, const GradientBuffer<Real>& gradients);

  Backend<Real>& backend_;
  gramstep::Layout layout_;
  std::int64_t batch_;
  std::int64_t rows_ = 0;                             // of the batch at hand
  std::array<Buffer<Real>, layers + 1> activations_;  // of the image and each layer
  std::array<Buffer<Real>, layers + 1> gradients_;  // of a loss in those; the image's is not formed
  std::array<Buffer<Real>, tasks> logits_;
  Buffer<Real> dlogits_;
  Buffer<Real> losses_;  // [tasks]
};

}  // namespace two_digits
