// What follows from a layout and options, once.
#include <algorithm>
#include <cstring>
#include <limits>

#include "host/backend.hpp"

namespace gramstep::host {
namespace {

std::vector<kernels::GroupSettings> settings_of(const Layout& layout) {
  constexpr double left_out = std::numeric_limits<double>::quiet_NaN();
  std::vector<kernels::GroupSettings> settings;
  for (const GroupOptions& group : layout.groups()) {
    settings.push_back({group.lr_scale, group.weight_decay.value_or(left_out),
                        group.maximize ? int{*group.maximize} : -1});
  }
  return settings;
}

std::vector<kernels::SegmentState> fresh_segments(const Layout& layout,
                                                  const std::vector<std::int32_t>& projection_of,
                                                  const Places& places) {
  std::vector<kernels::SegmentState> segments;
  for (int s = 0; s < layout.segments(); ++s) {
    kernels::SegmentState state{};
    state.group = layout.segment(s).group;
    state.active = 1;
    state.projection = projection_of[static_cast<std::size_t>(s)];
    state.matrix = places.segments[static_cast<std::size_t>(s)].stack.rows > 0;
    segments.push_back(state);
  }
  return segments;
}

/// Before the first step nothing was seen: every finding is NaN.
kernels::StepState fresh_step(const OptimizerOptions& options) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  kernels::StepState step{};
  step.controls = controls_of(options);
  step.loss_scale = {options.loss_scale, options.dynamic_loss_scale.value_or(DynamicLossScale{}), 0,
                     static_cast<float>(options.loss_scale),
                     options.dynamic_loss_scale.has_value()};
  step.findings.heads_squared = step.findings.norm = step.findings.clip = step.findings.lr = nan;
  return step;
}

/// Memory of no elements is none.
kernels::Output output_of(const Buffer& buffer) {
  return {buffer.size > 0 ? buffer.data : nullptr, buffer.dtype};
}

}  // namespace

kernels::Zeroed zeroed(const StepMemory& memory) {
  kernels::Zeroed to{
      .rows = {}, .heads = const_cast<void*>(memory.heads), .dtype = memory.rows.dtype};
  for (int k = 0; k < memory.rows.count; ++k) to.rows[k] = const_cast<void*>(memory.rows[k]);
  return to;
}

std::vector<float> widened(DType dtype, const void* from, std::int64_t count) {
  std::vector<float> numbers(static_cast<std::size_t>(count));
  const auto* bytes = static_cast<const std::uint8_t*>(from);
  const auto* stored = static_cast<const std::uint16_t*>(from);
  const auto widen = [&](std::size_t i) {
    switch (dtype) {
      case DType::float32: return static_cast<const float*>(from)[i];
      case DType::dynamic8: return static_cast<float>(bytes[i]);
      case DType::int16: return static_cast<float>(static_cast<std::int16_t>(stored[i]));
      default: return kernels::widened(dtype, stored[i]);
    }
  };
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = widen(i);
  return numbers;
}

void narrow(DType dtype, std::span<const float> from, void* to) {
  auto* bytes = static_cast<std::uint8_t*>(to);
  auto* stored = static_cast<std::uint16_t*>(to);
  for (std::size_t i = 0; i < from.size(); ++i) {
    switch (dtype) {
      case DType::float32: static_cast<float*>(to)[i] = from[i]; break;
      case DType::dynamic8: bytes[i] = static_cast<std::uint8_t>(from[i]); break;
      case DType::int16: stored[i] = static_cast<std::uint16_t>(static_cast<int>(from[i])); break;
      default: stored[i] = kernels::narrowed(dtype, from[i]);
    }
  }
}

kernels::Controls controls_of(const OptimizerOptions& options) {
  kernels::Controls controls;
  controls.rule = kernels::OneOfT<Rule>(options.rule);
  controls.schedule = kernels::OneOfT<Schedule>(options.schedule);
  controls.warmup = options.warmup;
  controls.clip_norm = options.clip_norm.value_or(infinity);
  return controls;
}

Setup::Setup(const Layout& layout, const OptimizerOptions& options, std::int64_t chunk_elements)
    : projection_of(projections(layout, options.projection)),
      work(layout, projection_of, chunk_elements, options.tasks),
      places(layout, options),
      groups(settings_of(layout)),
      segments(fresh_segments(layout, projection_of, places)),
      initial(fresh_step(options)),
      rule(options.rule),
      aggregator(options.aggregator),
      traits(traits_of(aggregator, options.tasks)),
      device(options.device),
      size(layout.size()),
      precision(options.precision),
      ema_decay(options.ema_decay),
      zero_gradients(options.zero_gradients),
      offload_state(options.offload_state),
      smoothing(options.smoothing),
      tasks(options.tasks),
      states(places.buffers()),
      initial_state(
          std::visit([](const auto& held) { return rules::initial_state(held); }, options.rule)) {
  scratch = kernels::plan_scratch(tasks) + traits.scratch;
  shape = {tasks, work.projections(), smoothing > 0 ? tasks : 0};
  for (const PlanState& state : traits.plan_states) shape.state += state.size(tasks);
  const bool wanted = options.non_finite.value_or(NonFinite::propagate) != NonFinite::propagate ||
                      options.dynamic_loss_scale;
  look = tasks > 1 || options.clip_norm || wanted || traits.momentum;
  checks = look && options.non_finite != NonFinite::propagate;
}

std::vector<double> Setup::fresh_plan() const {
  std::vector<double> block(static_cast<std::size_t>(kernels::PlanMemory::doubles(shape)), 0.0);
  const auto memory = kernels::PlanMemory::in(block.data(), shape);
  const std::int64_t rows = std::int64_t{shape.projections} * tasks;
  std::fill_n(memory.gram, rows * tasks, std::numeric_limits<double>::quiet_NaN());
  std::fill_n(memory.weights, rows, std::numeric_limits<double>::quiet_NaN());
  return block;
}

std::vector<char> Setup::initial_buffer(int index) const {
  const bool of_rule = index < places.rule_buffers;
  const bool of_scales = places.scale_buffers >= 0 && index >= places.scale_buffers;
  if (initial_state == 0 || !(of_rule || of_scales)) return {};
  std::vector<char> bytes(static_cast<std::size_t>(state_bytes(index)));
  // In 8 bits a scale that its largest code, not quite 1, brings to the number.
  constexpr std::uint8_t largest = 0xff;
  const float scale = initial_state / kernels::Dynamic8<false>::widen(largest);
  const bool in_blocks = state_type(index) == DType::dynamic8;
  const float number = in_blocks ? static_cast<float>(largest) : of_scales ? scale : initial_state;
  const std::vector<float> numbers(static_cast<std::size_t>(state_size(index)), number);
  narrow(state_type(index), numbers, bytes.data());
  return bytes;
}

kernels::Storage Setup::storage(const Outputs& outputs, void* beside_params, void* ema) const {
  const bool master = precision.master == Master::float32;
  return {.params = precision.params,
          .rows = traits.momentum ? DType::float32 : precision.gradients,
          .heads = precision.gradients,
          .states = precision.states,
          .scales = {},
          .never_negative = never_negative(rule),
          .rounding = precision.rounding,
          .seed = precision.seed,
          .master = master ? static_cast<float*>(beside_params) : nullptr,
          .low = master ? nullptr : beside_params,
          .remainder = precision.master == Master::remainder,
          .ema = static_cast<float*>(ema),
          .ema_taken = static_cast<float>(1.0 - ema_decay.value_or(0.0)),
          .zeroes = zero_gradients,
          .copy = output_of(outputs.copy),
          .delta = output_of(outputs.delta)};
}

int Setup::params_states() const {
  if (places.scale_buffers < 0) return static_cast<int>(std::ssize(places.params_states));
  return places.scale_buffers - places.rule_buffers + state_buffers(rule);
}

std::vector<std::string_view> Setup::state_names() const {
  std::vector<std::string_view> names = host::state_names(rule);
  for (int i = 0; i < params_states(); ++i) {
    names.push_back(places.params_states[static_cast<std::size_t>(i)]);
  }
  return names;
}

std::vector<std::string_view> Setup::state_names(int segment) const {
  std::vector<std::string_view> names = state_names();
  std::erase_if(names, [&](auto name) { return places.part(segment, name) == nullptr; });
  return names;
}

kernels::PlanArguments Setup::plan_arguments(const kernels::Losses& losses) const {
  kernels::PlanArguments arguments{};
  arguments.shape = shape;
  arguments.fold = 1;
  arguments.scratch_stride = scratch;
  arguments.losses = losses;
  arguments.smoothing = smoothing;
  arguments.tolerance = traits.tolerance;
  arguments.segment_count = static_cast<std::int32_t>(segments.size());
  arguments.look = look;
  arguments.checks = checks;
  arguments.unscaled = traits.momentum;
  return arguments;
}

}  // namespace gramstep::host
