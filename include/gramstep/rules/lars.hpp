// LARS: momentum SGD whose every tensor moves by a share of its own length.
#pragma once

#include <array>
#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of LARS's options, the step and the tensor's norms.
struct LARSScalars {
  float lr;
  float l2;
  float momentum;
  float ratio;  // the trust ratio, once it is known
  float trust;  // its coefficient
  float epsilon;
  bool adapts;  // whether there is a trust ratio
  bool nesterov;
};

/// One element of LARS.
struct LARSUpdate {
  using Scalars = LARSScalars;
  static constexpr int states = 1;
  static constexpr std::array<std::string_view, 1> state_names{"momentum_buffer"};

  GRAMSTEP_BODY static void measure(const Scalars&, float g, float p, float*, float (&terms)[2]) {
    terms[0] = p * p;
    terms[1] = g * g;
  }

  /// sums: |p|^2, |g|^2 of the tensor. NaN comes through.
  GRAMSTEP_BODY static void settle(Scalars& s, const double* sums, const MatrixStack&) {
    const double p = sqrt(sums[0]), g = sqrt(sums[1]);
    const double under = g + static_cast<double>(s.l2) * p + static_cast<double>(s.epsilon);
    const bool none = sums[0] == 0 || sums[1] == 0;
    s.ratio = s.adapts && !none ? static_cast<float>(static_cast<double>(s.trust) * p / under) : 1.0f;
  }

  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    float& b = state[0];
    g = s.ratio * with_l2(g, p, s.l2);
    b = s.momentum * b + g;
    p = p - s.lr * (s.nesterov ? g + s.momentum * b : b);
  }
};

/// LARS: layer-wise adaptive rate scaling.
///
///   g = r (g + weight_decay * p),   r = trust_coefficient |p| / (|g| + weight_decay |p| + epsilon) of the
///                                   tensor, 1 where |p| or |g| is 0
///   b = momentum * b + g,   p -= lr * b;   nesterov: p -= lr (g + momentum * b)
///
/// Source: You, Gitman and Ginsburg 2017, algorithm 1, with lr outside of the buffer, as torch.optim.SGD
/// has it.
/// State: "momentum_buffer" [N] fp32. |p|^2 and |g|^2 are sums of fp32 squares, added up in fp32 over at
/// most 16 terms, then in double, in the same order on every device: to the same bits. A tensor whose
/// elements are all below 1e-19 counts as zero; a NaN is all of its tensor's.
/// Bytes a parameter, fp32, one task: 28, in two passes: 8 to measure and 20. With K tasks both read K
/// rows.
struct LARS {
  double lr = 1.0;                  ///< learning rate, finite, >= 0
  double momentum = 0.9;            ///< mu, >= 0
  double weight_decay = 0;          ///< L2 penalty, >= 0
  double trust_coefficient = 1e-3;  ///< eta, finite, >= 0
  double epsilon = 1e-8;            ///< under the ratio, >= 0
  bool nesterov = false;            ///< a step from where the momentum leads
  bool always_adapt = true;  ///< r for tensors without weight decay too, where some leave it at 1
  bool maximize = false;     ///< ascend instead of descend

  static constexpr std::string_view name = "LARS";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("momentum", self.momentum);
    visit("weight_decay", self.weight_decay);
    visit("trust_coefficient", self.trust_coefficient);
    visit("epsilon", self.epsilon);
    visit("nesterov", self.nesterov);
    visit("always_adapt", self.always_adapt);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<LARSUpdate>;
  /// Which of Updates these options select.
  int update() const { return 0; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("LARS.lr", lr, 0);
    expect_in("LARS.momentum", momentum, 0);
    expect_in("LARS.weight_decay", weight_decay, 0);
    expect_in("LARS.trust_coefficient", trust_coefficient, 0);
    expect_in("LARS.epsilon", epsilon, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY LARSScalars scalars(const RuleInput& in) const {
    return {static_cast<float>(in.lr),
            static_cast<float>(in.weight_decay),
            static_cast<float>(in.momentum_or(momentum)),
            1.0f,
            static_cast<float>(trust_coefficient),
            static_cast<float>(epsilon),
            always_adapt || in.weight_decay != 0,
            nesterov};
  }
};

}  // namespace gramstep::inline v1
