// Optimizer: validates, then hands the step to its backend.
#include "gramstep/optimizer.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "gramstep/error.hpp"
#include "host/backend.hpp"
#include "host/plan_state.hpp"
#include "host/report.hpp"
#include "host/validation.hpp"

namespace gramstep::inline v1 {
namespace {

/// The pointers of a step that was found valid, so that the same step again costs no check.
class LastStep {
 public:
  bool is(const host::StepMemory& memory, int tasks, Stream stream) const {
    return known_ && params_ == memory.params && heads_ == memory.heads && stream_ == stream &&
           std::equal(memory.rows, memory.rows + tasks, rows_);
  }
  // The losses are no part of it: they are checked anew at every step.
  void remember(const host::StepMemory& memory, int tasks, Stream stream) {
    std::copy_n(memory.rows, tasks, rows_);
    params_ = memory.params;
    heads_ = memory.heads;
    stream_ = stream;
    known_ = true;
  }

 private:
  bool known_ = false;
  const float* params_ = nullptr;
  const float* heads_ = nullptr;
  Stream stream_ = nullptr;
  const float* rows_[max_tasks] = {};
};

std::unique_ptr<host::Backend> make_backend(const host::Setup& setup) {
  return setup.device.kind == Device::Kind::cpu ? host::make_cpu_backend(setup)
                                                : host::make_cuda_backend(setup);
}

/// Throws InvalidState unless the plans keep the same state and the aggregators the same momenta: of one
/// shape, and of one aggregator, for several give state of one shape one name.
void expect_same_plan_state(const host::Setup& to, const host::Setup& from) {
  const auto kept = host::plan_states(to), offered = host::plan_states(from);
  const auto name = [](const host::Setup& setup) { return std::string(setup.traits.name); };
  const bool stateful = !kept.empty() || !offered.empty() || to.momenta() + from.momenta() > 0;
  if (stateful && name(to) != name(from)) {
    throw InvalidState("Optimizer::copy_state: got the plan's state of aggregator " + name(from) +
                       ", expected that of " + name(to));
  }
  if (!std::ranges::equal(kept, offered, {}, &PlanState::name, &PlanState::name)) {
    throw InvalidState(std::string("Optimizer::copy_state: got the plan's state ") +
                       (from.smoothing > 0 ? "with" : "without") + " smoothed weights, expected " +
                       (to.smoothing > 0 ? "with" : "without"));
  }
  const auto shape = [](const host::Setup& setup) {
    return std::to_string(setup.tasks) + " tasks and " + std::to_string(setup.shape.projections) +
           " projections";
  };
  if (shape(to) != shape(from)) {
    throw InvalidState("Optimizer::copy_state: got a plan of " + shape(from) + ", expected " +
                       shape(to));
  }
}

const OptimizerOptions& validated(const Layout& layout, const OptimizerOptions& options) {
  host::validate(layout, options);
  return options;
}

}  // namespace

class Optimizer::Implementation {
 public:
  Implementation(Layout its_layout, OptimizerOptions its_options)
      : layout(std::move(its_layout)),
        options(std::move(its_options)),
        setup(layout, validated(layout, options)),
        backend(make_backend(setup)) {
    for (int s = 0; s < setup.states; ++s) states.push_back(backend->state(s));
  }

  void check(const host::StepMemory& memory, Stream stream) const {
    if (last.is(memory, setup.tasks, stream)) return;
    host::validate_overlap(layout, setup.tasks, memory, states);
    host::validate_devices(layout, setup.tasks, memory, *backend);
    backend->check_stream(stream);
  }

  void step(const host::StepMemory& memory, Stream stream) {
    check(memory, stream);
    last.remember(memory, setup.tasks, stream);
    if (setup.look) backend->gram(memory, stream);
    backend->plan(memory, stream);
    backend->update(memory, stream);
    // The host sees a CPU step's outcome at once, a CUDA step's when it next waits.
    if (raises() && options.device.kind == Device::Kind::cpu) raise_if_skipped(nullptr);
  }

  bool raises() const { return options.non_finite == NonFinite::error; }

  /// Throws where a step was skipped since this was last asked. Waits for the stream.
  void raise_if_skipped(Stream stream) const {
    const std::int64_t skipped = backend->read_step(stream).skipped_steps;
    const std::int64_t fresh = skipped - std::exchange(reported_skips, skipped);
    if (fresh > 0) {
      throw NonFiniteGradient("Optimizer: got " + std::to_string(fresh) +
                              " step(s) with a gradient that is not finite, expected none; "
                              "they were not taken");
    }
  }

  int state_index(std::string_view name) const {
    const auto names = state_names();
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      std::string message = "Optimizer::state: got \"" + std::string(name) + "\", expected one of:";
      for (const std::string_view each : names) message += " " + std::string(each);
      throw InvalidArgument(names.empty() ? message + " none" : message);
    }
    return static_cast<int>(found - names.begin());
  }

  std::vector<std::string_view> state_names() const {
    return std::visit(
        [&](const auto& rule) {
          return std::vector<std::string_view>(rule.state_names.begin(),
                                               rule.state_names.begin() + setup.states);
        },
        options.rule);
  }

  double& lr() {
    return *std::visit([](auto& rule) { return &rule.lr; }, options.rule);
  }

  Layout layout;
  OptimizerOptions options;
  host::Setup setup;  // the backend refers to it
  std::unique_ptr<host::Backend> backend;
  std::vector<float*> states;
  LastStep last;
  mutable std::int64_t reported_skips = 0;
};

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

void Optimizer::step(std::span<float> params, const Gradients& gradients, Stream stream) {
  Implementation& self = checked("step");
  host::validate_sizes(self.layout, self.options.tasks, params, gradients);
  self.step({params.data(), gradients.rows.data(), gradients.heads.data(),
             host::losses_of(self.setup, gradients.losses)},
            stream);
}

void Optimizer::step(std::span<float> params, std::span<const float> gradient, Stream stream) {
  const Implementation& self = checked("step");
  if (self.options.tasks != 1) {
    throw InvalidArgument("Optimizer::step: gradients: got one gradient, expected " +
                          std::to_string(self.options.tasks) + " rows (tasks)");
  }
  if (std::ssize(gradient) != self.layout.size()) {
    throw InvalidArgument("Optimizer::step: gradient: got " + std::to_string(gradient.size()) +
                          ", expected " + std::to_string(self.layout.size()) + " (layout.size())");
  }
  const float* row = gradient.data();
  step(params,
       Gradients{.rows = {&row, 1},
                 .row_size = self.layout.shared_size(),
                 .heads = gradient.subspan(static_cast<std::size_t>(self.layout.shared_size()))},
       stream);
}

void Optimizer::set_lr(double lr, Stream stream) {
  Implementation& self = checked("set_lr");
  expect_in("Optimizer::set_lr: lr", lr, 0);
  self.backend->check_stream(stream);
  self.lr() = lr;
  self.backend->set_controls({lr, self.options.loss_scale}, stream);
}

void Optimizer::set_loss_scale(double loss_scale, Stream stream) {
  Implementation& self = checked("set_loss_scale");
  host::expect_positive("Optimizer::set_loss_scale: loss_scale", loss_scale);
  self.backend->check_stream(stream);
  self.options.loss_scale = loss_scale;
  self.backend->set_controls({self.lr(), loss_scale}, stream);
}

void Optimizer::set_active(std::string_view segment, bool active, Stream stream) {
  Implementation& self = checked("set_active");
  const int index = self.layout.index(segment);
  self.backend->check_stream(stream);
  self.backend->set_active(index, active, stream);
}

Report Optimizer::report(Stream stream) const {
  const Implementation& self = checked("report");
  self.backend->check_stream(stream);
  if (self.raises()) self.raise_if_skipped(stream);
  return host::make_report(self.setup, self.backend->read_step(stream),
                           self.backend->read_plan(stream));
}

std::vector<std::int64_t> Optimizer::segment_steps(Stream stream) const {
  const Implementation& self = checked("segment_steps");
  self.backend->check_stream(stream);
  std::vector<std::int64_t> steps;
  for (const auto& segment : self.backend->read_segments(stream)) steps.push_back(segment.steps);
  return steps;
}

void Optimizer::set_steps(std::int64_t steps, std::span<const std::int64_t> segment_steps,
                          Stream stream) {
  Implementation& self = checked("set_steps");
  host::validate_steps("Optimizer::set_steps: steps", steps);
  if (std::ssize(segment_steps) != self.layout.segments()) {
    throw InvalidArgument("Optimizer::set_steps: segment_steps: got " +
                          std::to_string(segment_steps.size()) + ", expected " +
                          std::to_string(self.layout.segments()) + " (layout.segments())");
  }
  for (std::size_t s = 0; s < segment_steps.size(); ++s) {
    host::validate_steps("Optimizer::set_steps: segment_steps[" + std::to_string(s) + "]",
                         segment_steps[s], steps);
  }
  self.backend->check_stream(stream);
  kernels::StepState step = self.backend->read_step(stream);
  auto segments = self.backend->read_segments(stream);
  step.steps = steps;
  for (std::size_t s = 0; s < segments.size(); ++s) segments[s].steps = segment_steps[s];
  self.backend->write_step(step, segments);
}

std::vector<std::string_view> Optimizer::state_names() const {
  return checked("state_names").state_names();
}

std::span<float> Optimizer::state(std::string_view name) {
  Implementation& self = checked("state");
  return {self.states[static_cast<std::size_t>(self.state_index(name))],
          static_cast<std::size_t>(self.layout.size())};
}

TensorView<float> Optimizer::state(std::string_view name, std::string_view segment) {
  return view(checked("state").layout, state(name).data(), segment);
}

std::string_view Optimizer::promise() const { return checked("promise").setup.traits.promise; }

std::vector<std::string_view> Optimizer::plan_state_names() const {
  std::vector<std::string_view> names;
  for (const PlanState& piece : host::plan_states(checked("plan_state_names").setup)) {
    names.push_back(piece.name);
  }
  return names;
}

std::vector<double> Optimizer::plan_state(std::string_view name, Stream stream) const {
  const Implementation& self = checked("plan_state");
  self.backend->check_stream(stream);
  return host::read_plan_state(self.setup, *self.backend, name, stream);
}

void Optimizer::set_plan_state(std::string_view name, std::span<const double> values,
                               Stream stream) {
  Implementation& self = checked("set_plan_state");
  self.backend->check_stream(stream);
  host::write_plan_state(self.setup, *self.backend, name, values, stream);
}

std::span<float> Optimizer::task_momentum(int task, Stream stream) {
  Implementation& self = checked("task_momentum");
  self.backend->check_stream(stream);
  if (!self.setup.traits.momentum || task < 0 || task >= self.setup.tasks) {
    throw InvalidArgument("Optimizer::task_momentum: got task " + std::to_string(task) + " of " +
                          std::string(self.setup.traits.name) +
                          ", expected a task of an aggregator with momentum");
  }
  const int buffer = kernels::current_buffer(self.backend->read_step(stream));
  float* rows = self.backend->state(self.setup.states);
  return {rows + (buffer * self.setup.tasks + task) * self.setup.momentum_stride(),
          static_cast<std::size_t>(self.layout.shared_size())};
}

int Optimizer::projection_of(std::string_view segment) const {
  const Implementation& self = checked("projection_of");
  const int index = self.layout.index(segment);
  expect(self.layout.segment(index).task == shared_by_all, segment, "is a head, expected shared");
  return self.setup.projection_of[static_cast<std::size_t>(index)];
}

void Optimizer::copy_state(const Optimizer& from) {
  Implementation& self = checked("copy_state");
  const Implementation& other = from.checked("copy_state: from");
  if (!(self.layout == other.layout)) {
    throw InvalidState("Optimizer::copy_state: got state of another layout");
  }
  if (self.state_names() != other.state_names()) {
    throw InvalidState("Optimizer::copy_state: got state of a rule that keeps other state");
  }
  expect_same_plan_state(self.setup, other.setup);
  auto segments = self.backend->read_segments(nullptr);
  const auto theirs = other.backend->read_segments(nullptr);
  for (std::size_t s = 0; s < segments.size(); ++s) {
    segments[s].steps = theirs[s].steps;
    segments[s].active = theirs[s].active;
  }
  auto step = other.backend->read_step(nullptr);
  step.controls = self.backend->read_step(nullptr).controls;
  self.reported_skips = step.skipped_steps;
  const int buffers = self.setup.states + (self.setup.traits.momentum ? 1 : 0);
  std::vector<float> buffer;
  for (int s = 0; s < buffers; ++s) {
    buffer.resize(static_cast<std::size_t>(self.setup.state_size(s)));
    other.backend->read_state(s, buffer.data());
    self.backend->write_state(s, buffer.data());
  }
  self.backend->write_plan(other.backend->read_plan(nullptr));
  self.backend->write_step(step, segments);
}

const Layout& Optimizer::layout() const { return checked("layout").layout; }
const OptimizerOptions& Optimizer::options() const { return checked("options").options; }

}  // namespace gramstep::inline v1
