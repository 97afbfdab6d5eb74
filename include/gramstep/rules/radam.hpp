// RAdam: Adam that goes by momentum alone until the second moment's variance is tractable.
#pragma once

#include <array>
#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of RAdam's options and the step.
struct RAdamScalars {
  float step;   // lr sqrt(c2) r / c1 where rectified, else lr / c1
  float decay;  // lr * weight decay, decoupled
  float l2;     // weight decay, added to the gradient
  float take1;  // 1 - beta1
  float keep2;  // beta2
  float take2;  // 1 - beta2
  float epsilon;
  bool rectified;
};

/// One element of RAdam.
struct RAdamUpdate {
  using Scalars = RAdamScalars;
  static constexpr int states = 2;
  static constexpr std::array<std::string_view, 2> state_names{"exp_avg", "exp_avg_sq"};

  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    float& m = state[0];
    float& v = state[1];
    p = p - s.decay * p;
    g = with_l2(g, p, s.l2);
    m = lerp(m, g, s.take1);
    v = s.keep2 * v + s.take2 * g * g;
    const float step = s.step * m;
    p = p - (s.rectified ? step / (sqrtf(v) + s.epsilon) : step);
  }
};

/// Rectified Adam as torch.optim.RAdam does it.
///
///   decoupled_weight_decay ? p -= lr * weight_decay * p : g += weight_decay * p
///   m, v as Adam,   rho_inf = 2 / (1 - beta2) - 1,   rho = rho_inf - 2 t beta2^t / c2
///   rho > 5:  p -= (m / c1) lr r sqrt(c2) / (sqrt(v) + epsilon),
///             r = sqrt((rho - 4)(rho - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho))
///   else      p -= lr m / c1
///
/// Source: Liu et al. 2020, algorithm 2; torch.optim.RAdam for epsilon, which no bias correction
/// reaches, and for the limit 5, where the paper has 4.
/// State: "exp_avg" and "exp_avg_sq", each [N] fp32.
/// Bytes a parameter, fp32, one task: 28.
struct RAdam {
  double lr = 1e-3;                     ///< learning rate, finite, >= 0
  double beta1 = 0.9;                   ///< decay of the first moment, in [0, 1)
  double beta2 = 0.999;                 ///< decay of the second moment, in [0, 1)
  double epsilon = 1e-8;                ///< added to the root of v, >= 0
  double weight_decay = 0;              ///< >= 0
  bool decoupled_weight_decay = false;  ///< as AdamW's instead of an L2 penalty
  bool maximize = false;                ///< ascend instead of descend

  static constexpr std::string_view name = "RAdam";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("beta1", self.beta1);
    visit("beta2", self.beta2);
    visit("epsilon", self.epsilon);
    visit("weight_decay", self.weight_decay);
    visit("decoupled_weight_decay", self.decoupled_weight_decay);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<RAdamUpdate>;
  /// Which of Updates these options select.
  int update() const { return 0; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("RAdam.lr", lr, 0);
    expect_in("RAdam.beta1", beta1, 0, 1);
    expect_in("RAdam.beta2", beta2, 0, 1);
    expect_in("RAdam.epsilon", epsilon, 0);
    expect_in("RAdam.weight_decay", weight_decay, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY RAdamScalars scalars(const RuleInput& in) const {
    const double b1 = in.momentum_or(beta1);
    const double c1 = 1.0 - power(b1, in.t);
    const double beta2_t = power(beta2, in.t), c2 = 1.0 - beta2_t;
    const double rho_inf = 2.0 / (1.0 - beta2) - 1.0;
    const double rho = rho_inf - 2.0 * static_cast<double>(in.t) * beta2_t / c2;
    const bool rectified = rho > 5.0;
    const double squared =
        (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho);
    const double step = in.lr / c1 * (rectified ? sqrt(squared) * sqrt(c2) : 1.0);
    return {static_cast<float>(step),
            static_cast<float>(decoupled_weight_decay ? in.lr * in.weight_decay : 0.0),
            static_cast<float>(decoupled_weight_decay ? 0.0 : in.weight_decay),
            static_cast<float>(1.0 - b1),
            static_cast<float>(beta2),
            static_cast<float>(1.0 - beta2),
            static_cast<float>(epsilon),
            rectified};
  }
};

}  // namespace gramstep::inline v1
