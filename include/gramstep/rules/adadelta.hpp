// Adadelta: steps in the parameters' own unit, by the mean squares of steps and gradients.
#pragma once

#include <array>
#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of Adadelta's options and the step.
struct AdadeltaScalars {
  float lr;
  float l2;  // weight decay, added to the gradient
  float keep;
  float take;  // 1 - rho
  float epsilon;
};

/// One element of Adadelta.
struct AdadeltaUpdate {
  using Scalars = AdadeltaScalars;
  static constexpr int states = 2;
  static constexpr std::array<std::string_view, 2> state_names{"square_avg", "acc_delta"};

  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    g = with_l2(g, p, s.l2);
    float& square = state[0];
    float& steps = state[1];
    square = s.keep * square + s.take * g * g;
    const float delta = sqrtf(steps + s.epsilon) / sqrtf(square + s.epsilon) * g;
    steps = s.keep * steps + s.take * delta * delta;
    p = p - s.lr * delta;
  }
};

/// Adadelta as torch.optim.Adadelta does it.
///
///   g += weight_decay * p
///   s = rho s + (1 - rho) g^2,   delta = sqrt(u + epsilon) / sqrt(s + epsilon) * g
///   u = rho u + (1 - rho) delta^2,   p -= lr * delta
///
/// Source: Zeiler 2012, algorithm 1; torch.optim.Adadelta for lr and the order of operations.
/// State: "square_avg" and "acc_delta", each [N] fp32.
/// Bytes a parameter, fp32, one task: 28.
struct Adadelta {
  double lr = 1.0;          ///< factor on delta, finite, >= 0
  double rho = 0.9;         ///< decay of both means, in [0, 1)
  double epsilon = 1e-6;    ///< added under both roots, >= 0
  double weight_decay = 0;  ///< L2 penalty, >= 0
  bool maximize = false;    ///< ascend instead of descend

  static constexpr std::string_view name = "Adadelta";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("rho", self.rho);
    visit("epsilon", self.epsilon);
    visit("weight_decay", self.weight_decay);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<AdadeltaUpdate>;
  /// Which of Updates these options select.
  int update() const { return 0; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("Adadelta.lr", lr, 0);
    expect_in("Adadelta.rho", rho, 0, 1);
    expect_in("Adadelta.epsilon", epsilon, 0);
    expect_in("Adadelta.weight_decay", weight_decay, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY AdadeltaScalars scalars(const RuleInput& in) const {
    return {static_cast<float>(in.lr), static_cast<float>(in.weight_decay), static_cast<float>(rho),
            static_cast<float>(1.0 - rho), static_cast<float>(epsilon)};
  }
};

}  // namespace gramstep::inline v1
