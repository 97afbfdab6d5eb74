// Checks of options and memory, with messages that name what is wrong, what was got and expected.
#include "host/validation.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
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

constexpr ArgumentName params_name{"params"};
constexpr ArgumentName heads_name{"gradients.heads"};
constexpr ArgumentName row_name(int k) { return {"gradients.rows", k}; }

void expect_count(const ArgumentName& what, std::int64_t got, std::int64_t expected,
                  const char* of) {
  if (got == expected) return;
  throw InvalidArgument(what.text() + ": got " + std::to_string(got) + ", expected " +
                        std::to_string(expected) + " (" + of + ")");
}

void expect_within(const char* what, int got, int low, int high) {
  if (got >= low && got <= high) return;
  throw InvalidArgument(std::string(what) + ": got " + std::to_string(got) + ", expected " +
                        std::to_string(low) + " to " + std::to_string(high));
}

/// Memory with a name for messages.
struct Region {
  ArgumentName name;
  ConstBuffer memory;

  bool overlaps(const Region& other) const {
    const std::less<const void*> before;
    return memory.size > 0 && other.memory.size > 0 && before(memory.data, other.end()) &&
           before(other.memory.data, end());
  }
  const void* end() const { return memory.from(memory.size).data; }
};

/// There, of that type and aligned to it, unless it is empty.
void expect_elements(const Region& region, DType dtype) {
  const ConstBuffer& memory = region.memory;
  if (memory.size == 0) return;
  if (memory.dtype != dtype) {
    throw InvalidArgument(region.name.text() + ": got " + std::string(name_of(memory.dtype)) +
                          ", expected " + std::string(name_of(dtype)) +
                          " (OptimizerOptions.precision)");
  }
  if (memory.data == nullptr) {
    throw InvalidArgument(region.name.text() + ": got null, expected " +
                          std::to_string(memory.size) + " elements");
  }
  const auto address = reinterpret_cast<std::uintptr_t>(memory.data);
  if (address % static_cast<std::uintptr_t>(size_of(dtype)) == 0) return;
  std::ostringstream message;
  message << region.name.text() << ": got address 0x" << std::hex << address << std::dec
          << ", expected a multiple of " << size_of(dtype) << " bytes";
  throw InvalidArgument(message.str());
}

void expect_apart(const Region& gradient, const Region& written, const char* of) {
  if (!gradient.overlaps(written)) return;
  throw InvalidArgument(gradient.name.text() + ": got memory that overlaps " + of +
                        ", expected memory of its own");
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
  expect_precision(precision.params != DType::int16, "params", name_of(precision.params), types);
  expect_precision(precision.gradients != DType::int16, "gradients", name_of(precision.gradients),
                   types);
  expect_precision(!narrow_states || precision.states == DType::bfloat16, "states",
                   name_of(precision.states), "float32 or bfloat16");
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
                   "16-bit parameters without a master, or 16-bit state");
}

std::string listed(std::span<const std::string_view> names) {
  std::string text;
  for (const std::string_view name : names) text += (text.empty() ? "" : ", ") + std::string(name);
  return text.empty() ? "none" : text;
}

}  // namespace

std::string ArgumentName::text() const {
  std::string text = std::string(call) + ": " + name;
  if (row >= 0) text.append("[").append(std::to_string(row)).append("]");
  return text;
}

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

void validate_sizes(const Layout& layout, const OptimizerOptions& options, const Buffer& params,
                    const Gradients& gradients) {
  const Precision& precision = options.precision;
  expect_count(params_name, params.size, layout.size(), "layout.size()");
  expect_count({"gradients.rows"}, gradients.rows.count, options.tasks, "tasks");
  expect_count({"gradients.row_size"}, gradients.row_size, layout.shared_size(),
               "layout.shared_size()");
  expect_count(heads_name, gradients.heads.size, layout.heads_size(), "layout.heads_size()");
  expect_elements({params_name, params}, precision.params);
  expect_elements({heads_name, gradients.heads}, precision.gradients);
  for (int k = 0; k < options.tasks; ++k) {
    const ConstBuffer row{gradients.rows[k], layout.shared_size(), gradients.rows.dtype};
    expect_elements({row_name(k), row}, precision.gradients);
  }
}

void validate_steps(const std::string& what, std::int64_t steps, std::int64_t most) {
  if (steps >= 0 && steps <= most) return;
  throw InvalidArgument(what + ": got " + std::to_string(steps) + ", expected 0 to " +
                        std::to_string(most));
}

kernels::Losses losses_of(const Setup& setup, std::span<const float> losses) {
  kernels::Losses result{};
  result.needed = setup.traits.needs_losses;
  result.needed_positive = setup.traits.needs_positive_losses;
  std::ranges::fill(result.values, std::numeric_limits<float>::quiet_NaN());
  if (losses.empty() && !result.needed) return result;
  if (std::ssize(losses) != setup.tasks) {
    throw InvalidArgument(
        "Optimizer::step: gradients.losses: got " + std::to_string(losses.size()) + ", expected " +
        std::to_string(setup.tasks) + " (tasks)" +
        (result.needed ? ", because " + std::string(setup.traits.name) + " needs the losses"
                       : std::string()));
  }
  expect_elements({{"gradients.losses"}, losses}, DType::float32);
  if (is_device_memory(losses.data())) {
    expect(setup.device.kind == Device::Kind::cuda, "Optimizer::step: gradients.losses",
           "got memory of a CUDA device, expected host memory for an optimizer on the CPU");
    result.at = losses.data();
    return result;
  }
  for (int k = 0; k < setup.tasks; ++k) {
    const float loss = result.values[k] = losses[static_cast<std::size_t>(k)];
    if (!result.needed || (std::isfinite(loss) && (loss > 0 || !result.needed_positive))) continue;
    std::ostringstream message;
    message << "Optimizer::step: gradients.losses[" << k << "]: got " << loss
            << ", expected a finite " << (result.needed_positive ? "number > 0" : "number")
            << " for " << setup.traits.name;
    throw InvalidArgument(message.str());
  }
  return result;
}

kernels::Scaling scaling_of(const Gradients& gradients, const Backend& backend) {
  for (const auto& [name, pointer] : {std::pair{"gradients.grad_scale", gradients.grad_scale},
                                      std::pair{"gradients.found_inf", gradients.found_inf}}) {
    if (pointer == nullptr) continue;
    expect_elements({{name}, ConstBuffer(pointer, 1, DType::float32)}, DType::float32);
    backend.check_memory({name}, pointer);
  }
  return {gradients.grad_scale, gradients.found_inf};
}

void validate_evaluation(const Layout& layout, DType dtype, const ConstBuffer& params,
                         const Buffer& out, const Backend& backend) {
  constexpr const char* call = "Optimizer::evaluation_params";
  const Region from{{"params", -1, call}, params};
  const Region to{{"out", -1, call}, out};
  for (const Region& each : {from, to}) {
    expect_count(each.name, each.memory.size, layout.size(), "layout.size()");
    expect_elements(each, dtype);
    if (each.memory.size > 0) backend.check_memory(each.name, each.memory.data);
  }
  if (params.data != out.data) expect_apart(to, from, "params");
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

void validate_overlap(const Layout& layout, const Precision& precision, const StepMemory& memory,
                      std::span<const Buffer> states) {
  const Region params{params_name, {memory.params, layout.size(), precision.params}};
  const auto expect_apart_from_state = [&](const Region& region) {
    for (const Buffer& state : states) {
      expect_apart(region, {{"state"}, state}, "the optimizer's state");
    }
  };
  const auto check_gradient = [&](const ArgumentName& name, const void* data, std::int64_t size) {
    const Region gradient{name, {data, size, precision.gradients}};
    expect_apart(gradient, params, "params");
    expect_apart_from_state(gradient);
  };
  expect_apart_from_state(params);
  check_gradient(heads_name, memory.heads, layout.heads_size());
  for (int k = 0; k < memory.rows.count; ++k) {
    check_gradient(row_name(k), memory.rows[k], layout.shared_size());
  }
}

void validate_devices(const Layout& layout, const StepMemory& memory, const Backend& backend) {
  if (layout.size() > 0) backend.check_memory(params_name, memory.params);
  if (layout.heads_size() > 0) backend.check_memory(heads_name, memory.heads);
  for (int k = 0; k < memory.rows.count && layout.shared_size() > 0; ++k) {
    backend.check_memory(row_name(k), memory.rows[k]);
  }
}

}  // namespace gramstep::host
