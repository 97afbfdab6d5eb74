#include "bench/subject.hpp"

#include <stdexcept>

namespace gramstep::bench {

std::string Case::name(const std::string& subject) const {
  std::string name = subject + (rule.empty() ? "" : "/" + rule) + "/K:" + std::to_string(tasks) +
                     "/N:" + std::to_string(size);
  return segments == 1 ? name : name + "/segments:" + std::to_string(segments);
}

Layout make_layout(std::int64_t size, int segments) {
  Layout layout;
  for (int s = 0; s < segments; ++s) layout.add("segment" + std::to_string(s), {size / segments});
  return layout;
}

Rule make_rule(const std::string& name) {
  if (name == "SGD") return SGD{};
  if (name == "momentum") return SGD{.momentum = 0.9};
  if (name == "Adam") return Adam{};
  if (name == "AdamW") return AdamW{};
  throw std::invalid_argument("make_rule: got " + name);
}

OptimizerOptions make_options(const Case& which, Device device) {
  OptimizerOptions options{.rule = make_rule(which.rule), .tasks = which.tasks, .device = device};
  if (which.tasks > 1) options.aggregator = PCGrad{.seed = 1};
  options.clip_norm = 1e30;
  return options;
}

Stages::Stages(const Case& which, const Rows& rows, Device device)
    : layout_(make_layout(which.size, which.segments)),
      setup_(layout_, make_options(which, device)),
      backend_(host::make_cpu_backend(setup_)),
      params_(layout_.size()),
      memory_{params_.data(), rows.pointers(), nullptr},
      in_place_{params_.data()} {
  fill_uniform(params_.span(), 0);
  for (int s = 0; s < setup_.states; ++s) in_place_.push_back(backend_->state(s));
  gram();
  backend_->plan(nullptr);
}

}  // namespace gramstep::bench
