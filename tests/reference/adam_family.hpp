// Adam and its kin, as torch.optim computes them; AdEMAMix as its authors' code does.
#pragma once

#include <cmath>

#include "tests/reference/rules.hpp"

namespace gramstep::reference {

/// 1 - beta^t
inline double correction(double beta, std::int64_t t) {
  return 1 - std::pow(beta, static_cast<double>(t));
}

/// Weight decay: of the parameter, or added to the gradient.
template <class Number>
void decay(const RuleOptions& o, bool decoupled, Number& g, Number& p) {
  if (decoupled) {
    p = p - Number(o.lr * o.weight_decay) * p;
  } else if (o.weight_decay != 0) {
    g = g + Number(o.weight_decay) * p;
  }
}

template <class Number>
void adam(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
          RuleState<Number>& state) {
  using std::sqrt;  // and Bounded's, by its argument
  const double c1 = correction(o.beta1, state.t), c2 = correction(o.beta2, state.t);
  auto &ms = state["exp_avg"], &vs = state["exp_avg_sq"], &tops = state["max_exp_avg_sq"];
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number &p = params[i], &m = ms[i], &v = vs[i];
    Number g = gradient[i];
    decay(o, o.method == Method::adamw, g, p);
    m = lerp(m, g, Number(1 - o.beta1));
    v = Number(o.beta2) * v + Number(1 - o.beta2) * g * g;
    if (o.amsgrad) tops[i] = larger(tops[i], v);
    const Number root = sqrt(o.amsgrad ? tops[i] : v);
    if (o.epsilon_hat) {
      p = p - Number(o.lr * std::sqrt(c2) / c1) * m / (root + Number(o.epsilon));
    } else {
      p = p - Number(o.lr / c1) * m / (root / Number(std::sqrt(c2)) + Number(o.epsilon));
    }
  }
}

template <class Number>
void nadam(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
           RuleState<Number>& state) {
  using std::sqrt;
  const double c2 = correction(o.beta2, state.t);
  const auto mu_at = [&](std::int64_t t) {
    return o.beta1 * (1 - 0.5 * std::pow(0.96, static_cast<double>(t) * o.momentum_decay));
  };
  const double mu = mu_at(state.t), next = mu_at(state.t + 1);
  state.mu_product *= mu;
  const double of_g = o.lr * (1 - mu) / (1 - state.mu_product);
  const double of_m = o.lr * next / (1 - state.mu_product * next);
  auto &ms = state["exp_avg"], &vs = state["exp_avg_sq"];
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number &p = params[i], &m = ms[i], &v = vs[i];
    Number g = gradient[i];
    decay(o, o.decoupled, g, p);
    m = lerp(m, g, Number(1 - o.beta1));
    v = Number(o.beta2) * v + Number(1 - o.beta2) * g * g;
    const Number root = sqrt(v / Number(c2)) + Number(o.epsilon);
    p = p - Number(of_g) * g / root;
    p = p - Number(of_m) * m / root;
  }
}

template <class Number>
void radam(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
           RuleState<Number>& state) {
  using std::sqrt;
  const double t = static_cast<double>(state.t);
  const double c1 = correction(o.beta1, state.t), c2 = correction(o.beta2, state.t);
  const double rho_inf = 2 / (1 - o.beta2) - 1;
  const double rho = rho_inf - 2 * t * std::pow(o.beta2, t) / c2;
  auto &ms = state["exp_avg"], &vs = state["exp_avg_sq"];
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number &p = params[i], &m = ms[i], &v = vs[i];
    Number g = gradient[i];
    decay(o, o.decoupled, g, p);
    m = lerp(m, g, Number(1 - o.beta1));
    v = Number(o.beta2) * v + Number(1 - o.beta2) * g * g;
    const Number corrected = m / Number(c1);
    if (rho > 5) {
      const double r =
          std::sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho));
      p = p - corrected * Number(o.lr) * Number(std::sqrt(c2)) / (sqrt(v) + Number(o.epsilon)) *
                  Number(r);
    } else {
      p = p - corrected * Number(o.lr);
    }
  }
}

template <class Number>
void adamax(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
            RuleState<Number>& state) {
  using std::abs;
  const double c1 = correction(o.beta1, state.t);
  auto &ms = state["exp_avg"], &us = state["exp_inf"];
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number &p = params[i], &m = ms[i], &u = us[i];
    Number g = gradient[i];
    decay(o, false, g, p);
    m = lerp(m, g, Number(1 - o.beta1));
    u = larger(Number(o.beta2) * u, abs(g) + Number(o.epsilon));
    p = p - Number(o.lr / c1) * m / u;
  }
}

/// beta3 on its way from beta1, so that its half-life rises by equal steps.
inline double slow_beta(const RuleOptions& o, double t) {
  if (t >= o.beta3_warmup) return o.beta3;
  const auto life = [](double beta) { return std::log(0.5) / std::log(beta + 1e-8) - 1; };
  const double a = t / o.beta3_warmup;
  return std::pow(0.5, 1 / ((1 - a) * life(o.beta1) + a * life(o.beta3) + 1));
}

template <class Number>
void ademamix(const RuleOptions& o, const std::vector<Number>& gradient,
              std::vector<Number>& params, RuleState<Number>& state) {
  using std::sqrt;
  const double t = static_cast<double>(state.t);
  const double c1 = correction(o.beta1, state.t), c2 = correction(o.beta2, state.t);
  const double alpha = t < o.alpha_warmup ? t / o.alpha_warmup * o.slow_weight : o.slow_weight;
  const double beta3 = slow_beta(o, t);
  auto &fasts = state["exp_avg_fast"], &slows = state["exp_avg_slow"], &vs = state["exp_avg_sq"];
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number &p = params[i], &fast = fasts[i], &slow = slows[i], &v = vs[i];
    Number g = gradient[i];
    decay(o, true, g, p);
    fast = lerp(fast, g, Number(1 - o.beta1));
    slow = lerp(slow, g, Number(1 - beta3));
    v = Number(o.beta2) * v + Number(1 - o.beta2) * g * g;
    const Number root = sqrt(v) / Number(std::sqrt(c2)) + Number(o.epsilon);
    p = p - Number(o.lr) * ((fast / Number(c1) + Number(alpha) * slow) / root);
  }
}

}  // namespace gramstep::reference
