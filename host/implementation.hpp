// What an Optimizer holds: shared by the sources of its members, not installed.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "gramstep/error.hpp"
#include "gramstep/optimizer.hpp"
#include "host/backend.hpp"
#include "host/validation.hpp"

namespace gramstep::host {

/// The pointers of a step that was found valid, so that the same step again costs no check.
class LastStep {
 public:
  bool is(const host::StepMemory& memory, Stream stream) const {
    bool same = known_ && params_ == memory.params && heads_ == memory.heads && stream_ == stream &&
                memory.outputs.none();
    for (int k = 0; same && k < memory.rows.count; ++k) same = memory.rows[k] == rows_[k];
    return same;
  }
  // The losses are no part of it: they are checked anew at every step.
  void remember(const host::StepMemory& memory, Stream stream) {
    for (int k = 0; k < memory.rows.count; ++k) rows_[k] = memory.rows[k];
    params_ = memory.params;
    heads_ = memory.heads;
    stream_ = stream;
    known_ = true;
  }

 private:
  bool known_ = false;
  const void* params_ = nullptr;
  const void* heads_ = nullptr;
  Stream stream_ = nullptr;
  const void* rows_[max_tasks] = {};
};

/// The backend of the setup's device.
inline std::unique_ptr<host::Backend> make_backend(const host::Setup& setup) {
  return setup.device.kind == Device::Kind::cpu ? host::make_cpu_backend(setup)
                                                : host::make_cuda_backend(setup);
}

/// The options, which fit the layout. Throws InvalidArgument where they do not.
inline const OptimizerOptions& validated(const Layout& layout, const OptimizerOptions& options) {
  validate(layout, options);
  return options;
}

/// Where a name is in a list. Throws InvalidArgument that offers the list.
inline int index_of(const char* call, std::string_view name,
                    std::span<const std::string_view> names) {
  const auto found = std::ranges::find(names, name);
  if (found != names.end()) return static_cast<int>(found - names.begin());
  std::string message = std::string(call) + ": got \"" + std::string(name) + "\", expected one of:";
  for (const std::string_view each : names) message += " " + std::string(each);
  throw InvalidArgument(names.empty() ? message + " none" : message);
}

}  // namespace gramstep::host

namespace gramstep::inline v1 {

class Optimizer::Implementation {
 public:
  Implementation(Layout its_layout, OptimizerOptions its_options)
      : layout(std::move(its_layout)),
        options(std::move(its_options)),
        setup(layout, host::validated(layout, options)),
        backend(host::make_backend(setup)) {
    for (int s = 0; s < setup.states; ++s) {
      states.emplace_back(backend->state(s), setup.state_size(s), setup.state_type(s));
    }
  }

  void check(const host::StepMemory& memory, Stream stream) const {
    if (last.is(memory, stream)) return;
    host::validate_overlap(layout, options.precision, memory, states);
    host::validate_devices(layout, memory, *backend);
    backend->check_stream(stream);
  }

  void step(const host::StepMemory& memory, Stream stream) {
    check(memory, stream);
    last.remember(memory, stream);
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

  std::string rule_name() const {
    return std::visit([](const auto& rule) { return std::string(rule.name); }, options.rule);
  }

  /// A segment's part of the state of that name. Throws InvalidArgument where the rule keeps none such, or
  /// none of that segment.
  const host::StatePart& state_part(std::string_view name, int segment) const {
    host::index_of("Optimizer::state", name, setup.state_names());
    const host::StatePart* part = setup.places.part(segment, name);
    if (part != nullptr) return *part;
    const bool matrix = setup.segments[static_cast<std::size_t>(segment)].matrix != 0;
    throw InvalidArgument("Optimizer::state: got \"" + std::string(name) + "\" of segment " +
                          layout.segment(segment).name + ", expected a segment that is " +
                          (matrix ? "no matrix" : "a matrix") + " to " + rule_name());
  }

  /// The buffer of that state over the whole layout. Throws InvalidArgument where there is none.
  Buffer whole_state(std::string_view name) const {
    const int index = host::index_of("Optimizer::state", name, setup.state_names());
    const int beside = setup.places.params_state(name);
    if (beside >= 0) return states[static_cast<std::size_t>(beside)];
    expect(setup.places.whole, "Optimizer::state",
           "got no segment, expected one, for " + rule_name() +
               " keeps other state of matrices than of other segments");
    return states[static_cast<std::size_t>(index)];
  }

  /// State of fp32. Throws InvalidArgument where it is of another type.
  std::span<float> floats(std::string_view name, const Buffer& state) const {
    if (state.dtype != DType::float32) {
      throw InvalidArgument("Optimizer::state: got \"" + std::string(name) + "\", which is " +
                            std::string(name_of(state.dtype)) +
                            ", expected state of float32; stored_state gives any");
    }
    return {static_cast<float*>(state.data), static_cast<std::size_t>(state.size)};
  }

  /// Hands the backend what of the options may change.
  void set_controls(Stream stream) {
    setup.rule = options.rule;
    backend->set_controls(host::controls_of(options), stream);
  }

  Layout layout;
  OptimizerOptions options;
  host::Setup setup;  // the backend refers to it
  std::unique_ptr<host::Backend> backend;
  std::vector<Buffer> states;
  host::LastStep last;
  mutable std::int64_t reported_skips = 0;
};

}  // namespace gramstep::inline v1
