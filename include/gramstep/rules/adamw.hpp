// AdamW: Adam with decoupled weight decay.
#pragma once

#include "gramstep/rules/adam.hpp"

namespace gramstep::inline v1 {

/// AdamW as torch.optim.AdamW does it.
///
///   p -= lr * weight_decay * p
///   then as Adam, without an L2 term
///
/// Source: Loshchilov and Hutter 2019, algorithm 2; torch.optim.AdamW for the order of operations.
/// State and bytes as Adam's.
struct AdamW {
  double lr = 1e-3;            ///< learning rate, finite, >= 0
  double beta1 = 0.9;          ///< decay of the first moment, in [0, 1)
  double beta2 = 0.999;        ///< decay of the second moment, in [0, 1)
  double epsilon = 1e-8;       ///< added after bias correction, >= 0
  bool epsilon_hat = false;    ///< add epsilon before bias correction, as Keras does
  double weight_decay = 1e-2;  ///< decoupled, multiplied by lr, >= 0
  bool amsgrad = false;        ///< divide by the largest v so far
  bool maximize = false;       ///< ascend instead of descend

  static constexpr std::string_view name = "AdamW";
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
  using Updates = Adam::Updates;
  /// Which of Updates these options select.
  int update() const { return amsgrad ? 1 : 0; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("AdamW.lr", lr, 0);
    expect_in("AdamW.beta1", beta1, 0, 1);
    expect_in("AdamW.beta2", beta2, 0, 1);
    expect_in("AdamW.epsilon", epsilon, 0);
    expect_in("AdamW.weight_decay", weight_decay, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY AdamScalars scalars(const RuleInput& in) const {
    return adam_scalars(*this, in, true);
  }
};

}  // namespace gramstep::inline v1
