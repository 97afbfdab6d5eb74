// NAdam: Adam with Nesterov's look ahead and a momentum that rises by a schedule of its own.
#pragma once

#include <array>
#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"
#include "gramstep/rules/elementary.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of NAdam's options and the step.
struct NAdamScalars {
  float step_g;   // lr sqrt(c2) (1 - mu_t) / (1 - the product of mu_1 to mu_t)
  float step_m;   // lr sqrt(c2) mu_t+1 / (1 - that product and mu_t+1)
  float decay;    // lr * weight decay, decoupled
  float l2;       // weight decay, added to the gradient
  float take1;    // 1 - beta1
  float keep2;    // beta2
  float take2;    // 1 - beta2
  float epsilon;  // epsilon * sqrt(c2)
};

/// One element of NAdam, both bias corrections in the scalars as Adam has them.
struct NAdamUpdate {
  using Scalars = NAdamScalars;
  static constexpr int states = 2;
  static constexpr std::array<std::string_view, 2> state_names{"exp_avg", "exp_avg_sq"};

  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    float& m = state[0];
    float& v = state[1];
    p = p - s.decay * p;
    g = with_l2(g, p, s.l2);
    m = lerp(m, g, s.take1);
    v = s.keep2 * v + s.take2 * g * g;
    p = p - (s.step_g * g + s.step_m * m) / (sqrtf(v) + s.epsilon);
  }
};

/// NAdam as torch.optim.NAdam does it.
///
///   decoupled_weight_decay ? p -= lr * weight_decay * p : g += weight_decay * p
///   m, v as Adam,   D = sqrt(v / c2) + epsilon
///   mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2),   P = P mu_t
///   p -= lr (1 - mu_t) / (1 - P) * g / D + lr mu_t+1 / (1 - P mu_t+1) * m / D
///
/// Source: Dozat 2016, algorithm 2; torch.optim.NAdam for the order of operations.
/// State: "exp_avg" and "exp_avg_sq", each [N] fp32; "mu_product", P, one double a segment.
/// Bytes a parameter, fp32, one task: 28.
struct NAdam {
  double lr = 2e-3;                     ///< learning rate, finite, >= 0
  double beta1 = 0.9;                   ///< decay of the first moment, in [0, 1)
  double beta2 = 0.999;                 ///< decay of the second moment, in [0, 1)
  double epsilon = 1e-8;                ///< added after bias correction, >= 0
  double momentum_decay = 4e-3;         ///< psi, in [0, 1e4)
  double weight_decay = 0;              ///< >= 0
  bool decoupled_weight_decay = false;  ///< as AdamW's instead of an L2 penalty
  bool maximize = false;                ///< ascend instead of descend

  static constexpr std::string_view name = "NAdam";
  static constexpr std::array<std::string_view, 1> segment_state_names{"mu_product"};
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("beta1", self.beta1);
    visit("beta2", self.beta2);
    visit("epsilon", self.epsilon);
    visit("momentum_decay", self.momentum_decay);
    visit("weight_decay", self.weight_decay);
    visit("decoupled_weight_decay", self.decoupled_weight_decay);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<NAdamUpdate>;
  /// Which of Updates these options select.
  int update() const { return 0; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("NAdam.lr", lr, 0);
    expect_in("NAdam.beta1", beta1, 0, 1);
    expect_in("NAdam.beta2", beta2, 0, 1);
    expect_in("NAdam.epsilon", epsilon, 0);
    expect_in("NAdam.momentum_decay", momentum_decay, 0, 1e4);
    expect_in("NAdam.weight_decay", weight_decay, 0);
  }

  /// The scalars of one segment's step, see RuleInput; kept: P.
  GRAMSTEP_BODY NAdamScalars scalars(const RuleInput& in, double* kept) const {
    const double b1 = in.momentum_or(beta1);
    const double root_c2 = sqrt(1.0 - power(beta2, in.t));
    const double base = elementary::raised(0.96, momentum_decay);
    const double mu = b1 * (1.0 - 0.5 * power(base, in.t));
    const double next = b1 * (1.0 - 0.5 * power(base, in.t + 1));
    const double product = (in.t == 1 ? 1.0 : kept[0]) * mu;
    kept[0] = product;
    return {static_cast<float>(in.lr * root_c2 * (1.0 - mu) / (1.0 - product)),
            static_cast<float>(in.lr * root_c2 * next / (1.0 - product * next)),
            static_cast<float>(decoupled_weight_decay ? in.lr * in.weight_decay : 0.0),
            static_cast<float>(decoupled_weight_decay ? 0.0 : in.weight_decay),
            static_cast<float>(1.0 - b1),
            static_cast<float>(beta2),
            static_cast<float>(1.0 - beta2),
            static_cast<float>(epsilon * root_c2)};
  }
};

}  // namespace gramstep::inline v1
