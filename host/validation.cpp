// Checks of options and memory, with messages that name what is wrong, what was got and expected.
#include "host/validation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "gramstep/error.hpp"

namespace gramstep::inline v1 {

void expect_in(std::string_view what, double value, double low, double high) {
  if (std::isfinite(value) && value >= low && value < high) return;
  std::ostringstream message;
  message << what << ": got " << value << ", expected a finite number";
  if (low > -infinity) message << " >= " << low;
  if (high < infinity) message << (low > -infinity ? " and < " : " < ") << high;
  throw InvalidArgument(message.str());
}

namespace {

template <class Number>
void expect_number(bool condition, std::string_view what, Number got, std::string_view expected) {
  if (condition) return;
  std::ostringstream message;
  message << what << ": got " << got << ", expected " << expected;
  throw InvalidArgument(message.str());
}

}  // namespace

void expect(bool condition, std::string_view what, double got, std::string_view expected) {
  expect_number(condition, what, got, expected);
}

void expect(bool condition, std::string_view what, std::int64_t got, std::string_view expected) {
  expect_number(condition, what, got, expected);
}

void expect(bool condition, std::string_view what, std::string_view why) {
  if (!condition) throw InvalidArgument(std::string(what) + ": " + std::string(why));
}

TaskValues::TaskValues(std::span<const double> values) {
  if (values.size() > static_cast<std::size_t>(max_tasks)) {
    throw InvalidArgument("TaskValues: got " + std::to_string(values.size()) +
                          " values, expected at most " + std::to_string(max_tasks));
  }
  for (const double value : values) values_[size_++] = value;
}

void expect_preference(std::string_view what, const TaskValues& values, int tasks) {
  if (values.size() == 0) return;
  if (values.size() != tasks) {
    throw InvalidArgument(std::string(what) + ": got " + std::to_string(values.size()) +
                          " values, expected one for each of " + std::to_string(tasks) +
                          " tasks, or none");
  }
  for (int i = 0; i < tasks; ++i) {
    if (std::isfinite(values[i]) && values[i] > 0) continue;
    std::ostringstream message;
    message << what << "[" << i << "]: got " << values[i] << ", expected a finite number > 0";
    throw InvalidArgument(message.str());
  }
}

}  // namespace gramstep::inline v1

namespace gramstep::host {
namespace {

void expect_within(const char* what, int got, int low, int high) {
  if (got >= low && got <= high) return;
  throw InvalidArgument(std::string(what) + ": got " + std::to_string(got) + ", expected " +
                        std::to_string(low) + " to " + std::to_string(high));
}

void validate_schedule(const OptimizerOptions& options) {
  std::visit([](const auto& schedule) { schedule.validate(); }, options.schedule);
  options.warmup.validate();
  const auto* cycle = std::get_if<OneCycleLR>(&options.schedule);
  const bool has_momentum =
      std::visit([](const auto& rule) { return rules::has_momentum(rule); }, options.rule);
  expect(cycle == nullptr || !cycle->cycle_momentum || has_momentum, "OneCycleLR.cycle_momentum",
         "got true, expected false for a rule without momentum > 0 or beta1");
}

void validate_dynamic_loss_scale(const OptimizerOptions& options) {
  if (!options.dynamic_loss_scale) return;
  const DynamicLossScale& dynamic = *options.dynamic_loss_scale;
  expect_in("OptimizerOptions.dynamic_loss_scale.growth_factor", dynamic.growth_factor, 1);
  expect(dynamic.backoff_factor > 0 && dynamic.backoff_factor <= 1,
         "OptimizerOptions.dynamic_loss_scale.backoff_factor", dynamic.backoff_factor,
         "a number in (0, 1]");
  expect(dynamic.growth_interval > 0, "OptimizerOptions.dynamic_loss_scale.growth_interval",
         dynamic.growth_interval, "a number of steps > 0");
  expect(options.non_finite != NonFinite::propagate, "OptimizerOptions.dynamic_loss_scale",
         "got NonFinite::propagate, expected a policy that skips gradients that are not finite");
}

/// Whether the rule's state is moments by element, which any type can hold.
bool keeps_moments(const Rule& rule) {
  return std::visit(
      [&](const auto& held) {
        using Held = std::decay_t<decltype(held)>;
        if (rules::TreatsMatricesApart<Held> || state_buffers(rule) == 0) return false;
        return !requires { held.averaging(); };
      },
      rule);
}

/// Throws "OptimizerOptions.precision.<option>: got .., expected .." unless the condition holds.
void expect_precision(bool condition, const char* option, std::string_view got,
                      std::string_view expected) {
  if (condition) return;
  throw InvalidArgument("OptimizerOptions.precision." + std::string(option) + ": got " +
                        std::string(got) + ", expected " + std::string(expected));
}

void validate_precision(const OptimizerOptions& options) {
  const Precision& precision = options.precision;
  const bool narrow_params = precision.params != DType::float32;
  const bool narrow_states = precision.states != DType::float32;
  const bool rounded_params = narrow_params && precision.master == Master::none;
  constexpr std::string_view types = "float32, bfloat16 or float16";
  const auto number = [](DType dtype) {
    return dtype == DType::float32 || dtype == DType::bfloat16 || dtype == DType::float16;
  };
  expect_precision(number(precision.params), "params", name_of(precision.params), types);
  expect_precision(number(precision.gradients), "gradients", name_of(precision.gradients), types);
  expect_precision(
      !narrow_states || precision.states == DType::bfloat16 || precision.states == DType::dynamic8,
      "states", name_of(precision.states), "float32, bfloat16 or dynamic8");
  expect_precision(!narrow_states || keeps_moments(options.rule), "states",
                   name_of(precision.states),
                   "float32 for a rule whose state is not moments by element");
  expect_precision(precision.master == Master::none || narrow_params, "master", "one",
                   "none beside parameters of float32");
  expect_precision(precision.master != Master::remainder || precision.params == DType::bfloat16,
                   "master", "remainder", "parameters of bfloat16");
  expect_precision(precision.rounding != Rounding::kahan || rounded_params, "rounding", "kahan",
                   "16-bit parameters without a master");
  expect_precision(precision.rounding != Rounding::stochastic || rounded_params || narrow_states,
                   "rounding", "stochastic",
                   "parameters of 16 bits without a master, or state of 16 or 8");
}

void validate_ema(const OptimizerOptions& options) {
  if (!options.ema_decay) return;
  expect_in("OptimizerOptions.ema_decay", *options.ema_decay, 0, 1);
  const bool averages =
      std::visit([](const auto& held) { return requires { held.averaging(); }; }, options.rule);
  expect(!averages, "OptimizerOptions.ema_decay",
         "got one, expected none for a rule that averages by itself");
}

std::string listed(std::span<const std::string_view> names) {
  std::string text;
  for (const std::string_view name : names) text += (text.empty() ? "" : ", ") + std::string(name);
  return text.empty() ? "none" : text;
}

}  // namespace

void expect_positive(const char* what, double value) {
  if (std::isfinite(value) && value > 0) return;
  std::ostringstream message;
  message << what << ": got " << value << ", expected a finite number > 0";
  throw InvalidArgument(message.str());
}

void expect_loss_scale(const char* what, double value, const OptimizerOptions& options) {
  expect_positive(what, value);
  // One that adapts is handed out as fp32.
  if (!options.dynamic_loss_scale) return;
  expect_in(what, value, static_cast<double>(std::numeric_limits<float>::min()),
            static_cast<double>(std::numeric_limits<float>::max()));
}

void validate(const Layout& layout, const OptimizerOptions& options) {
  expect_within("OptimizerOptions.tasks", options.tasks, 1, max_tasks);
  if (layout.tasks_named() > options.tasks) {
    throw InvalidArgument("OptimizerOptions.tasks: got " + std::to_string(options.tasks) +
                          ", expected at least " + std::to_string(layout.tasks_named()) +
                          ", because the layout has a head of task " +
                          std::to_string(layout.tasks_named() - 1));
  }
  std::visit([](const auto& rule) { rule.validate(); }, options.rule);
  std::visit([&](const auto& aggregator) { aggregator.validate(options.tasks); },
             options.aggregator);
  validate_schedule(options);
  validate_precision(options);
  validate_ema(options);
  if (options.clip_norm) expect_positive("OptimizerOptions.clip_norm", *options.clip_norm);
  expect_loss_scale("OptimizerOptions.loss_scale", options.loss_scale, options);
  validate_dynamic_loss_scale(options);
  expect_in("OptimizerOptions.smoothing", options.smoothing, 0, 1);
  const AggregatorTraits traits = traits_of(options.aggregator, options.tasks);
  if (traits.elementwise) {
    const std::string why = "is of no use to " + std::string(traits.name) +
                            ", which combines element by element and has no weights";
    expect(!options.clip_norm, "OptimizerOptions.clip_norm", why);
    expect(options.smoothing == 0, "OptimizerOptions.smoothing", why);
  }
  expect_within("OptimizerOptions.device.ordinal", options.device.ordinal, 0, 1023);
  expect_within("OptimizerOptions.device.threads", options.device.threads, 0, 1023);
}

void validate_steps(const std::string& what, std::int64_t steps, std::int64_t most) {
  if (steps >= 0 && steps <= most) return;
  throw InvalidArgument(what + ": got " + std::to_string(steps) + ", expected 0 to " +
                        std::to_string(most));
}

void expect_state_allows(const Rule& present, const Rule& next) {
  const auto begins = [&](bool matrix) {
    const auto kept = state_pieces(present, matrix), needed = state_pieces(next, matrix);
    return needed.size() <= kept.size() && std::ranges::equal(needed, kept.first(needed.size()));
  };
  const auto scalars = segment_state_names(present), needed_scalars = segment_state_names(next);
  const bool same = needed_scalars.empty() || std::ranges::equal(needed_scalars, scalars);
  if (begins(true) && begins(false) && same) return;
  const auto all = [](const Rule& rule) {
    return listed(state_names(rule)) + " by element and " + listed(segment_state_names(rule)) +
           " by segment";
  };
  throw InvalidState("Optimizer::set_rule: got a rule that keeps " + all(next) +
                     ", expected one whose state begins that of the present rule, which keeps " +
                     all(present));
}

}  // namespace gramstep::host
