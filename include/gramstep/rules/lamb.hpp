// LAMB: Adam's direction, as long as each tensor's parameters.
#pragma once

#include <array>
#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of LAMB's options, the step and the tensor's norms.
struct LAMBScalars {
  float lr;        // times the trust ratio, once it is known
  float moment;    // sqrt(c2) / c1
  float decay;     // weight decay
  float take1;     // 1 - beta1
  float keep2;     // beta2
  float take2;     // 1 - beta2
  float epsilon;   // epsilon * sqrt(c2)
  bool adapts;     // whether there is a trust ratio
};

/// One element of LAMB: the moments in the pass that measures, the step in the second.
struct LAMBUpdate {
  using Scalars = LAMBScalars;
  static constexpr int states = 2;
  static constexpr std::array<std::string_view, 2> state_names{"exp_avg", "exp_avg_sq"};
  static constexpr bool state_done_first = true;

  GRAMSTEP_BODY static void measure(const Scalars& s, float g, float p, float* state,
                                    float (&terms)[2]) {
    state[0] = lerp(state[0], g, s.take1);
    state[1] = s.keep2 * state[1] + s.take2 * g * g;
    const float u = direction(s, p, state);
    terms[0] = p * p;
    terms[1] = u * u;
  }

  /// sums: |p|^2, |u|^2 of the tensor. NaN comes through.
  GRAMSTEP_BODY static void settle(Scalars& s, const double* sums, const MatrixStack&) {
    const bool none = sums[0] == 0 || sums[1] == 0;
    const double ratio = s.adapts && !none ? sqrt(sums[0]) / sqrt(sums[1]) : 1.0;
    s.lr = static_cast<float>(static_cast<double>(s.lr) * ratio);
  }

  GRAMSTEP_BODY static void apply(const Scalars& s, float, float& p, float* state) {
    p = p - s.lr * direction(s, p, state);
  }

 private:
  GRAMSTEP_BODY static float direction(const Scalars& s, float p, const float* state) {
    const float moved = s.moment * state[0] / (sqrtf(state[1]) + s.epsilon);
    return moved + s.decay * p;
  }
};

/// LAMB: layer-wise adaptive moments for batch training.
///
///   m, v as Adam,   u = (m / c1) / (sqrt(v / c2) + epsilon) + weight_decay * p
///   p -= lr r u,   r = |p| / |u| of the tensor, 1 where either is 0
///
/// Source: You et al. 2020, algorithm 2, phi(x) = x. The clip of the gradient by its global norm that
/// its authors use is OptimizerOptions::clip_norm.
/// State: "exp_avg" and "exp_avg_sq", each [N] fp32. |p|^2 and |u|^2 are sums of fp32 squares, added up in
/// fp32 over at most 16 terms, then in double, in the same order on every device: to the same bits. A
/// tensor whose elements are all below 1e-19 counts as zero; a NaN is all of its tensor's.
/// Bytes a parameter, fp32, one task: 40, in two passes: 24 to measure, with the moments, and 16. More tasks
/// are read by the first alone.
struct LAMB {
  double lr = 1e-3;           ///< learning rate, finite, >= 0
  double beta1 = 0.9;         ///< decay of the first moment, in [0, 1)
  double beta2 = 0.999;       ///< decay of the second moment, in [0, 1)
  double epsilon = 1e-6;      ///< added after bias correction, >= 0
  double weight_decay = 0;    ///< added to the direction, >= 0
  bool always_adapt = true;   ///< r for tensors without weight decay too, where some leave it at 1
  bool maximize = false;      ///< ascend instead of descend

  static constexpr std::string_view name = "LAMB";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("beta1", self.beta1);
    visit("beta2", self.beta2);
    visit("epsilon", self.epsilon);
    visit("weight_decay", self.weight_decay);
    visit("always_adapt", self.always_adapt);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<LAMBUpdate>;
  /// Which of Updates these options select.
  int update() const { return 0; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("LAMB.lr", lr, 0);
    expect_in("LAMB.beta1", beta1, 0, 1);
    expect_in("LAMB.beta2", beta2, 0, 1);
    expect_in("LAMB.epsilon", epsilon, 0);
    expect_in("LAMB.weight_decay", weight_decay, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY LAMBScalars scalars(const RuleInput& in) const {
    const double b1 = in.momentum_or(beta1);
    const double c1 = 1.0 - power(b1, in.t);
    const double root_c2 = sqrt(1.0 - power(beta2, in.t));
    return {static_cast<float>(in.lr),
            static_cast<float>(root_c2 / c1),
            static_cast<float>(in.weight_decay),
            static_cast<float>(1.0 - b1),
            static_cast<float>(beta2),
            static_cast<float>(1.0 - beta2),
            static_cast<float>(epsilon * root_c2),
            always_adapt || in.weight_decay != 0};
  }
};

}  // namespace gramstep::inline v1
