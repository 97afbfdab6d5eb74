// Optimizer: validates, then hands the step to its backend.
#include "gramstep/optimizer.hpp"

#include <new>

#include "host/implementation.hpp"
#include "host/report.hpp"

namespace gramstep::inline v1 {

Optimizer::Optimizer(Layout layout, OptimizerOptions options) try
    : implementation_(std::make_unique<Implementation>(std::move(layout), std::move(options))) {
} catch (const std::bad_alloc&) {
  throw OutOfMemory("Optimizer: no host memory for the tables of this layout");
}
Optimizer::~Optimizer() = default;
Optimizer::Optimizer(Optimizer&&) noexcept = default;
Optimizer& Optimizer::operator=(Optimizer&&) noexcept = default;

const Optimizer::Implementation& Optimizer::checked(std::string_view member) const {
  if (!implementation_) {
    throw InvalidState("Optimizer::" + std::string(member) + ": this optimizer was moved from");
  }
  return *implementation_;
}

Optimizer::Implementation& Optimizer::checked(std::string_view member) {
  return const_cast<Implementation&>(std::as_const(*this).checked(member));
}

void Optimizer::step(Buffer params, const Gradients& gradients, Stream stream) {
  step(params, gradients, Outputs{}, stream);
}

void Optimizer::step(Buffer params, const Gradients& gradients, const Outputs& outputs,
                     Stream stream) {
  Implementation& self = checked("step");
  host::validate_sizes(self.layout, self.options, params, gradients);
  if (!outputs.none()) host::validate_outputs(self.layout, self.options, outputs);
  self.step({params.data, gradients.rows, gradients.heads.data,
             host::losses_of(self.setup, gradients.losses),
             host::scaling_of(gradients, *self.backend), outputs},
            stream);
}

void Optimizer::step(Buffer params, ConstBuffer gradient, Stream stream) {
  const Implementation& self = checked("step");
  if (self.options.tasks != 1) {
    throw InvalidArgument("Optimizer::step: gradients: got one gradient, expected " +
                          std::to_string(self.options.tasks) + " rows (tasks)");
  }
  if (gradient.size != self.layout.size()) {
    throw InvalidArgument("Optimizer::step: gradient: got " + std::to_string(gradient.size) +
                          ", expected " + std::to_string(self.layout.size()) + " (layout.size())");
  }
  step(params,
       Gradients{.rows = {&gradient.data, 1, gradient.dtype},
                 .row_size = self.layout.shared_size(),
                 .heads = gradient.from(self.layout.shared_size())},
       stream);
}

void Optimizer::accumulate(std::span<float> sum, ConstBuffer gradient, double scale,
                           Stream stream) {
  Implementation& self = checked("accumulate");
  expect_in("Optimizer::accumulate: scale", scale, -infinity);
  host::validate_accumulation(sum, gradient, *self.backend);
  self.backend->check_stream(stream);
  self.backend->accumulate({.sum = sum.data(),
                            .gradient = gradient.data,
                            .dtype = gradient.dtype,
                            .size = gradient.size,
                            .scale = static_cast<float>(scale),
                            .aligned = false},
                           stream);
}

void Optimizer::set_lr(double lr, Stream stream) {
  Implementation& self = checked("set_lr");
  expect_in("Optimizer::set_lr: lr", lr, 0);
  self.backend->check_stream(stream);
  std::visit([&](auto& rule) { rule.lr = lr; }, self.options.rule);
  self.set_controls(stream);
}

void Optimizer::set_rule(const Rule& rule, Stream stream) {
  Implementation& self = checked("set_rule");
  OptimizerOptions options = self.options;
  options.rule = rule;
  host::validate(self.layout, options);
  host::expect_state_allows(self.options.rule, rule);
  self.backend->check_stream(stream);
  self.options.rule = rule;
  self.set_controls(stream);
}

void Optimizer::set_schedule(const Schedule& schedule, const Warmup& warmup, Stream stream) {
  Implementation& self = checked("set_schedule");
  OptimizerOptions options = self.options;
  options.schedule = schedule;
  options.warmup = warmup;
  host::validate(self.layout, options);
  self.backend->check_stream(stream);
  self.options = std::move(options);
  self.set_controls(stream);
}

void Optimizer::set_clip_norm(double clip_norm, Stream stream) {
  Implementation& self = checked("set_clip_norm");
  host::expect_positive("Optimizer::set_clip_norm: clip_norm", clip_norm);
  if (!self.options.clip_norm) {
    throw InvalidState(
        "Optimizer::set_clip_norm: got a norm to clip at, expected none: the optimizer was made "
        "without OptimizerOptions.clip_norm");
  }
  self.backend->check_stream(stream);
  self.options.clip_norm = clip_norm;
  self.set_controls(stream);
}

void Optimizer::set_loss_scale(double loss_scale, Stream stream) {
  Implementation& self = checked("set_loss_scale");
  host::expect_loss_scale("Optimizer::set_loss_scale: loss_scale", loss_scale, self.options);
  self.backend->check_stream(stream);
  self.options.loss_scale = loss_scale;
  self.backend->set_loss_scale(loss_scale, stream);
}

const float* Optimizer::loss_scale_data() const {
  return checked("loss_scale_data").backend->loss_scale_data();
}

void Optimizer::set_active(std::string_view segment, bool active, Stream stream) {
  Implementation& self = checked("set_active");
  const int index = self.layout.index(segment);
  self.backend->check_stream(stream);
  self.backend->set_active(index, active, stream);
}

void Optimizer::evaluation_params(ConstBuffer params, Buffer out, Stream stream) {
  Implementation& self = checked("evaluation_params");
  host::validate_evaluation(self.layout, self.options.precision.params, params, out, *self.backend);
  self.backend->check_stream(stream);
  kernels::EvaluationBody body{};
  body.params = params.data;
  body.out = out.data;
  if (self.options.ema_decay) {
    body.z = static_cast<const float*>(self.whole_state("ema").data);
    body.beyond = 1;
  }
  std::visit(
      [&](const auto& rule) {
        if constexpr (requires { rule.averaging(); }) {
          body.z = static_cast<const float*>(self.whole_state("z").data);
          // In double: it is what is left of two numbers near 1.
          body.beyond = static_cast<float>(1.0 - 1.0 / rule.averaging());
        }
      },
      self.options.rule);
  self.backend->evaluate(body, stream);
}

Report Optimizer::report(Stream stream) const {
  const Implementation& self = checked("report");
  self.backend->check_stream(stream);
  if (self.raises()) self.raise_if_skipped(stream);
  return host::make_report(self.setup, self.backend->read_step(stream),
                           self.backend->read_plan(stream));
}

const Layout& Optimizer::layout() const { return checked("layout").layout; }
const OptimizerOptions& Optimizer::options() const { return checked("options").options; }

}  // namespace gramstep::inline v1
