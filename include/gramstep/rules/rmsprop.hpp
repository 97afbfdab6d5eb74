// RMSprop: the gradient over the root of its running mean square; centered and with momentum by option.
#pragma once

#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of RMSprop's options and the step.
struct RMSpropScalars {
  float lr;
  float l2;  // weight decay, added to the gradient
  float keep;
  float take;  // 1 - alpha
  float epsilon;
  float momentum;
};

/// One element of RMSprop.
template <bool Momentum, bool Centered>
struct RMSpropUpdate {
  using Scalars = RMSpropScalars;
  static constexpr int states = 1 + Momentum + Centered;
  static constexpr auto state_names = kept_names<states>(
      {{"square_avg"}, {"momentum_buffer", Momentum}, {"grad_avg", Centered}});

  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    g = with_l2(g, p, s.l2);
    float& square = state[0];
    square = s.keep * square + s.take * g * g;
    float variance = square;
    if constexpr (Centered) {
      float& mean = state[states - 1];
      mean = lerp(mean, g, s.take);
      variance = square - mean * mean;
      // Of a steady gradient nothing is left but rounding, which may fall below zero. A NaN stays.
      variance = variance < 0.0f ? 0.0f : variance;
    }
    const float moved = g / (sqrtf(variance) + s.epsilon);
    if constexpr (Momentum) {
      float& b = state[1];
      b = s.momentum * b + moved;
      p = p - s.lr * b;
    } else {
      p = p - s.lr * moved;
    }
  }
};

/// RMSprop as torch.optim.RMSprop does it.
///
///   g += weight_decay * p
///   s = alpha s + (1 - alpha) g^2,   D = sqrt(s) + epsilon
///   centered:       a = a + (1 - alpha)(g - a),   D = sqrt(max(s - a^2, 0)) + epsilon
///   momentum != 0:  b = momentum * b + g / D,   p -= lr * b;   else p -= lr * g / D
///
/// Source: Tieleman and Hinton 2012 (lecture 6.5); Graves 2013, equations 38 to 45 (centered);
/// torch.optim.RMSprop for the order of operations. torch has no maximum with 0: there a steady
/// gradient can become NaN.
/// State: "square_avg" and, by option, "momentum_buffer" and "grad_avg", each [N] fp32.
/// Bytes a parameter, fp32, one task: 20, 8 more with momentum, 8 more if centered.
struct RMSprop {
  double lr = 1e-2;         ///< learning rate, finite, >= 0
  double alpha = 0.99;      ///< decay of the mean square, in [0, 1)
  double epsilon = 1e-8;    ///< added to the root, >= 0
  double momentum = 0;      ///< mu, >= 0; 0: no buffer
  double weight_decay = 0;  ///< L2 penalty, >= 0
  bool centered = false;    ///< divide by the deviation instead of the root of the mean square
  bool maximize = false;    ///< ascend instead of descend

  static constexpr std::string_view name = "RMSprop";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("alpha", self.alpha);
    visit("epsilon", self.epsilon);
    visit("momentum", self.momentum);
    visit("weight_decay", self.weight_decay);
    visit("centered", self.centered);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<RMSpropUpdate<false, false>, RMSpropUpdate<true, false>,
                             RMSpropUpdate<false, true>, RMSpropUpdate<true, true>>;
  /// Which of Updates these options select.
  int update() const { return (momentum != 0 ? 1 : 0) + (centered ? 2 : 0); }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("RMSprop.lr", lr, 0);
    expect_in("RMSprop.alpha", alpha, 0, 1);
    expect_in("RMSprop.epsilon", epsilon, 0);
    expect_in("RMSprop.momentum", momentum, 0);
    expect_in("RMSprop.weight_decay", weight_decay, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY RMSpropScalars scalars(const RuleInput& in) const {
    return {static_cast<float>(in.lr),          static_cast<float>(in.weight_decay),
            static_cast<float>(alpha),          static_cast<float>(1.0 - alpha),
            static_cast<float>(epsilon),        static_cast<float>(in.momentum_or(momentum))};
  }
};

}  // namespace gramstep::inline v1
