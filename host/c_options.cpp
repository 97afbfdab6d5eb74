// Options of the C ABI.
#include "host/c_options.hpp"

#include <cmath>

namespace gramstep::host {
namespace {

[[noreturn]] void unknown(const char* what, int got,
                          const char* expected = "a value of the enumeration") {
  throw InvalidArgument(std::string(what) + ": got " + std::to_string(got) + ", expected " +
                        expected);
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

Master master_of(const gramstep_precision& from) {
  switch (from.master) {
    case GRAMSTEP_MASTER_NONE: return Master::none;
    case GRAMSTEP_MASTER_FLOAT32: return Master::float32;
    case GRAMSTEP_MASTER_REMAINDER: return Master::remainder;
    default: unknown("gramstep_precision.master", from.master);
  }
}

Rounding rounding_of(const gramstep_precision& from) {
  switch (from.rounding) {
    case GRAMSTEP_ROUND_NEAREST: return Rounding::nearest;
    case GRAMSTEP_ROUND_STOCHASTIC: return Rounding::stochastic;
    case GRAMSTEP_ROUND_KAHAN: return Rounding::kahan;
    default: unknown("gramstep_precision.rounding", from.rounding);
  }
}

Precision precision_of(const gramstep_precision& from) {
  return {.params = dtype_of_c("gramstep_precision.params", from.params),
          .gradients = dtype_of_c("gramstep_precision.gradients", from.gradients),
          .master = master_of(from),
          .states = from.states == GRAMSTEP_DYNAMIC8
                        ? DType::dynamic8
                        : dtype_of_c("gramstep_precision.states", from.states,
                                     "GRAMSTEP_FLOAT32, GRAMSTEP_BFLOAT16 or GRAMSTEP_DYNAMIC8"),
          .rounding = rounding_of(from),
          .seed = from.seed};
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

DType dtype_of_c(const char* what, std::int32_t value, const char* expected) {
  switch (value) {
    case GRAMSTEP_FLOAT32: return DType::float32;
    case GRAMSTEP_BFLOAT16: return DType::bfloat16;
    case GRAMSTEP_FLOAT16: return DType::float16;
    default: unknown(what, value, expected);
  }
}

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
                           .precision = precision_of(from.precision),
                           .zero_gradients = from.zero_gradients != 0,
                           .offload_state = from.offload_state != 0,
                           .device = device_of(from)};
  if (from.clip_norm != infinity) options.clip_norm = from.clip_norm;
  if (!std::isnan(from.ema_decay)) options.ema_decay = from.ema_decay;
  return options;
}

AggregationOptions options_of(const gramstep_aggregation_options& from) {
  expect_struct(&from, "gramstep_aggregation_options");
  return {.aggregator = aggregator_or_sum(from.aggregator),
          .tasks = from.tasks,
          .size = from.size,
          .batch = from.batch,
          .smoothing = from.smoothing,
          .gradients = dtype_of_c("gramstep_aggregation_options.gradients", from.gradients),
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
  options.ema_decay = std::nan("");
  return options;
}

}  // namespace gramstep::host
