// Options of the C ABI.
#include "host/c_options.hpp"

namespace gramstep::host {
namespace {

[[noreturn]] void unknown(const char* what, int got) {
  throw InvalidArgument(std::string(what) + ": got " + std::to_string(got) +
                        ", expected a value of the enumeration");
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

std::optional<DynamicLossScale> dynamic_loss_scale_of(const gramstep_options& from) {
  if (from.dynamic_loss_scale == 0) return std::nullopt;
  return DynamicLossScale{from.growth_factor, from.backoff_factor, from.growth_interval};
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

}  // namespace

OptimizerOptions options_of(const gramstep_options& from) {
  expect_struct(&from, "gramstep_options");
  OptimizerOptions options{.rule = from.rule == nullptr ? Rule(SGD{}) : rule_of(from.rule),
                           .aggregator = aggregator_or_sum(from.aggregator),
                           .tasks = from.tasks,
                           .schedule = schedule_or_constant(from.schedule),
                           .warmup = {from.warmup_steps, from.warmup_start_factor},
                           .loss_scale = from.loss_scale,
                           .dynamic_loss_scale = dynamic_loss_scale_of(from),
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

Schedule schedule_or_constant(const char* text) {
  return text == nullptr ? Schedule(ConstantLR{}) : schedule_of(text);
}

gramstep_options default_options() {
  const Warmup warmup;
  const DynamicLossScale dynamic;
  gramstep_options options{};
  options.struct_size = sizeof(gramstep_options);
  options.tasks = 1;
  options.warmup_start_factor = warmup.start_factor;
  options.clip_norm = infinity;
  options.loss_scale = 1.0;
  options.growth_factor = dynamic.growth_factor;
  options.backoff_factor = dynamic.backoff_factor;
  options.growth_interval = dynamic.growth_interval;
  return options;
}

}  // namespace gramstep::host
