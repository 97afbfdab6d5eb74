// AdEMAMix: AdamW with a second, slow momentum.
#pragma once

#include <array>
#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"
#include "gramstep/rules/elementary.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of AdEMAMix' options and the step.
struct AdEMAMixScalars {
  float step_fast;  // lr sqrt(c2) / c1
  float step_slow;  // lr sqrt(c2) alpha
  float decay;      // lr * weight decay
  float take1;      // 1 - beta1
  float keep2;      // beta2
  float take2;      // 1 - beta2
  float take3;      // 1 - beta3
  float epsilon;    // epsilon * sqrt(c2)
};

/// One element of AdEMAMix.
struct AdEMAMixUpdate {
  using Scalars = AdEMAMixScalars;
  static constexpr int states = 3;
  static constexpr std::array<std::string_view, 3> state_names{"exp_avg_fast", "exp_avg_slow",
                                                               "exp_avg_sq"};

  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    float& fast = state[0];
    float& slow = state[1];
    float& v = state[2];
    p = p - s.decay * p;
    fast = lerp(fast, g, s.take1);
    slow = lerp(slow, g, s.take3);
    v = s.keep2 * v + s.take2 * g * g;
    p = p - (s.step_fast * fast + s.step_slow * slow) / (sqrtf(v) + s.epsilon);
  }
};

/// AdEMAMix as its authors' code does it.
///
///   p -= lr * weight_decay * p
///   f = lerp(f, g, 1 - beta1),   l = lerp(l, g, 1 - beta3_t),   v as Adam
///   p -= lr (f / c1 + alpha_t l) / (sqrt(v / c2) + epsilon)
///
/// alpha_t rises from 0 to alpha by equal steps within alpha_warmup steps; beta3_t from beta1 to beta3
/// so that its half-life rises by equal steps, within beta3_warmup steps. 0: alpha and beta3 at once.
///
/// Source: Pagliardini, Ablin and Grangier, "The AdEMAMix Optimizer: Better, Faster, Older", ICLR 2025,
/// algorithm 1 and appendix A.1.
/// State: "exp_avg_fast", "exp_avg_slow" and "exp_avg_sq", each [N] fp32.
/// Bytes a parameter, fp32, one task: 36.
struct AdEMAMix {
  double lr = 1e-3;               ///< learning rate, finite, >= 0
  double beta1 = 0.9;             ///< decay of the fast momentum, in [0, 1)
  double beta2 = 0.999;           ///< decay of the second moment, in [0, 1)
  double beta3 = 0.9999;          ///< decay of the slow momentum, in [0, 1)
  double alpha = 5;               ///< weight of the slow momentum, finite, >= 0
  std::int64_t beta3_warmup = 0;  ///< steps, >= 0
  std::int64_t alpha_warmup = 0;  ///< steps, >= 0
  double epsilon = 1e-8;          ///< added after bias correction, >= 0
  double weight_decay = 0;        ///< decoupled, multiplied by lr, >= 0
  bool maximize = false;          ///< ascend instead of descend

  static constexpr std::string_view name = "AdEMAMix";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("beta1", self.beta1);
    visit("beta2", self.beta2);
    visit("beta3", self.beta3);
    visit("alpha", self.alpha);
    visit("beta3_warmup", self.beta3_warmup);
    visit("alpha_warmup", self.alpha_warmup);
    visit("epsilon", self.epsilon);
    visit("weight_decay", self.weight_decay);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<AdEMAMixUpdate>;
  /// Which of Updates these options select.
  int update() const { return 0; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("AdEMAMix.lr", lr, 0);
    expect_in("AdEMAMix.beta1", beta1, 0, 1);
    expect_in("AdEMAMix.beta2", beta2, 0, 1);
    expect_in("AdEMAMix.beta3", beta3, 0, 1);
    expect_in("AdEMAMix.alpha", alpha, 0);
    expect(beta3_warmup >= 0, "AdEMAMix.beta3_warmup", beta3_warmup, "a number of steps >= 0");
    expect(alpha_warmup >= 0, "AdEMAMix.alpha_warmup", alpha_warmup, "a number of steps >= 0");
    expect_in("AdEMAMix.epsilon", epsilon, 0);
    expect_in("AdEMAMix.weight_decay", weight_decay, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY AdEMAMixScalars scalars(const RuleInput& in) const {
    const double b1 = in.momentum_or(beta1);
    const double c1 = 1.0 - power(b1, in.t);
    const double root_c2 = sqrt(1.0 - power(beta2, in.t));
    const double share = in.t < alpha_warmup ? progress(in.t, alpha_warmup) : 1.0;
    return {static_cast<float>(in.lr * root_c2 / c1),
            static_cast<float>(in.lr * root_c2 * alpha * share),
            static_cast<float>(in.lr * in.weight_decay),
            static_cast<float>(1.0 - b1),
            static_cast<float>(beta2),
            static_cast<float>(1.0 - beta2),
            static_cast<float>(1.0 - beta3_at(in.t, b1)),
            static_cast<float>(epsilon * root_c2)};
  }

 private:
  GRAMSTEP_BODY static double progress(std::int64_t t, std::int64_t of) {
    return static_cast<double>(t) / static_cast<double>(of);
  }

  /// How many steps, less one, halve what a mean with that decay has seen. The authors add 1e-8.
  GRAMSTEP_BODY static double half_life(double beta) {
    return elementary::logarithm(0.5) / elementary::logarithm(beta + 1e-8) - 1.0;
  }

  GRAMSTEP_BODY double beta3_at(std::int64_t t, double from) const {
    if (t >= beta3_warmup) return beta3;
    const double share = progress(t, beta3_warmup);
    const double life = (1.0 - share) * half_life(from) + share * half_life(beta3);
    return elementary::raised(0.5, 1.0 / (life + 1.0));
  }
};

}  // namespace gramstep::inline v1
