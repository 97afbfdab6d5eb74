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

std::vector<kernels::SegmentState> fresh_segments(const Layout& layout) {
  std::vector<kernels::SegmentState> segments;
  for (int s = 0; s < layout.segments(); ++s) {
    kernels::SegmentState state{};
    state.group = layout.segment(s).group;
    state.active = 1;
    segments.push_back(state);
  }
  return segments;
}

/// Before the first step nothing was seen: every finding is NaN.
kernels::StepState fresh_step(double lr, double loss_scale) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  kernels::StepState step{};
  step.controls = {lr, loss_scale};
  std::ranges::fill(step.findings.gram, nan);
  std::ranges::fill(step.findings.weights, nan);
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
    : work(layout),
      groups(resolve_groups(layout, options.rule)),
      segments(fresh_segments(layout)),
      initial(fresh_step(std::visit([](const auto& held) { return held.lr; }, options.rule),
                         options.loss_scale)),
      rule(options.rule),
      aggregator(options.aggregator),
      device(options.device),
      size(layout.size()),
      clip_norm(options.clip_norm.value_or(infinity)),
      tasks(options.tasks),
      states(states_of(options.rule)) {
  scratch = kernels::max_pairs + 1 +
            std::visit([&](const auto& held) { return held.scratch(tasks); }, options.aggregator);
  const bool wanted = options.non_finite.value_or(NonFinite::propagate) != NonFinite::propagate;
  look = tasks > 1 || options.clip_norm || wanted;
  propagate = look ? options.non_finite == NonFinite::propagate : true;
}

kernels::PlanArguments Setup::plan_arguments(const kernels::WorkTable& table,
                                             kernels::StepState* state,
                                             kernels::SegmentState* segment_states,
                                             const kernels::GroupSettings* group_settings,
                                             const double* partials, double* scratch_at) const {
  return {state,      segment_states, group_settings, partials,
          scratch_at, clip_norm,      table,          static_cast<std::int32_t>(segments.size()),
          tasks,      look,           propagate};
}

}  // namespace gramstep::host
