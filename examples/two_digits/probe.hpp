// Probe: the step done both ways on the same gradients: how long each takes, and that they agree.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <gramstep/gramstep.hpp>

#include "backend.hpp"
#include "unfused.hpp"

namespace two_digits {

/// Relative error of one fp32 rounding.
inline constexpr double rounding_unit = 0x1p-24;

/// By how many roundings two fp32 computations of the combined gradient may differ: mostly those of
/// the dot product, which adds 1024 floats in at least 16 lanes, and a few of the element itself.
inline constexpr double gradient_roundings = 64;

/// The norm of a - b.
double distance(std::span<const float> a, std::span<const float> b);

/// How far two fp32 results of one step may be apart, that took the parameters from `before` to
/// `after`.
double allowed_distance(std::span<const float> before, std::span<const float> after);

/// What was measured.
struct StepTimes {
  double step_us = 0;  ///< median time of the library's step
  /// Where the step was also written by hand: median times of those done both ways. Copies made for
  /// that take the library's operands out of the caches, so that it is slower than in other steps.
  std::optional<double> fused_us, unfused_us;
  double difference = 0;  ///< largest distance of the two results, as a share of what was allowed
};

/// Takes an optimizer's steps. Now and then it takes one by hand as well, on copies, times both and
/// compares them; the training run is what it would be without.
class Probe {
 public:
  Probe(Backend<float>& backend, const gramstep::Optimizer& optimizer);

  /// Takes step `t`, 1 for the first. Throws std::runtime_error where the two ways differ by more
  /// than rounding explains.
  void step(gramstep::Optimizer& optimizer, std::span<float> params,
            const gramstep::Gradients& gradients, std::int64_t t);

  /// The medians so far.
  StepTimes times() const;

 private:
  template <class Step>
  double microseconds(Step step);
  std::vector<float> on_host(std::span<const float> values);
  void compare(std::span<const float> before, std::span<const float> fused, std::int64_t t);

  Backend<float>& backend_;
  std::optional<Unfused> unfused_;
  std::vector<double> step_us_, fused_us_, unfused_us_;
  double difference_ = 0;
};

}  // namespace two_digits
