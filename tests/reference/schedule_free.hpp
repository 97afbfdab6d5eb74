// Schedule-Free SGD and AdamW, as their authors' code computes them.
#pragma once

#include <algorithm>
#include <cmath>

#include "tests/reference/rules.hpp"

namespace gramstep::reference {

template <class Number>
void schedule_free(const RuleOptions& o, const std::vector<Number>& gradient,
                   std::vector<Number>& params, RuleState<Number>& state) {
  using std::sqrt;
  const double t = static_cast<double>(state.t);
  const bool adaptive = o.method == Method::schedule_free_adamw;
  const double beta = adaptive ? o.beta1 : o.momentum;
  state.lr_max = std::max(state.lr_max, o.lr);
  const double weight = std::pow(t, o.r) * std::pow(state.lr_max, o.weight_lr_power);
  state.weight_sum += weight;
  const double c = state.weight_sum > 0 ? weight / state.weight_sum : 0;
  const double root_c2 = std::sqrt(1 - std::pow(o.beta2, t));
  auto &zs = state["z"], &vs = state["exp_avg_sq"];
  if (state.t == 1) zs = params;
  for (std::size_t i = 0; i < params.size(); ++i) {
    Number &y = params[i], &z = zs[i], &v = vs[i];
    Number g = gradient[i];
    if (adaptive) {
      v = Number(o.beta2) * v + Number(1 - o.beta2) * g * g;
      g = g / (sqrt(v) / Number(root_c2) + Number(o.epsilon));
    }
    if (o.weight_decay != 0) g = g + Number(o.weight_decay) * y;
    y = lerp(y, z, Number(c)) + Number(o.lr * (beta * (1 - c) - 1)) * g;
    z = z - Number(o.lr) * g;
  }
}

}  // namespace gramstep::reference
