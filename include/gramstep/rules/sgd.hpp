// SGD: gradient descent, with momentum, dampening, Nesterov and L2 by option.
#pragma once

#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of SGD's options and the step.
struct SgdScalars {
  float lr;        // lr * lr_scale
  float l2;        // weight decay
  float momentum;  // mu
  float take;      // 1 - dampening
  bool first;      // the buffer has not been used yet
  bool nesterov;
};

/// One element of SGD; Momentum says whether there is a buffer.
template <bool Momentum>
struct SgdUpdate {
  using Scalars = SgdScalars;
  static constexpr int states = Momentum ? 1 : 0;
  static constexpr auto state_names = kept_names<states>({{"momentum_buffer", Momentum}});

  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    g = with_l2(g, p, s.l2);
    if constexpr (Momentum) {
      float& b = state[0];
      b = s.first ? g : s.momentum * b + s.take * g;
      g = s.nesterov ? g + s.momentum * b : b;
    }
    p = p - s.lr * g;
  }
};

/// Stochastic gradient descent as torch.optim.SGD does it.
///
///   g += weight_decay * p
///   momentum != 0:  b = g on a segment's first step, else momentum * b + (1 - dampening) * g
///                   g = nesterov ? g + momentum * b : b
///   p -= lr * g
///
/// Source: Sutskever et al. 2013 (Nesterov's form); torch.optim.SGD for the order of operations.
/// State: "momentum_buffer" [N] fp32, where momentum != 0. A skipped step is nobody's first.
/// Bytes a parameter, fp32, one task: 12, with momentum 20.
struct SGD {
  double lr = 1e-3;         ///< learning rate, finite, >= 0
  double momentum = 0;      ///< mu, >= 0; 0: no buffer
  double dampening = 0;     ///< tau, >= 0; damps the gradient as it enters the buffer
  double weight_decay = 0;  ///< L2 penalty, >= 0
  bool nesterov = false;    ///< needs momentum and no dampening
  bool maximize = false;    ///< ascend instead of descend

  static constexpr std::string_view name = "SGD";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("momentum", self.momentum);
    visit("dampening", self.dampening);
    visit("weight_decay", self.weight_decay);
    visit("nesterov", self.nesterov);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<SgdUpdate<false>, SgdUpdate<true>>;
  /// Which of Updates these options select.
  int update() const { return momentum != 0 ? 1 : 0; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("SGD.lr", lr, 0);
    expect_in("SGD.momentum", momentum, 0);
    expect_in("SGD.dampening", dampening, 0);
    expect_in("SGD.weight_decay", weight_decay, 0);
    expect(!nesterov || (momentum > 0 && dampening == 0), "SGD.nesterov",
           "got true, expected false unless momentum > 0 and dampening == 0");
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY SgdScalars scalars(const RuleInput& in) const {
    return {static_cast<float>(in.lr),
            static_cast<float>(in.weight_decay),
            static_cast<float>(in.momentum_or(momentum)),
            static_cast<float>(1.0 - dampening),
            in.t == 1,
            nesterov};
  }
};

}  // namespace gramstep::inline v1
