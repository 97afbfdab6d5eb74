// Options of the C ABI.
#include "host/c_options.hpp"

#include <span>

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

Aggregator aggregator_of(const gramstep_options& from) {
  switch (from.aggregator) {
    case GRAMSTEP_SUM: return Sum{};
    case GRAMSTEP_MEAN: return Mean{};
    case GRAMSTEP_CONSTANT:
      expect_there(from.constant_weights, "gramstep_options.constant_weights");
      return Constant{TaskValues(std::span<const double>(
          from.constant_weights, extent(from.tasks, "gramstep_options.tasks")))};
    case GRAMSTEP_PCGRAD:
      return PCGrad{from.mean_reduction ? Reduction::mean : Reduction::sum,
                    from.fixed_order ? PCGradOrder::fixed : PCGradOrder::fresh, from.seed};
    default: unknown("gramstep_options.aggregator", from.aggregator);
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

Device device_of(const gramstep_options& from) {
  switch (from.device) {
    case GRAMSTEP_CPU: return cpu(from.threads);
    case GRAMSTEP_CUDA: return cuda(from.ordinal);
    default: unknown("gramstep_options.device", from.device);
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
  if (from.struct_size != sizeof(gramstep_options)) {
    throw InvalidArgument("gramstep_options.struct_size: got " + std::to_string(from.struct_size) +
                          ", expected " + std::to_string(sizeof(gramstep_options)) +
                          " as gramstep_options_init sets it");
  }
  OptimizerOptions options{.rule = rule_of(from),
                           .aggregator = aggregator_of(from),
                           .tasks = from.tasks,
                           .loss_scale = from.loss_scale,
                           .non_finite = non_finite_of(from),
                           .device = device_of(from)};
  if (from.clip_norm != infinity) options.clip_norm = from.clip_norm;
  return options;
}

gramstep_options default_options(std::int32_t rule) {
  gramstep_options options{};
  options.struct_size = sizeof(gramstep_options);
  options.rule = rule;
  options.aggregator = GRAMSTEP_SUM;
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
