// Optimizer: its state by name, step counts, and copies of them.
#include <algorithm>

#include "host/implementation.hpp"
#include "host/plan_state.hpp"

namespace gramstep::inline v1 {
namespace {

/// The types of a run's parameters and state.
std::string named(const Precision& precision) {
  return std::string(name_of(precision.params)) + " parameters, in " +
         std::string(name_of(precision.states));
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

}  // namespace

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
  return checked("state_names").setup.state_names();
}

std::vector<std::string_view> Optimizer::state_names(std::string_view segment) const {
  const Implementation& self = checked("state_names");
  return self.setup.state_names(self.layout.index(segment));
}

std::span<float> Optimizer::state(std::string_view name) {
  return checked("state").floats(name, stored_state(name));
}

Buffer Optimizer::stored_state(std::string_view name) {
  return checked("stored_state").whole_state(name);
}

Buffer Optimizer::stored_state(std::string_view name, std::string_view segment) {
  const Implementation& self = checked("stored_state");
  const host::StatePart& part = self.state_part(name, self.layout.index(segment));
  const Buffer& buffer = self.states[static_cast<std::size_t>(part.buffer)];
  return {buffer.from(part.offset).data, part.size(), buffer.dtype};
}

TensorView<float> Optimizer::state(std::string_view name, std::string_view segment) {
  Implementation& self = checked("state");
  const host::StatePart& part = self.state_part(name, self.layout.index(segment));
  const std::span<float> state = self.floats(name, stored_state(name, segment));
  return {state.data(), part.size(), part.shape};
}

std::vector<std::string_view> Optimizer::segment_state_names() const {
  const auto names = host::segment_state_names(checked("segment_state_names").options.rule);
  return {names.begin(), names.end()};
}

std::vector<double> Optimizer::segment_state(std::string_view name, Stream stream) const {
  const Implementation& self = checked("segment_state");
  const int index = host::index_of("Optimizer::segment_state", name,
                                   host::segment_state_names(self.options.rule));
  self.backend->check_stream(stream);
  std::vector<double> values;
  for (const auto& segment : self.backend->read_segments(stream)) {
    values.push_back(segment.kept[index]);
  }
  return values;
}

void Optimizer::set_segment_state(std::string_view name, std::span<const double> values,
                                  Stream stream) {
  Implementation& self = checked("set_segment_state");
  const int index = host::index_of("Optimizer::set_segment_state", name,
                                   host::segment_state_names(self.options.rule));
  if (std::ssize(values) != self.layout.segments()) {
    throw InvalidArgument("Optimizer::set_segment_state: values: got " +
                          std::to_string(values.size()) + ", expected " +
                          std::to_string(self.layout.segments()) + " (layout.segments())");
  }
  self.backend->check_stream(stream);
  const kernels::StepState step = self.backend->read_step(stream);
  auto segments = self.backend->read_segments(stream);
  for (std::size_t s = 0; s < segments.size(); ++s) segments[s].kept[index] = values[s];
  self.backend->write_step(step, segments);
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
  auto* rows = static_cast<float*>(self.backend->state(self.setup.states));
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
  auto segments = self.backend->read_segments(nullptr);
  const auto theirs = other.backend->read_segments(nullptr);
  const Precision& stored = self.setup.precision;
  const Precision& offered = other.setup.precision;
  if (stored.states != offered.states || stored.params != offered.params) {
    throw InvalidState("Optimizer::copy_state: got state beside " + named(offered) +
                       ", expected it beside " + named(stored));
  }
  if (state_names() != from.state_names() || segment_state_names() != from.segment_state_names() ||
      !std::ranges::equal(segments, theirs, {}, &kernels::SegmentState::matrix,
                          &kernels::SegmentState::matrix)) {
    throw InvalidState("Optimizer::copy_state: got state of a rule that keeps other state");
  }
  expect_same_plan_state(self.setup, other.setup);
  for (std::size_t s = 0; s < segments.size(); ++s) {
    segments[s].steps = theirs[s].steps;
    segments[s].active = theirs[s].active;
    std::ranges::copy(theirs[s].kept, segments[s].kept);
  }
  auto step = other.backend->read_step(nullptr);
  const kernels::StepState own = self.backend->read_step(nullptr);
  step.controls = own.controls;
  step.loss_scale = own.loss_scale;
  self.reported_skips = step.skipped_steps;
  std::vector<char> buffer;
  const auto copy_buffer = [&](int to, int source) {
    buffer.resize(static_cast<std::size_t>(self.setup.state_bytes(to)));
    other.backend->read_state(source, buffer.data());
    self.backend->write_state(to, buffer.data());
  };
  for (int s = 0; s < host::state_buffers(self.options.rule); ++s) copy_buffer(s, s);
  for (int s = 0; s < self.setup.params_states(); ++s) {
    copy_buffer(self.setup.places.rule_buffers + s, other.setup.places.rule_buffers + s);
  }
  if (self.setup.traits.momentum) copy_buffer(self.setup.states, other.setup.states);
  self.backend->write_plan(other.backend->read_plan(nullptr));
  self.backend->write_step(step, segments);
}

}  // namespace gramstep::inline v1
