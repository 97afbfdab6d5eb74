#include "bench/subject.hpp"

#include <cmath>

#include "gramstep/text.hpp"

namespace gramstep::bench {

std::string Case::name(const std::string& subject) const {
  const std::string name = subject + "/K:" + std::to_string(tasks) + "/N:" + std::to_string(size);
  if (matrix) return name + "/matrix";
  if (gradients == DType::bfloat16) return name + "/bf16-gradients";
  return segments == 1 ? name : name + "/segments:" + std::to_string(segments);
}

Layout Case::layout() const {
  Layout layout;
  const auto side = static_cast<std::int64_t>(std::sqrt(size));
  if (matrix) layout.add("matrix", {side, side});
  for (int s = 0; !matrix && s < segments; ++s)
    layout.add("segment" + std::to_string(s), {size / segments});
  return layout;
}

OptimizerOptions Case::options(Device device) const {
  OptimizerOptions options{.rule = rule_of(rule), .tasks = tasks, .device = device};
  if (tasks > 1) options.aggregator = PCGrad{.order = PCGradOrder::fixed};
  options.clip_norm = 1e30;
  options.precision.gradients = gradients;
  return options;
}

std::int64_t Case::floats() const {
  return size * (tasks + 1 + host::state_buffers(rule_of(rule)));
}

std::vector<std::string> every_rule() {
  std::vector<std::string> rules;
  for (const std::string_view name : rule_names()) rules.emplace_back(name);
  rules.insert(rules.end(), {"SGD(momentum=0.9)", "AdamW(amsgrad=true)", "RMSprop(momentum=0.9)",
                             "RMSprop(centered=true)", "RMSprop(momentum=0.9,centered=true)"});
  return rules;
}

std::vector<Pass> passes_of(const Rule& rule, bool matrix, std::span<float* const> in_place,
                            std::span<const float* const> rows) {
  const std::vector<float*> params(in_place.begin(), in_place.begin() + 1);
  const std::vector<const float*> gradients(rows.begin(), rows.end());
  std::vector<const float*> measured(params.begin(), params.end());
  measured.insert(measured.end(), rows.begin(), rows.end());
  std::vector<Pass> passes;
  const auto add = [&]<class Update>(Update) {
    if constexpr (rules::Factored<Update>) {
      passes = {{{}, gradients}, {{}, measured}, {params, gradients}};
      return;
    }
    const std::vector<float*> all(in_place.begin(), in_place.begin() + 1 + Update::states);
    const std::vector<float*> state(all.begin() + 1, all.end());
    if constexpr (!rules::Measured<Update>) {
      passes = {{all, gradients}};
    } else if constexpr (rules::state_done_first<Update>) {
      std::vector<const float*> applied(state.begin(), state.end());
      if (rules::applies_gradient<Update>) applied.insert(applied.end(), rows.begin(), rows.end());
      passes = {{state, measured}, {params, applied}};
    } else {
      passes = {{{}, measured}, {all, gradients}};
    }
  };
  std::visit([&](const auto& held) { rules::with_update(held, matrix, add); }, rule);
  return passes;
}

std::int64_t bytes_of(const std::vector<Pass>& passes, std::int64_t size) {
  std::int64_t bytes = 0;
  for (const Pass& pass : passes) {
    bytes += 4 * size * (2 * std::ssize(pass.in_place) + std::ssize(pass.read));
  }
  return bytes;
}

Stages::Stages(const Case& which, Device device, float* params, const float* const* rows,
               Stream stream)
    : setup_(which.layout(), which.options(device)),
      backend_(device.kind == Device::Kind::cpu ? host::make_cpu_backend(setup_)
                                                : host::make_cuda_backend(setup_)),
      memory_{params, std::span(rows, static_cast<std::size_t>(which.tasks)), nullptr, {}},
      stream_(stream),
      in_place_{params} {
  for (int s = 0; s < setup_.states; ++s) {
    in_place_.push_back(static_cast<float*>(backend_->state(s)));
  }
  gram();
  for (int step = 0; step < steps; ++step) plan();
}

std::vector<Pass> Stages::passes() const {
  const auto* rows = static_cast<const float* const*>(memory_.rows.pointers);
  return passes_of(setup_.rule, setup_.places.kinds[true], in_place_,
                   {rows, static_cast<std::size_t>(setup_.tasks)});
}

}  // namespace gramstep::bench
