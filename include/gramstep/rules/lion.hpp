// Lion: the sign of an interpolated momentum.
#pragma once

#include <array>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of Lion's options and the step.
struct LionScalars {
  float lr;
  float decay;  // lr * weight decay
  float take1;  // 1 - beta1
  float take2;  // 1 - beta2
};

/// One element of Lion.
struct LionUpdate {
  using Scalars = LionScalars;
  static constexpr int states = 1;
  static constexpr std::array<std::string_view, 1> state_names{"exp_avg"};

  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    float& m = state[0];
    p = p - s.decay * p;
    const float direction = lerp(m, g, s.take1);
    // sign(0) = 0, so that a parameter without a gradient stays; a NaN comes through.
    const float sign = direction > 0.0f ? 1.0f : direction < 0.0f ? -1.0f : direction;
    p = p - s.lr * sign;
    m = lerp(m, g, s.take2);
  }
};

/// Lion (evolved sign momentum).
///
///   p -= lr * weight_decay * p
///   p -= lr * sign(beta1 m + (1 - beta1) g),   sign(0) = 0
///   m = beta2 m + (1 - beta2) g
///
/// Source: Chen et al. 2023, algorithm 2.
/// State: "exp_avg" [N] fp32.
/// Bytes a parameter, fp32, one task: 20.
struct Lion {
  double lr = 1e-4;         ///< learning rate, finite, >= 0
  double beta1 = 0.9;       ///< share of the momentum in the direction, in [0, 1)
  double beta2 = 0.99;      ///< decay of the momentum, in [0, 1)
  double weight_decay = 0;  ///< decoupled, multiplied by lr, >= 0
  bool maximize = false;    ///< ascend instead of descend

  static constexpr std::string_view name = "Lion";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("beta1", self.beta1);
    visit("beta2", self.beta2);
    visit("weight_decay", self.weight_decay);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<LionUpdate>;
  /// Which of Updates these options select.
  int update() const { return 0; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("Lion.lr", lr, 0);
    expect_in("Lion.beta1", beta1, 0, 1);
    expect_in("Lion.beta2", beta2, 0, 1);
    expect_in("Lion.weight_decay", weight_decay, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY LionScalars scalars(const RuleInput& in) const {
    return {static_cast<float>(in.lr), static_cast<float>(in.lr * in.weight_decay),
            static_cast<float>(1.0 - in.momentum_or(beta1)), static_cast<float>(1.0 - beta2)};
  }
};

}  // namespace gramstep::inline v1
