// SGD, the rules of squares without bias correction, and Lion, as torch.optim and their papers have them.
#pragma once

#include <cmath>

#include "tests/reference/adam_family.hpp"

namespace gramstep::reference {

template <class Number>
void sgd(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
         RuleState<Number>& state) {
  auto& buffer = state["momentum_buffer"];
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number &p = params[i], &b = buffer[i];
    Number g = gradient[i];
    decay(o, false, g, p);
    if (o.momentum != 0) {
      b = state.t == 1 ? g : Number(o.momentum) * b + Number(1 - o.dampening) * g;
      g = o.nesterov ? g + Number(o.momentum) * b : b;
    }
    p = p - Number(o.lr) * g;
  }
}

template <class Number>
void adagrad(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
             RuleState<Number>& state) {
  using std::sqrt;
  const double lr = o.lr / (1 + static_cast<double>(state.t - 1) * o.lr_decay);
  auto& sums = state["sum"];
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number &p = params[i], &sum = sums[i];
    Number g = gradient[i];
    decay(o, false, g, p);
    sum = (state.t == 1 ? Number(o.first_sum) : sum) + g * g;
    p = p - Number(lr) * g / (sqrt(sum) + Number(o.epsilon));
  }
}

template <class Number>
void adadelta(const RuleOptions& o, const std::vector<Number>& gradient,
              std::vector<Number>& params, RuleState<Number>& state) {
  using std::sqrt;
  auto &squares = state["square_avg"], &deltas = state["acc_delta"];
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number &p = params[i], &s = squares[i], &u = deltas[i];
    Number g = gradient[i];
    decay(o, false, g, p);
    s = Number(o.alpha) * s + Number(1 - o.alpha) * g * g;
    const Number delta = sqrt(u + Number(o.epsilon)) / sqrt(s + Number(o.epsilon)) * g;
    u = Number(o.alpha) * u + Number(1 - o.alpha) * delta * delta;
    p = p - Number(o.lr) * delta;
  }
}

template <class Number>
void rmsprop(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
             RuleState<Number>& state) {
  using std::sqrt;
  auto &squares = state["square_avg"], &means = state["grad_avg"];
  auto& buffer = state["momentum_buffer"];
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number &p = params[i], &s = squares[i], &a = means[i], &b = buffer[i];
    Number g = gradient[i];
    decay(o, false, g, p);
    s = Number(o.alpha) * s + Number(1 - o.alpha) * g * g;
    Number variance = s;
    if (o.centered) {
      a = lerp(a, g, Number(1 - o.alpha));
      variance = larger(s - a * a, Number(0));  // the maximum is not torch's: see RMSprop
    }
    const Number move = g / (sqrt(variance) + Number(o.epsilon));
    if (o.momentum != 0) b = Number(o.momentum) * b + move;
    p = p - Number(o.lr) * (o.momentum != 0 ? b : move);
  }
}

/// Chen et al. 2023, algorithm 2.
template <class Number>
void lion(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
          RuleState<Number>& state) {
  auto& ms = state["exp_avg"];
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number &p = params[i], &m = ms[i];
    Number g = gradient[i];
    decay(o, true, g, p);
    p = p - Number(o.lr) * sign(lerp(m, g, Number(1 - o.beta1)));
    m = lerp(m, g, Number(1 - o.beta2));
  }
}

}  // namespace gramstep::reference
