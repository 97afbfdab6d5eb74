// Options of the C ABI.
#include "host/c_options.hpp"

namespace gramstep::host {
namespace {

[[noreturn]] void unknown(const char* what, int got) {
  throw InvalidArgument(std::string(what) + ": got " + std::to_string(got) +
                        ", expected a value of the enumeration");
}

template <class AdamLike>
Rule adam_like(const gramstep_options& from) {
  return AdamLike{.lr = from.lr,
                  .beta1 = from.beta1,
                  .beta2 = from.beta2,
                  .epsilon = from.epsilon,
                  .weight_decay = from.weight_decay,
                  .amsgrad = from.amsgrad != 0,
                  .maximize = from.maximize != 0};
}

Rule rule_of(const gramstep_options& from) {
  switch (from.rule) {
    case GRAMSTEP_SGD:
      return SGD{.lr = from.lr,
                 .momentum = from.momentum,
                 .dampening = from.dampening,
                 .weight_decay = from.weight_decay,
                 .nesterov = from.nesterov != 0,
                 .maximize = from.maximize != 0};
    case GRAMSTEP_ADAM: return adam_like<Adam>(from);
    case GRAMSTEP_ADAMW: return adam_like<AdamW>(from);
    default: unknown("gramstep_options.rule", from.rule);
  }
}

Projection projection_of(const gramstep_options& from) {
  switch (from.projection) {
    case GRAMSTEP_PROJECT_MODEL: return Projection::model;
    case GRAMSTEP_PROJECT_GROUP: return Projection::group;
    case GRAMSTEP_PROJECT_SEGMENT: return Projection::segment;
    default: unknown("gramstep_options.projection", from.projection);
  }
}

std::optional<NonFinite> non_finite_of(const gramstep_options& from) {
  switch (from.non_finite) {
    case GRAMSTEP_NON_FINITE_DEFAULT: return std::nullopt;
    case GRAMSTEP_NON_FINITE_SKIP: return NonFinite::skip;
    case GRAMSTEP_NON_FINITE_ERROR: return NonFinite::error;
    case GRAMSTEP_NON_FINITE_PROPAGATE: return NonFinite::propagate;
    default: unknown("gramstep_options.non_finite", from.non_finite);
  }
}

Aggregator aggregator_or_sum(const char* text) {
  return text == nullptr ? Aggregator(Sum{}) : aggregator_of(text);
}

/// Of either option struct.
template <class Options>
Device device_of(const Options& from) {
  switch (from.device) {
    case GRAMSTEP_CPU: return cpu(from.threads);
    case GRAMSTEP_CUDA: return cuda(from.ordinal);
    default: unknown("device", from.device);
  }
}

void fill_defaults(const SGD& rule, gramstep_options& options) {
  options.momentum = rule.momentum;
  options.dampening = rule.dampening;
  options.nesterov = rule.nesterov;
}

template <class AdamLike>
void fill_defaults(const AdamLike& rule, gramstep_options& options) {
  options.beta1 = rule.beta1;
  options.beta2 = rule.beta2;
  options.epsilon = rule.epsilon;
  options.amsgrad = rule.amsgrad;
}

template <class Held>
void fill_rule(const Held& rule, gramstep_options& options) {
  options.lr = rule.lr;
  options.weight_decay = rule.weight_decay;
  fill_defaults(rule, options);
}

}  // namespace

OptimizerOptions options_of(const gramstep_options& from) {
  expect_struct(&from, "gramstep_options");
  OptimizerOptions options{.rule = rule_of(from),
                           .aggregator = aggregator_or_sum(from.aggregator),
                           .tasks = from.tasks,
                           .loss_scale = from.loss_scale,
                           .projection = projection_of(from),
                           .smoothing = from.smoothing,
                           .non_finite = non_finite_of(from),
                           .device = device_of(from)};
  if (from.clip_norm != infinity) options.clip_norm = from.clip_norm;
  return options;
}

AggregationOptions options_of(const gramstep_aggregation_options& from) {
  expect_struct(&from, "gramstep_aggregation_options");
  return {.aggregator = aggregator_or_sum(from.aggregator),
          .tasks = from.tasks,
          .size = from.size,
          .batch = from.batch,
          .smoothing = from.smoothing,
          .device = device_of(from)};
}

gramstep_options default_options(std::int32_t rule) {
  gramstep_options options{};
  options.struct_size = sizeof(gramstep_options);
  options.rule = rule;
  options.tasks = 1;
  options.clip_norm = infinity;
  options.loss_scale = 1.0;
  switch (rule) {
    case GRAMSTEP_SGD: fill_rule(SGD{}, options); break;
    case GRAMSTEP_ADAM: fill_rule(Adam{}, options); break;
    case GRAMSTEP_ADAMW: fill_rule(AdamW{}, options); break;
    default: unknown("gramstep_options_init: rule", rule);
  }
  return options;
}

}  // namespace gramstep::host
