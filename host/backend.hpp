// Backend: one device's memory and its three stages, behind one interface.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gramstep/optimizer.hpp"
#include "host/aggregator_traits.hpp"
#include "host/places.hpp"
#include "host/work_table.hpp"
#include "kernels/alone.hpp"

namespace gramstep::host {

/// Everything about an optimizer that does not change from step to step, worked out on the host.
struct Setup {
  std::vector<std::int32_t> projection_of;  // [segments]
  Work work;
  Places places;
  std::vector<kernels::GroupSettings> groups;   // what they leave to the rule still open
  std::vector<kernels::SegmentState> segments;  // as they are before the first step
  kernels::StepState initial;
  Rule rule;  // may be set between steps
  Aggregator aggregator;
  AggregatorTraits traits;  // of that aggregator
  Device device;
  std::int64_t size = 0;     // elements of the flat buffer
  std::int64_t scratch = 0;  // doubles a projection
  kernels::PlanShape shape{};
  Precision precision;
  std::optional<double> ema_decay;
  bool zero_gradients = false;
  bool offload_state = false;
  double smoothing = 0;
  int tasks = 1;
  int states = 0;           // buffers that were taken: a rule that is set later may need fewer
  float initial_state = 0;  // what those of the rule begin with
  bool look = true;         // run the gram stage
  bool checks = true;       // skip a step whose gradient is not finite

  /// Layout and options must have been validated. `chunk_elements`: see Work.
  Setup(const Layout& layout, const OptimizerOptions& options, std::int64_t chunk_elements);
  Setup(const Layout& layout, const OptimizerOptions& options)
      : Setup(layout, options, chunk_elements_of(layout)) {}

  /// The plan's arrays before the first step: nothing was seen, so every finding is NaN.
  std::vector<double> fresh_plan() const;

  /// Elements from a momentum to the next: skewed, so that no power of two maps all of them to the same
  /// sets of a cache.
  std::int64_t momentum_stride() const { return work.shared_size + 272; }
  /// Elements of Backend::state(index).
  std::int64_t state_size(int index) const {
    return index < states ? places.sizes[static_cast<std::size_t>(index)] : momenta();
  }
  /// The type of its elements.
  DType state_type(int index) const {
    return index < states ? places.types[static_cast<std::size_t>(index)] : DType::float32;
  }
  std::int64_t state_bytes(int index) const {
    return state_size(index) * size_of(state_type(index));
  }
  /// Where Backend::state(index) begins in one array of all of them that lie `apart` bytes from each other;
  /// of index = states, how long it is.
  std::int64_t state_offset(int index, std::int64_t apart) const {
    std::int64_t offset = apart * index;
    for (int i = 0; i < index; ++i) offset += state_bytes(i);
    return offset;
  }
  /// What Backend::state(index) begins with, its bytes; empty where they are all zero.
  std::vector<char> initial_buffer(int index) const;
  /// Elements of all momenta; 0 for an aggregator without any.
  std::int64_t momenta() const { return traits.momentum ? 2 * tasks * momentum_stride() : 0; }

  /// How many of Places::params_states are kept with the present rule, the first ones.
  int params_states() const;
  /// The names of the state that is kept, with the present rule; and of a segment.
  std::vector<std::string_view> state_names() const;
  std::vector<std::string_view> state_names(int segment) const;

  /// How a step is stored; state_at(index): what Backend::state gives.
  template <class StateAt>
  kernels::Storage storage(const Outputs& outputs, const StateAt& state_at) const {
    const auto at = [&](int index) -> void* { return index < 0 ? nullptr : state_at(index); };
    kernels::Storage stored = storage(outputs, at(places.params_buffer), at(places.ema_buffer));
    for (int s = 0; places.scale_buffers >= 0 && s < places.rule_buffers; ++s) {
      stored.scales[s] = static_cast<float*>(at(places.scale_buffers + s));
    }
    return stored;
  }
  kernels::Storage storage(const Outputs& outputs, void* beside_params, void* ema) const;

  /// What the plan stage is told, but for where its memory is.
  kernels::PlanArguments plan_arguments(const kernels::Losses& losses) const;
};

/// Numbers of any type in host memory from and to fp32; exact where they are numbers of that type. Those of
/// dynamic8 are the codes.
std::vector<float> widened(DType dtype, const void* from, std::int64_t count);
void narrow(DType dtype, std::span<const float> from, void* to);

/// What of the options may be set between steps, as the plan reads it.
kernels::Controls controls_of(const OptimizerOptions& options);

/// The memory of one step, validated.
struct StepMemory {
  void* params;
  Rows rows;  // [K]
  const void* heads;
  kernels::Losses losses;
  kernels::Scaling scaling{};
  Outputs outputs{};
};

/// The gradients of a step, to be left at zero.
kernels::Zeroed zeroed(const StepMemory& memory);

/// What a message calls an argument of a step; text is made of it only when a message is.
struct ArgumentName {
  const char* name;
  int row = -1;  // of the rows
  const char* call = "Optimizer::step";

  std::string text() const;
};

/// See Optimizer for what each member promises.
class Backend {
 public:
  virtual ~Backend() = default;

  /// Throws InvalidArgument unless the pointer is memory of this device.
  virtual void check_memory(const ArgumentName& what, const void* pointer) const = 0;
  virtual void check_stream(Stream stream) const = 0;

  // The three stages. gram is called where Setup::look says so; update does nothing where the plan
  // decided to skip.
  virtual void gram(const StepMemory& memory, Stream stream) = 0;
  virtual void plan(const StepMemory& memory, Stream stream) = 0;
  virtual void update(const StepMemory& memory, Stream stream) = 0;

  // The stages alone, see Aggregation; gram has run before sum_gram. Losses as in StepMemory.
  virtual void sum_gram(double* gram, Stream stream) = 0;
  virtual void weights(const double* gram, double* weights, const kernels::Losses& losses,
                       Stream stream) = 0;
  virtual void combine(const Rows& rows, const double* weights, float* combined, Stream stream) = 0;

  /// See kernels::AccumulateBody.
  virtual void accumulate(const kernels::AccumulateBody& body, Stream stream) = 0;

  /// The copy of the parameters that a model is evaluated with; see kernels::EvaluationBody.
  virtual void evaluate(const kernels::EvaluationBody& body, Stream stream) = 0;

  virtual void set_controls(const kernels::Controls& controls, Stream stream) = 0;
  virtual void set_loss_scale(double loss_scale, Stream stream) = 0;
  virtual void set_active(int segment, bool active, Stream stream) = 0;

  /// The step's state and the segments', read back after waiting for the stream.
  virtual kernels::StepState read_step(Stream stream) const = 0;
  virtual std::vector<kernels::SegmentState> read_segments(Stream stream) const = 0;

  /// The plan's arrays, see kernels::PlanMemory, read back after waiting for the stream.
  virtual std::vector<double> read_plan(Stream stream) const = 0;
  virtual void write_plan(const std::vector<double>& plan) = 0;

  /// The rule's state buffer of that index, or, from `states` on, the momenta: on the device; copied to
  /// and from host memory.
  virtual void* state(int index) = 0;
  virtual void read_state(int index, void* to) const = 0;
  virtual void write_state(int index, const void* from) = 0;
  virtual void write_step(const kernels::StepState& step,
                          const std::vector<kernels::SegmentState>& segments) = 0;

  /// Where the loss scale of the next step is, on the device.
  virtual const float* loss_scale_data() const = 0;
};

/// Takes all memory the backend will need. Throws OutOfMemory, DeviceUnavailable, CudaError.
std::unique_ptr<Backend> make_cpu_backend(const Setup& setup);
std::unique_ptr<Backend> make_cuda_backend(const Setup& setup);

/// Whether the pointer is memory of a CUDA device that the host cannot read.
bool is_device_memory(const void* pointer);

}  // namespace gramstep::host
