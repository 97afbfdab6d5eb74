// The rules, naively: torch.optim's formulas, one tensor, one element after another.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/reference/bounded.hpp"

namespace gramstep::reference {

enum class Method { sgd, adam, adamw };

struct RuleOptions {
  Method method = Method::sgd;
  double lr = 1e-3;
  double weight_decay = 0;
  bool maximize = false;
  double momentum = 0;  // sgd
  double dampening = 0;
  bool nesterov = false;
  double beta1 = 0.9;  // adam, adamw
  double beta2 = 0.999;
  double epsilon = 1e-8;
  bool amsgrad = false;
};

/// One tensor's state. Number is double, or Bounded for double with a bound on fp32's error.
template <class Number>
struct RuleState {
  explicit RuleState(std::size_t size)
      : momentum_buffer(size), exp_avg(size), exp_avg_sq(size), max_exp_avg_sq(size) {}

  std::int64_t t = 0;  // steps taken
  std::vector<Number> momentum_buffer, exp_avg, exp_avg_sq, max_exp_avg_sq;
};

template <class Number>
void sgd(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
         RuleState<Number>& state) {
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number& p = params[i];
    Number& b = state.momentum_buffer[i];
    Number g = o.maximize ? -gradient[i] : gradient[i];
    if (o.weight_decay != 0) g = g + Number(o.weight_decay) * p;
    if (o.momentum != 0) {
      b = state.t == 1 ? g : Number(o.momentum) * b + Number(1 - o.dampening) * g;
      g = o.nesterov ? g + Number(o.momentum) * b : b;
    }
    p = p - Number(o.lr) * g;
  }
}

template <class Number>
void adam(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
          RuleState<Number>& state) {
  using std::sqrt;  // and Bounded's, by its argument
  const double c1 = 1 - std::pow(o.beta1, static_cast<double>(state.t));
  const double c2 = 1 - std::pow(o.beta2, static_cast<double>(state.t));
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number& p = params[i];
    Number& m = state.exp_avg[i];
    Number& v = state.exp_avg_sq[i];
    Number& largest = state.max_exp_avg_sq[i];
    Number g = o.maximize ? -gradient[i] : gradient[i];
    if (o.method == Method::adamw) {
      p = p - Number(o.lr * o.weight_decay) * p;
    } else if (o.weight_decay != 0) {
      g = g + Number(o.weight_decay) * p;
    }
    m = lerp(m, g, Number(1 - o.beta1));
    v = Number(o.beta2) * v + Number(1 - o.beta2) * g * g;
    if (o.amsgrad) largest = larger(largest, v);
    const Number second = o.amsgrad ? largest : v;
    p = p - Number(o.lr / c1) * m / (sqrt(second) / Number(std::sqrt(c2)) + Number(o.epsilon));
  }
}

/// One step of one tensor.
template <class Number>
void update(const RuleOptions& options, const std::vector<Number>& gradient,
            std::vector<Number>& params, RuleState<Number>& state) {
  ++state.t;
  options.method == Method::sgd ? sgd(options, gradient, params, state)
                                : adam(options, gradient, params, state);
}

}  // namespace gramstep::reference
