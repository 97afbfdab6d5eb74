// LAMB and LARS: a tensor moves by a share of its own length, as their papers have it.
#pragma once

#include <cmath>

#include "tests/reference/adam_family.hpp"

namespace gramstep::reference {

/// |x|^2
inline double squared_norm(const std::vector<double>& x) {
  double squared = 0;
  for (const double each : x) squared += each * each;
  return squared;
}

/// Squares are rounded, added up in fp32 over at most 16 terms, and then in double: none of them is
/// negative, so that the sum is off by 16 roundings at most.
inline Bounded squared_norm(const std::vector<Bounded>& x) {
  Bounded squared;
  for (const Bounded& each : x) {
    const double twice = 2 * std::abs(each.value) + each.error;
    squared.value += each.value * each.value;
    squared.error += twice * each.error + (each.value == 0 ? 0 : fp32_flush);
  }
  squared.error += 16 * fp32_unit * (squared.value + squared.error);
  return squared;
}

/// |x|
template <class Number>
Number norm(const std::vector<Number>& x) {
  using std::sqrt;
  return sqrt(squared_norm(x));
}

inline bool is_zero(double x) { return x == 0; }
inline bool is_zero(const Bounded& x) { return x.value == 0 && x.error == 0; }

/// Whether a tensor's ratio is not simply 1.
inline bool adapts(const RuleOptions& o) { return o.always_adapt || o.weight_decay != 0; }

/// You et al. 2020, algorithm 2.
template <class Number>
void lamb(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
          RuleState<Number>& state) {
  using std::sqrt;
  const double c1 = correction(o.beta1, state.t), c2 = correction(o.beta2, state.t);
  auto &ms = state["exp_avg"], &vs = state["exp_avg_sq"];
  std::vector<Number> directions;
  for (std::size_t i = 0; i < params.size(); ++i) {
    ms[i] = lerp(ms[i], gradient[i], Number(1 - o.beta1));
    vs[i] = Number(o.beta2) * vs[i] + Number(1 - o.beta2) * gradient[i] * gradient[i];
    const Number root = sqrt(vs[i] / Number(c2)) + Number(o.epsilon);
    directions.push_back(ms[i] / Number(c1) / root + Number(o.weight_decay) * params[i]);
  }
  const Number p = norm(params), u = norm(directions);
  const bool one = !adapts(o) || is_zero(p) || is_zero(u);
  const Number step = one ? Number(o.lr) : Number(o.lr) * (p / u);
  for (std::size_t i = 0; i < params.size(); ++i) params[i] = params[i] - step * directions[i];
}

/// You, Gitman and Ginsburg 2017, algorithm 1, the learning rate outside of the momentum.
template <class Number>
void lars(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
          RuleState<Number>& state) {
  auto& buffer = state["momentum_buffer"];
  const Number p = norm(params), g = norm(gradient);
  Number ratio(1);
  if (adapts(o) && !is_zero(p) && !is_zero(g)) {
    ratio = Number(o.trust) * p / (g + Number(o.weight_decay) * p + Number(o.epsilon));
  }
  for (std::size_t i = 0; i < params.size(); ++i) {
    const Number scaled = ratio * (gradient[i] + Number(o.weight_decay) * params[i]);
    buffer[i] = Number(o.momentum) * buffer[i] + scaled;
    const Number move = o.nesterov ? scaled + Number(o.momentum) * buffer[i] : buffer[i];
    params[i] = params[i] - Number(o.lr) * move;
  }
}

}  // namespace gramstep::reference
