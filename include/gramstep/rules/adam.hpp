// Adam: moments of the gradient, bias-corrected; L2 weight decay; AMSGrad by option.
#pragma once

#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of Adam's or AdamW's options and the step.
struct AdamScalars {
  float step;     // lr * sqrt(c2) / c1
  float decay;    // lr * weight decay, decoupled
  float l2;       // weight decay, added to the gradient
  float take1;    // 1 - beta1
  float keep2;    // beta2
  float take2;    // 1 - beta2
  float epsilon;  // epsilon * sqrt(c2), or epsilon in the epsilon-hat form
};

/// One element of Adam and AdamW. Both bias corrections sit in the scalars: with c_i = 1 - beta_i^t,
///   (lr / c1) m / (sqrt(v) / sqrt(c2) + epsilon) = (lr sqrt(c2) / c1) m / (sqrt(v) + epsilon sqrt(c2)),
/// one division an element instead of two.
template <bool AmsGrad>
struct AdamUpdate {
  using Scalars = AdamScalars;
  static constexpr int states = AmsGrad ? 3 : 2;
  static constexpr auto state_names =
      kept_names<states>({{"exp_avg"}, {"exp_avg_sq"}, {"max_exp_avg_sq", AmsGrad}});

  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    float& m = state[0];
    float& v = state[1];
    // Decay by subtraction: 1 - lr * wd rounds to 1 in fp32 where lr * wd is small.
    p = p - s.decay * p;
    g = with_l2(g, p, s.l2);
    m = lerp(m, g, s.take1);
    v = s.keep2 * v + s.take2 * g * g;
    float second = v;
    if constexpr (AmsGrad) {
      float& largest = state[2];
      // A NaN on either side must come through: comparisons with NaN are false.
      largest = !(v > largest) && v == v ? largest : v;
      second = largest;
    }
    p = p - s.step * m / (sqrtf(second) + s.epsilon);
  }
};

/// The scalars of Adam and AdamW, which differ in where the weight decay goes.
template <class AdamLike>
GRAMSTEP_BODY AdamScalars adam_scalars(const AdamLike& rule, const RuleInput& in, bool decoupled) {
  const double beta1 = in.momentum_or(rule.beta1), beta2 = rule.beta2;
  const double c1 = 1.0 - power(beta1, in.t);
  const double root_c2 = sqrt(1.0 - power(beta2, in.t));
  return {static_cast<float>(in.lr * root_c2 / c1),
          static_cast<float>(decoupled ? in.lr * in.weight_decay : 0.0),
          static_cast<float>(decoupled ? 0.0 : in.weight_decay),
          static_cast<float>(1.0 - beta1),
          static_cast<float>(beta2),
          static_cast<float>(1.0 - beta2),
          static_cast<float>(rule.epsilon_hat ? rule.epsilon : rule.epsilon * root_c2)};
}

/// Adam as torch.optim.Adam does it, with L2 weight decay.
///
///   g += weight_decay * p
///   m = m + (1 - beta1)(g - m),   v = beta2 v + (1 - beta2) g^2,   c_i = 1 - beta_i^t
///   p -= (lr / c1) m / (sqrt(v) / sqrt(c2) + epsilon)
///   amsgrad: the running maximum of v stands in the denominator for v
///   epsilon_hat: p -= (lr sqrt(c2) / c1) m / (sqrt(v) + epsilon), the form at the end of the paper's
///                section 2, and Keras'
///
/// Source: Kingma and Ba 2015, algorithm 1; Reddi et al. 2018, algorithm 2 (AMSGrad);
/// torch.optim.Adam for the order of operations and the place of epsilon.
/// State: "exp_avg", "exp_avg_sq" and, with amsgrad, "max_exp_avg_sq", each [N] fp32. t counts the
/// steps that each segment took; powers of beta are taken in double.
/// Bytes a parameter, fp32, one task: 28, with amsgrad 36.
struct Adam {
  double lr = 1e-3;         ///< learning rate, finite, >= 0
  double beta1 = 0.9;       ///< decay of the first moment, in [0, 1)
  double beta2 = 0.999;     ///< decay of the second moment, in [0, 1)
  double epsilon = 1e-8;    ///< added after bias correction, >= 0
  bool epsilon_hat = false; ///< add epsilon before bias correction
  double weight_decay = 0;  ///< L2 penalty, >= 0
  bool amsgrad = false;     ///< divide by the largest v so far
  bool maximize = false;    ///< ascend instead of descend

  static constexpr std::string_view name = "Adam";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("beta1", self.beta1);
    visit("beta2", self.beta2);
    visit("epsilon", self.epsilon);
    visit("epsilon_hat", self.epsilon_hat);
    visit("weight_decay", self.weight_decay);
    visit("amsgrad", self.amsgrad);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<AdamUpdate<false>, AdamUpdate<true>>;
  /// Which of Updates these options select.
  int update() const { return amsgrad ? 1 : 0; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("Adam.lr", lr, 0);
    expect_in("Adam.beta1", beta1, 0, 1);
    expect_in("Adam.beta2", beta2, 0, 1);
    expect_in("Adam.epsilon", epsilon, 0);
    expect_in("Adam.weight_decay", weight_decay, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY AdamScalars scalars(const RuleInput& in) const {
    return adam_scalars(*this, in, false);
  }
};

}  // namespace gramstep::inline v1
