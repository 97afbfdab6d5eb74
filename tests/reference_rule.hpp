// The reference's options of the library's rules.
#pragma once

#include "gramstep/gramstep.hpp"
#include "tests/reference/rules.hpp"

namespace gramstep::test {

using reference::Method;
using reference::RuleOptions;

/// What all rules have.
template <class Held>
RuleOptions reference_base(const Held& rule, Method method) {
  RuleOptions o;
  o.method = method;
  o.lr = rule.lr;
  o.weight_decay = rule.weight_decay;
  o.maximize = rule.maximize;
  return o;
}

/// What Adam and its kin have.
template <class AdamLike>
RuleOptions reference_adam(const AdamLike& rule, Method method) {
  RuleOptions o = reference_base(rule, method);
  o.beta1 = rule.beta1;
  o.beta2 = rule.beta2;
  o.epsilon = rule.epsilon;
  if constexpr (requires { rule.amsgrad; }) {
    o.amsgrad = rule.amsgrad;
    o.epsilon_hat = rule.epsilon_hat;
  }
  if constexpr (requires { rule.decoupled_weight_decay; })
    o.decoupled = rule.decoupled_weight_decay;
  return o;
}

inline RuleOptions reference_rule(const Adam& rule) { return reference_adam(rule, Method::adam); }
inline RuleOptions reference_rule(const AdamW& rule) { return reference_adam(rule, Method::adamw); }
inline RuleOptions reference_rule(const RAdam& rule) { return reference_adam(rule, Method::radam); }
inline RuleOptions reference_rule(const Adamax& rule) {
  return reference_adam(rule, Method::adamax);
}

inline RuleOptions reference_rule(const NAdam& rule) {
  RuleOptions o = reference_adam(rule, Method::nadam);
  o.momentum_decay = rule.momentum_decay;
  return o;
}

inline RuleOptions reference_rule(const AdEMAMix& rule) {
  RuleOptions o = reference_adam(rule, Method::ademamix);
  o.beta3 = rule.beta3;
  o.slow_weight = rule.alpha;
  o.beta3_warmup = static_cast<double>(rule.beta3_warmup);
  o.alpha_warmup = static_cast<double>(rule.alpha_warmup);
  return o;
}

inline RuleOptions reference_rule(const LAMB& rule) {
  RuleOptions o = reference_adam(rule, Method::lamb);
  o.always_adapt = rule.always_adapt;
  return o;
}

inline RuleOptions reference_rule(const LARS& rule) {
  RuleOptions o = reference_base(rule, Method::lars);
  o.momentum = rule.momentum;
  o.nesterov = rule.nesterov;
  o.epsilon = rule.epsilon;
  o.trust = rule.trust_coefficient;
  o.always_adapt = rule.always_adapt;
  return o;
}

inline RuleOptions reference_rule(const SGD& rule) {
  RuleOptions o = reference_base(rule, Method::sgd);
  o.momentum = rule.momentum;
  o.dampening = rule.dampening;
  o.nesterov = rule.nesterov;
  return o;
}

inline RuleOptions reference_rule(const Adagrad& rule) {
  RuleOptions o = reference_base(rule, Method::adagrad);
  o.epsilon = rule.epsilon;
  o.lr_decay = rule.lr_decay;
  o.first_sum = rule.initial_accumulator_value;
  return o;
}

inline RuleOptions reference_rule(const Adadelta& rule) {
  RuleOptions o = reference_base(rule, Method::adadelta);
  o.epsilon = rule.epsilon;
  o.alpha = rule.rho;
  return o;
}

inline RuleOptions reference_rule(const RMSprop& rule) {
  RuleOptions o = reference_base(rule, Method::rmsprop);
  o.epsilon = rule.epsilon;
  o.alpha = rule.alpha;
  o.momentum = rule.momentum;
  o.centered = rule.centered;
  return o;
}

inline RuleOptions reference_rule(const Lion& rule) {
  RuleOptions o = reference_base(rule, Method::lion);
  o.beta1 = rule.beta1;
  o.beta2 = rule.beta2;
  return o;
}

inline RuleOptions reference_rule(const Adafactor& rule) {
  RuleOptions o = reference_base(rule, Method::adafactor);
  o.beta2_decay = rule.beta2_decay;
  o.epsilon = rule.epsilon1;
  o.epsilon2 = rule.epsilon2;
  o.d = rule.d;
  return o;
}

inline RuleOptions reference_rule(const Muon& rule) {
  RuleOptions o = reference_base(rule, Method::muon);
  o.momentum = rule.momentum;
  o.nesterov = rule.nesterov;
  o.ns_steps = rule.ns_steps;
  o.ns_a = rule.ns_a;
  o.ns_b = rule.ns_b;
  o.ns_c = rule.ns_c;
  o.ns_epsilon = rule.epsilon;
  o.match_rms_adamw = rule.match_rms_adamw;
  o.rest_lr_scale = rule.adamw_lr_scale;
  o.beta1 = rule.beta1;
  o.beta2 = rule.beta2;
  o.epsilon = rule.adamw_epsilon;
  return o;
}

template <class ScheduleFree>
RuleOptions reference_schedule_free(const ScheduleFree& rule, RuleOptions o) {
  o.r = rule.r;
  o.weight_lr_power = rule.weight_lr_power;
  return o;
}
inline RuleOptions reference_rule(const ScheduleFreeSGD& rule) {
  RuleOptions o = reference_base(rule, Method::schedule_free_sgd);
  o.momentum = rule.momentum;
  return reference_schedule_free(rule, o);
}
inline RuleOptions reference_rule(const ScheduleFreeAdamW& rule) {
  return reference_schedule_free(rule, reference_adam(rule, Method::schedule_free_adamw));
}

}  // namespace gramstep::test
