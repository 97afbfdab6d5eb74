#include "bench/unfused_rules.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "gramstep/rules/rules.hpp"

namespace gramstep::bench {
namespace {

using enum RuleArrays::Name;

/// A line of a formula: to = value(of...) for all elements.
template <RuleArrays::Name To, RuleArrays::Name... Of, class Value>
void set(RuleArrays& a, const Value& value) {
  const auto pass = [&value, size = a.size](float* to, const auto*... of) {
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < size; ++i) to[i] = value(of[i]...);
  };
  pass(a.at[To], static_cast<const float*>(a.at[Of])...);
  a.streams += 1 + sizeof...(Of);
}

/// The norm of an array.
float norm(RuleArrays& a, RuleArrays::Name name) {
  const float* x = a.at[name];
  float sum = 0;
#pragma omp parallel for simd schedule(static) reduction(+ : sum)
  for (std::int64_t i = 0; i < a.size; ++i) sum += x[i] * x[i];
  a.streams += 1;
  return std::sqrt(sum);
}

float single(double value) { return static_cast<float>(value); }

/// 1 - beta^t.
double correction(double beta, std::int64_t t) { return 1 - std::pow(beta, t); }

/// The mean of the gradients, and of their squares.
template <RuleArrays::Name To>
void mean(RuleArrays& a, double beta) {
  const float keep = single(beta), take = single(1 - beta);
  set<To, To, gradient>(a, [=](float m, float g) { return keep * m + take * g; });
}
template <RuleArrays::Name To>
void mean_square(RuleArrays& a, double beta) {
  const float keep = single(beta), take = single(1 - beta);
  set<To, To, gradient>(a, [=](float v, float g) { return keep * v + take * g * g; });
}

/// What Adam and its kin share: both moments, and what corrects their bias.
struct Adamlike {
  template <class Rule>
  Adamlike(RuleArrays& a, const Rule& rule, std::int64_t t)
      : rate(single(rule.lr / correction(rule.beta1, t))),
        root_c2(single(std::sqrt(correction(rule.beta2, t)))),
        epsilon(single(rule.epsilon)) {
    mean<state0>(a, rule.beta1);
    mean_square<state1>(a, rule.beta2);
  }
  float under(float v) const { return std::sqrt(v) / root_c2 + epsilon; }

  float rate, root_c2, epsilon;
};

void sgd(RuleArrays& a, std::int64_t) {
  const float lr = single(SGD{}.lr);
  set<params, params, gradient>(a, [=](float p, float g) { return p - lr * g; });
}

void momentum(RuleArrays& a, std::int64_t) {
  const float lr = single(SGD{}.lr), mu = 0.9f;
  set<state0, state0, gradient>(a, [=](float b, float g) { return mu * b + g; });
  set<params, params, state0>(a, [=](float p, float b) { return p - lr * b; });
}

void adam(RuleArrays& a, std::int64_t t) {
  const Adamlike of(a, Adam{}, t);
  set<params, params, state0, state1>(
      a, [=](float p, float m, float v) { return p - of.rate * m / of.under(v); });
}

template <bool AmsGrad>
void adamw(RuleArrays& a, std::int64_t t) {
  const AdamW rule;
  const float kept = single(1 - rule.lr * rule.weight_decay);
  set<params, params>(a, [=](float p) { return kept * p; });
  const Adamlike of(a, rule, t);
  if (AmsGrad) set<state2, state2, state1>(a, [](float w, float v) { return w > v ? w : v; });
  set<params, params, state0, AmsGrad ? state2 : state1>(
      a, [=](float p, float m, float v) { return p - of.rate * m / of.under(v); });
}

void nadam(RuleArrays& a, std::int64_t t) {
  const NAdam rule;
  const auto mu = [&](std::int64_t i) {
    return rule.beta1 * (1 - 0.5 * std::pow(0.96, static_cast<double>(i) * rule.momentum_decay));
  };
  double product = 1;
  for (std::int64_t i = 1; i <= t; ++i) product *= mu(i);
  const float of_g = single(rule.lr * (1 - mu(t)) / (1 - product));
  const float of_m = single(rule.lr * mu(t + 1) / (1 - product * mu(t + 1)));
  const Adamlike of(a, rule, t);
  set<params, params, gradient, state0, state1>(a, [=](float p, float g, float m, float v) {
    return p - (of_g * g + of_m * m) / of.under(v);
  });
}

/// Of a step that is rectified.
void radam(RuleArrays& a, std::int64_t t) {
  const RAdam rule;
  const double c2 = correction(rule.beta2, t), last = 2 / (1 - rule.beta2) - 1;
  const double rho = last - 2 * static_cast<double>(t) * (1 - c2) / c2;
  const double r = std::sqrt((rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho));
  const Adamlike of(a, rule, t);
  const float rate = of.rate * single(r * std::sqrt(c2));
  set<params, params, state0, state1>(
      a, [=](float p, float m, float v) { return p - rate * m / (std::sqrt(v) + of.epsilon); });
}

void adamax(RuleArrays& a, std::int64_t t) {
  const Adamax rule;
  const float rate = single(rule.lr / correction(rule.beta1, t));
  const float keep = single(rule.beta2), epsilon = single(rule.epsilon);
  mean<state0>(a, rule.beta1);
  set<state1, state1, gradient>(a, [=](float u, float g) {
    const float seen = std::fabs(g) + epsilon;
    return keep * u > seen ? keep * u : seen;
  });
  set<params, params, state0, state1>(a,
                                      [=](float p, float m, float u) { return p - rate * m / u; });
}

void adagrad(RuleArrays& a, std::int64_t) {
  const Adagrad rule;
  const float lr = single(rule.lr), epsilon = single(rule.epsilon);
  set<state0, state0, gradient>(a, [](float sum, float g) { return sum + g * g; });
  set<params, params, gradient, state0>(
      a, [=](float p, float g, float sum) { return p - lr * g / (std::sqrt(sum) + epsilon); });
}

void adadelta(RuleArrays& a, std::int64_t) {
  const Adadelta rule;
  const float lr = single(rule.lr), epsilon = single(rule.epsilon);
  const float keep = single(rule.rho), take = single(1 - rule.rho);
  mean_square<state0>(a, rule.rho);
  set<temporary, gradient, state0, state1>(a, [=](float g, float s, float u) {
    return std::sqrt(u + epsilon) / std::sqrt(s + epsilon) * g;
  });
  set<state1, state1, temporary>(a, [=](float u, float d) { return keep * u + take * d * d; });
  set<params, params, temporary>(a, [=](float p, float d) { return p - lr * d; });
}

/// The second state is the momentum's where there is one, the last the mean of the gradients.
template <bool Momentum, bool Centered>
void rmsprop(RuleArrays& a, std::int64_t) {
  constexpr RuleArrays::Name average = Momentum ? state2 : state1;
  const RMSprop rule;
  const float lr = single(rule.lr), epsilon = single(rule.epsilon), mu = 0.9f;
  mean_square<state0>(a, rule.alpha);
  if (Centered) {
    mean<average>(a, rule.alpha);
    set<temporary, state0, average>(a, [](float s, float m) { return s - m * m; });
  }
  constexpr RuleArrays::Name variance = Centered ? temporary : state0;
  const auto moved = [=](float g, float s) { return g / (std::sqrt(s) + epsilon); };
  if (Momentum) {
    set<state1, state1, gradient, variance>(
        a, [=](float b, float g, float s) { return mu * b + moved(g, s); });
    set<params, params, state1>(a, [=](float p, float b) { return p - lr * b; });
  } else {
    set<params, params, gradient, variance>(
        a, [=](float p, float g, float s) { return p - lr * moved(g, s); });
  }
}

void lion(RuleArrays& a, std::int64_t) {
  const Lion rule;
  const float lr = single(rule.lr), keep = single(rule.beta1), take = single(1 - rule.beta1);
  set<params, params, gradient, state0>(a, [=](float p, float g, float m) {
    const float direction = keep * m + take * g;
    return p - (direction > 0 ? lr : direction < 0 ? -lr : 0);
  });
  mean<state0>(a, rule.beta2);
}

void ademamix(RuleArrays& a, std::int64_t t) {
  const AdEMAMix rule;
  const float of_fast = single(rule.lr / correction(rule.beta1, t));
  const float of_slow = single(rule.lr * rule.alpha), epsilon = single(rule.epsilon);
  const float root_c2 = single(std::sqrt(correction(rule.beta2, t)));
  mean<state0>(a, rule.beta1);
  mean<state1>(a, rule.beta3);
  mean_square<state2>(a, rule.beta2);
  set<params, params, state0, state1, state2>(a, [=](float p, float fast, float slow, float v) {
    return p - (of_fast * fast + of_slow * slow) / (std::sqrt(v) / root_c2 + epsilon);
  });
}

void lamb(RuleArrays& a, std::int64_t t) {
  const LAMB rule;
  const Adamlike of(a, rule, t);
  const float by = of.rate / single(rule.lr);
  set<temporary, state0, state1>(a, [=](float m, float v) { return by * m / of.under(v); });
  const float rate = single(rule.lr) * norm(a, params) / norm(a, temporary);
  set<params, params, temporary>(a, [=](float p, float u) { return p - rate * u; });
}

void adafactor(RuleArrays& a, std::int64_t t) {
  const Adafactor rule;
  const float take = single(std::pow(t, rule.beta2_decay));
  const float least = single(rule.epsilon1 * rule.epsilon1);
  const float root_size = single(std::sqrt(a.size));
  set<state0, state0, gradient>(a, [=](float v, float g) { return v + take * (g * g - v); });
  set<temporary, gradient, state0>(
      a, [=](float g, float v) { return g / std::sqrt(std::max(v, least)); });
  const float step = single(std::min(rule.lr, 1 / std::sqrt(static_cast<double>(t)))) *
                     std::max(norm(a, params) / root_size, single(rule.epsilon2));
  const float rate = step / std::max(1.0f, norm(a, temporary) / root_size / single(rule.d));
  set<params, params, temporary>(a, [=](float p, float u) { return p - rate * u; });
}

void lars(RuleArrays& a, std::int64_t) {
  const LARS rule;
  const float lr = single(rule.lr), mu = single(rule.momentum);
  const float ratio =
      single(rule.trust_coefficient) * norm(a, params) / (norm(a, gradient) + single(rule.epsilon));
  set<state0, state0, gradient>(a, [=](float b, float g) { return mu * b + ratio * g; });
  set<params, params, state0>(a, [=](float p, float b) { return p - lr * b; });
}

/// y and z, along d; all steps so far had one learning rate, so that the average is a plain mean.
template <RuleArrays::Name Along>
void schedule_free(RuleArrays& a, double lr, double beta, std::int64_t t) {
  const float c = single(1 / static_cast<double>(t));
  const float step_z = single(lr), step_y = step_z * (1 - single(beta) * (1 - c));
  set<params, params, state0, Along>(
      a, [=](float y, float z, float d) { return y + c * (z - y) - step_y * d; });
  set<state0, state0, Along>(a, [=](float z, float d) { return z - step_z * d; });
}

void schedule_free_sgd(RuleArrays& a, std::int64_t t) {
  const ScheduleFreeSGD rule;
  schedule_free<gradient>(a, rule.lr, rule.momentum, t);
}

void schedule_free_adamw(RuleArrays& a, std::int64_t t) {
  const ScheduleFreeAdamW rule;
  const float root_c2 = single(std::sqrt(correction(rule.beta2, t)));
  const float epsilon = single(rule.epsilon);
  mean_square<state1>(a, rule.beta2);
  set<temporary, gradient, state1>(
      a, [=](float g, float v) { return g / (std::sqrt(v) / root_c2 + epsilon); });
  schedule_free<temporary>(a, rule.lr, rule.beta1, t);
}

const std::map<std::string, void (*)(RuleArrays&, std::int64_t), std::less<>> all_lines{
    {"SGD", sgd},
    {"SGD(momentum=0.9)", momentum},
    {"Adam", adam},
    {"AdamW", adamw<false>},
    {"AdamW(amsgrad=true)", adamw<true>},
    {"NAdam", nadam},
    {"RAdam", radam},
    {"Adamax", adamax},
    {"Adagrad", adagrad},
    {"Adadelta", adadelta},
    {"RMSprop", rmsprop<false, false>},
    {"RMSprop(momentum=0.9)", rmsprop<true, false>},
    {"RMSprop(centered=true)", rmsprop<false, true>},
    {"RMSprop(momentum=0.9,centered=true)", rmsprop<true, true>},
    {"Lion", lion},
    {"AdEMAMix", ademamix},
    {"LAMB", lamb},
    {"LARS", lars},
    {"Adafactor", adafactor},
    {"ScheduleFreeSGD", schedule_free_sgd},
    {"ScheduleFreeAdamW", schedule_free_adamw},
};

}  // namespace

bool UnfusedRule::has(const std::string& rule) { return all_lines.contains(rule); }

UnfusedRule::UnfusedRule(const std::string& rule, std::int64_t size) : lines_(all_lines.at(rule)) {
  arrays_.size = size;
  for (std::size_t i = 0; i < memory_.size(); ++i) {
    arrays_.at[state0 + i] = memory_[i].emplace(size).data();
    fill_uniform(memory_[i]->span(), 0, 0);
  }
}

void UnfusedRule::step(const float* gradient_row, float* its_params, std::int64_t t) {
  arrays_.at[gradient] = const_cast<float*>(gradient_row);  // which no line writes
  arrays_.at[params] = its_params;
  arrays_.streams = 0;
  lines_(arrays_, t);
}

}  // namespace gramstep::bench
