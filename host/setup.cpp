// What follows from a layout and options, once.
#include <algorithm>
#include <limits>

#include "host/backend.hpp"

namespace gramstep::host {
namespace {

std::vector<kernels::GroupSettings> resolve_groups(const Layout& layout, const Rule& rule) {
  std::vector<kernels::GroupSettings> settings;
  std::visit(
      [&](const auto& held) {
        for (const GroupOptions& group : layout.groups()) {
          const bool maximize = group.maximize.value_or(held.maximize);
          settings.push_back({group.lr_scale, group.weight_decay.value_or(held.weight_decay),
                              maximize ? -1.0f : 1.0f});
        }
      },
      rule);
  return settings;
}

std::vector<kernels::SegmentState> fresh_segments(const Layout& layout,
                                                  const std::vector<std::int32_t>& projection_of) {
  std::vector<kernels::SegmentState> segments;
  for (int s = 0; s < layout.segments(); ++s) {
    kernels::SegmentState state{};
    state.group = layout.segment(s).group;
    state.active = 1;
    state.projection = projection_of[static_cast<std::size_t>(s)];
    segments.push_back(state);
  }
  return segments;
}

/// Before the first step nothing was seen: every finding is NaN.
kernels::StepState fresh_step(double lr, double loss_scale) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  kernels::StepState step{};
  step.controls = {lr, loss_scale};
  step.findings.heads_squared = step.findings.norm = step.findings.clip = step.findings.lr = nan;
  return step;
}

template <class Updates, std::size_t... Index>
int states_of(int selected, std::index_sequence<Index...>) {
  const int states[] = {std::tuple_element_t<Index, Updates>::states...};
  return states[selected];
}

int states_of(const Rule& rule) {
  return std::visit(
      [](const auto& held) {
        using Updates = typename std::decay_t<decltype(held)>::Updates;
        return states_of<Updates>(held.update(),
                                  std::make_index_sequence<std::tuple_size_v<Updates>>{});
      },
      rule);
}

}  // namespace

Setup::Setup(const Layout& layout, const OptimizerOptions& options)
    : projection_of(projections(layout, options.projection)),
      work(layout, projection_of),
      groups(resolve_groups(layout, options.rule)),
      segments(fresh_segments(layout, projection_of)),
      initial(fresh_step(std::visit([](const auto& held) { return held.lr; }, options.rule),
                         options.loss_scale)),
      rule(options.rule),
      aggregator(options.aggregator),
      traits(traits_of(aggregator, options.tasks)),
      device(options.device),
      size(layout.size()),
      clip_norm(options.clip_norm.value_or(infinity)),
      smoothing(options.smoothing),
      tasks(options.tasks),
      states(states_of(options.rule)) {
  scratch = kernels::plan_scratch(tasks) + traits.scratch;
  shape = {tasks, work.projections(), smoothing > 0 ? tasks : 0};
  for (const PlanState& state : traits.plan_states) shape.state += state.size(tasks);
  const bool wanted = options.non_finite.value_or(NonFinite::propagate) != NonFinite::propagate;
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

kernels::PlanArguments Setup::plan_arguments(const kernels::Losses& losses) const {
  kernels::PlanArguments arguments{};
  arguments.shape = shape;
  arguments.scratch_stride = scratch;
  arguments.losses = losses;
  arguments.clip_norm = clip_norm;
  arguments.smoothing = smoothing;
  arguments.tolerance = traits.tolerance;
  arguments.segment_count = static_cast<std::int32_t>(segments.size());
  arguments.look = look;
  arguments.checks = checks;
  arguments.unscaled = traits.momentum;
  return arguments;
}

}  // namespace gramstep::host
