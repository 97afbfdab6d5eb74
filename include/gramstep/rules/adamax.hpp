// Adamax: Adam by the infinity norm.
#pragma once

#include <array>
#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of Adamax's options and the step.
struct AdamaxScalars {
  float step;  // lr / c1
  float l2;    // weight decay, added to the gradient
  float take1;
  float keep2;
  float epsilon;
};

/// One element of Adamax.
struct AdamaxUpdate {
  using Scalars = AdamaxScalars;
  static constexpr int states = 2;
  static constexpr std::array<std::string_view, 2> state_names{"exp_avg", "exp_inf"};

  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    g = with_l2(g, p, s.l2);
    float& m = state[0];
    float& u = state[1];
    m = lerp(m, g, s.take1);
    const float kept = s.keep2 * u, seen = fabsf(g) + s.epsilon;
    // A NaN on either side must come through: comparisons with NaN are false.
    u = !(seen > kept) && seen == seen ? kept : seen;
    p = p - s.step * m / u;
  }
};

/// Adamax as torch.optim.Adamax does it.
///
///   g += weight_decay * p
///   m = m + (1 - beta1)(g - m),   u = max(beta2 u, |g| + epsilon),   p -= lr / (1 - beta1^t) * m / u
///
/// Source: Kingma and Ba 2015, algorithm 2; torch.optim.Adamax for the place of epsilon.
/// epsilon = 0 and a gradient that has always been 0 give 0 / 0, as in torch.
/// State: "exp_avg" and "exp_inf", each [N] fp32.
/// Bytes a parameter, fp32, one task: 28.
struct Adamax {
  double lr = 2e-3;         ///< learning rate, finite, >= 0
  double beta1 = 0.9;       ///< decay of the first moment, in [0, 1)
  double beta2 = 0.999;     ///< decay of the infinity norm, in [0, 1)
  double epsilon = 1e-8;    ///< added to |g|, >= 0
  double weight_decay = 0;  ///< L2 penalty, >= 0
  bool maximize = false;    ///< ascend instead of descend

  static constexpr std::string_view name = "Adamax";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("beta1", self.beta1);
    visit("beta2", self.beta2);
    visit("epsilon", self.epsilon);
    visit("weight_decay", self.weight_decay);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<AdamaxUpdate>;
  /// Which of Updates these options select.
  int update() const { return 0; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("Adamax.lr", lr, 0);
    expect_in("Adamax.beta1", beta1, 0, 1);
    expect_in("Adamax.beta2", beta2, 0, 1);
    expect_in("Adamax.epsilon", epsilon, 0);
    expect_in("Adamax.weight_decay", weight_decay, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY AdamaxScalars scalars(const RuleInput& in) const {
    const double b1 = in.momentum_or(beta1);
    return {static_cast<float>(in.lr / (1.0 - power(b1, in.t))),
            static_cast<float>(in.weight_decay), static_cast<float>(1.0 - b1),
            static_cast<float>(beta2), static_cast<float>(epsilon)};
  }
};

}  // namespace gramstep::inline v1
