#include "bench/subject.hpp"

#include <stdexcept>

namespace gramstep::bench {
namespace {

Rule make_rule(const std::string& name) {
  if (name == "SGD") return SGD{};
  if (name == "momentum") return SGD{.momentum = 0.9};
  if (name == "Adam") return Adam{};
  if (name == "AdamW") return AdamW{};
  throw std::invalid_argument("Case.rule: got " + name + ", expected SGD, momentum, Adam or AdamW");
}

}  // namespace

std::string Case::name(const std::string& subject) const {
  const std::string name = subject + "/K:" + std::to_string(tasks) + "/N:" + std::to_string(size);
  return segments == 1 ? name : name + "/segments:" + std::to_string(segments);
}

Layout Case::layout() const {
  Layout layout;
  for (int s = 0; s < segments; ++s) layout.add("segment" + std::to_string(s), {size / segments});
  return layout;
}

OptimizerOptions Case::options(Device device) const {
  OptimizerOptions options{.rule = make_rule(rule), .tasks = tasks, .device = device};
  if (tasks > 1) options.aggregator = PCGrad{.order = PCGradOrder::fixed};
  options.clip_norm = 1e30;
  return options;
}

Stages::Stages(const Case& which, Device device, float* params, const float* const* rows,
               Stream stream)
    : setup_(which.layout(), which.options(device)),
      backend_(device.kind == Device::Kind::cpu ? host::make_cpu_backend(setup_)
                                                : host::make_cuda_backend(setup_)),
      memory_{params, rows, nullptr, {}},
      stream_(stream),
      in_place_{params} {
  for (int s = 0; s < setup_.states; ++s) in_place_.push_back(backend_->state(s));
  gram();
  backend_->plan(memory_, stream_);
}

}  // namespace gramstep::bench
