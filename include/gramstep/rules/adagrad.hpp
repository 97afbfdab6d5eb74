// Adagrad: the gradient over the root of the sum of its squares.
#pragma once

#include <array>
#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of Adagrad's options and the step.
struct AdagradScalars {
  float lr;  // decayed
  float l2;  // weight decay, added to the gradient
  float epsilon;
};

/// One element of Adagrad.
struct AdagradUpdate {
  using Scalars = AdagradScalars;
  static constexpr int states = 1;
  static constexpr std::array<std::string_view, 1> state_names{"sum"};

  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    g = with_l2(g, p, s.l2);
    float& sum = state[0];
    sum = sum + g * g;
    p = p - s.lr * g / (sqrtf(sum) + s.epsilon);
  }
};

/// Adagrad as torch.optim.Adagrad does it.
///
///   g += weight_decay * p
///   s = s + g^2,   p -= lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + epsilon)
///
/// Source: Duchi, Hazan and Singer 2011, figure 1 (diagonal); torch.optim.Adagrad for lr_decay and the
/// order of operations.
/// State: "sum" [N] fp32, which begins at initial_accumulator_value.
/// Bytes a parameter, fp32, one task: 20.
struct Adagrad {
  double lr = 1e-2;                      ///< learning rate, finite, >= 0
  double lr_decay = 0;                   ///< >= 0
  double epsilon = 1e-10;                ///< added to the root, >= 0
  double initial_accumulator_value = 0;  ///< what the sum begins with, >= 0
  double weight_decay = 0;               ///< L2 penalty, >= 0
  bool maximize = false;                 ///< ascend instead of descend

  static constexpr std::string_view name = "Adagrad";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("lr_decay", self.lr_decay);
    visit("epsilon", self.epsilon);
    visit("initial_accumulator_value", self.initial_accumulator_value);
    visit("weight_decay", self.weight_decay);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<AdagradUpdate>;
  /// Which of Updates these options select.
  int update() const { return 0; }
  /// What the state begins with.
  float initial_state() const { return static_cast<float>(initial_accumulator_value); }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("Adagrad.lr", lr, 0);
    expect_in("Adagrad.lr_decay", lr_decay, 0);
    expect_in("Adagrad.epsilon", epsilon, 0);
    expect_in("Adagrad.initial_accumulator_value", initial_accumulator_value, 0);
    expect_in("Adagrad.weight_decay", weight_decay, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY AdagradScalars scalars(const RuleInput& in) const {
    return {static_cast<float>(in.lr / (1.0 + static_cast<double>(in.t - 1) * lr_decay)),
            static_cast<float>(in.weight_decay), static_cast<float>(epsilon)};
  }
};

}  // namespace gramstep::inline v1
