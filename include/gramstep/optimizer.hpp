// Optimizer: the class users hold. gram -> plan -> update, on a CPU or a CUDA device.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "gramstep/aggregators/aggregators.hpp"
#include "gramstep/buffer.hpp"
#include "gramstep/export.hpp"
#include "gramstep/layout.hpp"
#include "gramstep/precision.hpp"
#include "gramstep/report.hpp"
#include "gramstep/rules/rules.hpp"
#include "gramstep/saved_run.hpp"
#include "gramstep/schedules.hpp"
#include "gramstep/views.hpp"

struct CUstream_st;

namespace gramstep::inline v1 {

/// A CUDA stream, as cudaStream_t names it, without CUDA's headers; null is the default stream, and
/// the CPU backend takes nothing else.
using Stream = CUstream_st*;

/// Where an optimizer runs.
struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int ordinal = 0;  ///< CUDA device ordinal
  int threads = 0;  ///< CPU threads, 0 for OpenMP's default; never changes a bit of the result
  friend bool operator==(const Device&, const Device&) = default;
};

/// The host, with that many threads (0: OpenMP's default).
inline Device cpu(int threads = 0) { return {Device::Kind::cpu, 0, threads}; }
/// A CUDA device.
inline Device cuda(int ordinal = 0) { return {Device::Kind::cuda, ordinal, 0}; }

/// What to do about a gradient that is not finite.
enum class NonFinite {
  skip,   ///< leave parameters, state and step count as they are, and report it
  error,  ///< as skip, and throw NonFiniteGradient: step() on the CPU, the next report() on CUDA
  propagate,  ///< take the step, as torch.optim does
};

/// Which part of the model has a Gram matrix, and weights, of its own.
enum class Projection {
  model,    ///< one for the whole shared part
  group,    ///< one for every group of the layout that has shared segments
  segment,  ///< one for every shared segment
};

/// A loss scale that adapts itself, as torch.amp.GradScaler's: times backoff_factor where a step is
/// skipped, times growth_factor after growth_interval steps in a row that were not.
struct DynamicLossScale {
  double growth_factor = 2.0;           ///< finite, >= 1
  double backoff_factor = 0.5;          ///< in (0, 1]
  std::int64_t growth_interval = 2000;  ///< steps, > 0
};

/// Everything an optimizer is made from. Validated as a whole by Optimizer's constructor.
struct OptimizerOptions {
  Rule rule = SGD{};              ///< what is done with the combined gradient
  Aggregator aggregator = Sum{};  ///< how the task gradients are combined
  int tasks = 1;                  ///< K, 1 to max_tasks
  /// What becomes of the rule's learning rate from step to step.
  Schedule schedule = ConstantLR{};
  Warmup warmup = {};  ///< before the schedule
  /// Clip the global norm of the combined gradient and the heads', > 0, as
  /// torch.nn.utils.clip_grad_norm_ does: times min(1, clip_norm / (norm + 1e-6)).
  std::optional<double> clip_norm = {};
  double loss_scale = 1.0;  ///< gradients come multiplied by this, finite and > 0
  /// Lets the loss scale adapt, from loss_scale on; see Optimizer::loss_scale_data. Needs a policy that
  /// skips steps whose gradient is not finite, which is what it makes of a policy that is left out.
  std::optional<DynamicLossScale> dynamic_loss_scale = {};
  /// Whether tasks are combined over the whole model or part by part, with the same aggregator; its
  /// state is kept for every part.
  Projection projection = Projection::model;
  /// CR-MOGM round the aggregator: the weights of a step are this share of the last step's and the
  /// rest of what the aggregator chose; in [0, 1), 0 for none. Zhou et al., "On the Convergence of
  /// Stochastic Multi-Objective Gradient Manipulation and Beyond", NeurIPS 2022, who use 0.9.
  double smoothing = 0.0;
  /// Left out: skip where the gram stage runs anyway (several tasks, or a clip), else propagate,
  /// because looking would cost one task a pass over memory of its own. One task with skip or error
  /// pays for that pass.
  std::optional<NonFinite> non_finite = {};
  Precision precision = {};  ///< types that parameters, gradients and state are stored in
  /// Keep an exponential moving average of the parameters, in the same pass: state "ema", [N] fp32, which a
  /// segment's first step sets to its parameters, and every other moves by 1 - ema_decay of the way; in
  /// [0, 1). evaluation_params() writes it. Not for rules that average by themselves.
  std::optional<double> ema_decay = {};
  /// Leave all gradients, rows and heads, at zero, in the same pass: of every step, also one that is skipped,
  /// and of segments without a gradient. They must be memory that may be written to.
  bool zero_gradients = false;
  /// Keep state, masters and moments and momenta, in the host's memory, pinned: the device holds parameters and
  /// gradients alone. Its kernels read and write state over the bus while they compute, many pieces of it at a
  /// time; so a step takes as long as the bus does. For the CPU, whose memory is the host's, the same as not.
  bool offload_state = false;
  Device device = cpu();
};

/// The gradients of one step: K rows over the shared part, and the heads' own gradients. Only read, unless
/// OptimizerOptions::zero_gradients.
/// On CUDA the rows' array is host memory and what it points to device memory. Rows may be the same
/// memory; none may overlap the parameters. Padding and inactive segments are not read into a result. All are
/// of the type that OptimizerOptions::precision says.
struct Gradients {
  Rows rows;                  ///< [K] pointers, each to row_size elements, aligned to an element
  std::int64_t row_size = 0;  ///< must be layout.shared_size()
  ConstBuffer heads = {};     ///< [layout.heads_size()]; its first element belongs to element
                              ///< layout.shared_size() of the flat buffer
  /// [K] losses of the tasks, not multiplied by the loss scale, for an aggregator that needs them; else
  /// they may be left out. On CUDA they may be device memory, or host memory, whose values are then
  /// part of the launch (and of a captured graph).
  std::span<const float> losses = {};
  /// The loss scale of this step, one number > 0 on the optimizer's device, in the place of the
  /// optimizer's own; null: its own. torch.amp.GradScaler's `_scale`. A number that is not finite and
  /// > 0 counts as a gradient that is not finite.
  const float* grad_scale = nullptr;
  /// One number on the optimizer's device, not 0 where somebody else found a gradient that is not
  /// finite: the step is skipped, whatever the policy. torch.amp.GradScaler's `found_inf`.
  const float* found_inf = nullptr;
};

/// What one step writes beside the parameters, in the same pass: memory of any type on the optimizer's device,
/// laid out as they are and apart from all else, rounded to nearest even. Padding and segments without a
/// gradient are left alone, and so is all of it by a step that is skipped.
struct Outputs {
  Buffer copy = {};  ///< [layout.size()] the parameters after the step; empty: none
  /// [layout.size()] what the step would add to the parameters, which stay as they are, as optax' updates do;
  /// empty: none. State moves on. Not with a master or a compensation, which parameters could leave behind.
  Buffer delta = {};

  bool none() const { return copy.size == 0 && delta.size == 0; }
};

/// An optimizer for the parameters of one layout: K task gradients in, one step out.
///
/// Owns its state and workspace; the caller owns parameters and gradients. step() and the setters
/// allocate nothing and wait for nothing. On CUDA they queue work on the caller's stream and may be
/// captured in a graph, whose replays go on counting steps, follow the schedule and whatever is set
/// between them; the pointers are part of the capture. On the CPU they have run when they return.
///
/// Deterministic: same inputs, same device, same bits, whatever the thread count or the grid; the
/// update gives the same bits on every CPU and on CUDA. Subnormals are flushed to zero.
///
/// Move-only. A moved-from optimizer throws InvalidState from every member but destruction and
/// assignment. Not safe for concurrent use of one object.
class GRAMSTEP_EXPORT Optimizer {
 public:
  /// Validates everything, then takes memory for state (zeroed) and workspace on the device.
  /// Throws InvalidArgument (what is wrong, with what was got and expected), DeviceUnavailable,
  /// OutOfMemory; nothing is left behind.
  Optimizer(Layout layout, OptimizerOptions options);
  ~Optimizer();
  Optimizer(Optimizer&&) noexcept;
  Optimizer& operator=(Optimizer&&) noexcept;

  /// Takes one step: params [layout.size()], updated in place, aligned to an element (16-byte alignment of
  /// params and gradients is what makes it fast), on the optimizer's device; see Gradients.
  /// A head's gradient is its own task's, and takes part in loss scale and clip, not in aggregation.
  /// Throws InvalidArgument (null, misaligned or overlapping memory, memory or stream of another
  /// device, types other than precision's, sizes or a number of rows that do not fit, losses that are missing, not finite, or not
  /// positive where the aggregator needs that) before anything changes; NonFiniteGradient. Losses in
  /// device memory are looked at by the plan: unfit ones count as a gradient that is not finite.
  void step(Buffer params, const Gradients& gradients, Stream stream = nullptr);

  /// The same, with outputs. Throws as above, of the outputs too, and InvalidArgument for a delta beside a
  /// master or a compensation.
  void step(Buffer params, const Gradients& gradients, const Outputs& outputs,
            Stream stream = nullptr);

  /// sum += scale * gradient, elementwise, in fp32: gathers the gradients of micro-batches, of any type, in a row
  /// or in the heads' gradients. Both of one size, on the optimizer's device, and apart. One read of each and a
  /// write. Throws InvalidArgument for sizes, types or memory that do not fit.
  void accumulate(std::span<float> sum, ConstBuffer gradient, double scale = 1.0,
                  Stream stream = nullptr);

  /// Takes one step with one task: gradient [layout.size()] is over the whole flat buffer.
  /// Throws as above, and InvalidArgument where tasks != 1.
  void step(Buffer params, ConstBuffer gradient, Stream stream = nullptr);

  /// Sets the rule's learning rate, finite and >= 0, for the steps queued after it, graphs included.
  void set_lr(double lr, Stream stream = nullptr);

  /// Sets all of the rule's options for the steps queued after it, and, where its state allows, another
  /// rule: one whose state begins as the present one's, by names and order, such as Adam after AdamW, or
  /// Lion after Adam; its scalars by segment, if any, must be the present one's. State and step counts stay
  /// as they are.
  /// Graphs follow new options of the same rule; another rule, or another set of state buffers, needs a
  /// new capture. Throws InvalidArgument for an option out of range, InvalidState where the state does
  /// not allow it.
  void set_rule(const Rule& rule, Stream stream = nullptr);

  /// Sets schedule and warm-up for the steps queued after it, graphs included. They go by the steps
  /// taken so far. Throws InvalidArgument for an option out of range.
  void set_schedule(const Schedule& schedule, const Warmup& warmup = {}, Stream stream = nullptr);

  /// Sets the norm to clip at, finite and > 0, for the steps queued after it, graphs included. Throws
  /// InvalidState where the optimizer was made without a clip and so does not look at norms.
  void set_clip_norm(double clip_norm, Stream stream = nullptr);

  /// Sets the loss scale, finite and > 0, for the steps queued after it, graphs included; one that adapts,
  /// whose numbers are fp32, goes on from there.
  void set_loss_scale(double loss_scale, Stream stream = nullptr);

  /// The loss scale of the next step, one fp32 number on the optimizer's device, valid as long as the
  /// optimizer (moves included): what losses are multiplied by, without asking the device.
  const float* loss_scale_data() const;

  /// Says whether a segment has a gradient in the steps queued after it. An inactive segment is left
  /// alone: parameters, state and its own step count; its gradient is not looked at. All are active
  /// to begin with. Throws InvalidArgument for an unknown name.
  void set_active(std::string_view segment, bool active, Stream stream = nullptr);

  /// What the last step saw and decided. Waits for the work queued on `stream`, where the steps were
  /// queued. Throws NonFiniteGradient where the policy is error and a step since the last report was
  /// skipped (CUDA), CudaError.
  Report report(Stream stream = nullptr) const;

  /// The parameters to evaluate a model with: out [layout.size()] becomes what the rule averages, x of
  /// the schedule-free rules, or "ema" where that is kept, and for all other rules a copy of params [layout.size()]; both of precision's
  /// type, rounded to nearest even. out may be params; padding is left alone. Throws InvalidArgument for
  /// sizes, types or memory that do not fit.
  void evaluation_params(ConstBuffer params, Buffer out, Stream stream = nullptr);

  /// How many steps each segment took, by segment index. Waits for the work queued on `stream`.
  std::vector<std::int64_t> segment_steps(Stream stream = nullptr) const;

  /// Puts the step counts back, of the optimizer, as Report::steps has it, and of the segments, as
  /// segment_steps() gives them. What export_run does at once, those who keep their own files do piece by
  /// piece: parameters, steps, segment_steps(), every state(), segment_state(), plan_state() and
  /// task_momentum(), restored steps first, for where the plan's state and the momenta lie depends on
  /// their count, then the rest in any order. Skipped steps, the report's means and which
  /// segments are active are not touched. Waits for the work queued on `stream`. Throws InvalidArgument
  /// for a count below 0, a segment's beyond the optimizer's, or another number of segments.
  void set_steps(std::int64_t steps, std::span<const std::int64_t> segment_steps,
                 Stream stream = nullptr);

  /// The names of the state that the rule keeps with these options, as torch.optim names it, and of what is
  /// kept beside parameters: "master", "remainder" or "compensation", and "ema". Parameters that are replaced in
  /// mid-run leave it as it is: it is to be replaced with them, or, of the last two, set to zero.
  std::vector<std::string_view> state_names() const;
  /// Of what it keeps of that segment, for rules that keep other state of matrices than of other segments.
  std::vector<std::string_view> state_names(std::string_view segment) const;

  /// The names of the scalars that the rule keeps for every segment, such as "mu_product".
  std::vector<std::string_view> segment_state_names() const;

  /// One such scalar of all segments, by segment index. Waits for the work queued on `stream`. Throws
  /// InvalidArgument for an unknown name.
  std::vector<double> segment_state(std::string_view name, Stream stream = nullptr) const;

  /// Replaces it. Waits for the work queued on `stream`. Throws InvalidArgument for an unknown name or
  /// another number of values.
  void set_segment_state(std::string_view name, std::span<const double> values,
                         Stream stream = nullptr);

  /// State as one flat buffer [layout.size()] of the optimizer's device, laid out as the parameters.
  /// Valid as long as the optimizer (moves included). Throws InvalidArgument for an unknown name, and for a
  /// rule that keeps other state of matrices than of other segments, whose state has no such buffer.
  std::span<float> state(std::string_view name);
  /// State of one segment, in its shape; of what is kept by row or column, with one column or one row.
  /// Throws InvalidArgument for an unknown name or segment, and where nothing of that name is kept of it.
  TensorView<float> state(std::string_view name, std::string_view segment);

  /// The same for state of any type, such as bfloat16 moments or "remainder"; state() throws InvalidArgument
  /// for what is not fp32.
  Buffer stored_state(std::string_view name);
  Buffer stored_state(std::string_view name, std::string_view segment);

  /// What the aggregator promises of its weights, in words; empty for nothing.
  std::string_view promise() const;

  /// The names of the state that the plan keeps for the aggregator: its plan_states; "smoothed_weights"
  /// where weights are smoothed.
  std::vector<std::string_view> plan_state_names() const;

  /// A piece of the plan's state, [P, size], P the number of projections and size 1, K or K * K. Waits
  /// for the work queued on `stream`. Throws InvalidArgument for an unknown name.
  std::vector<double> plan_state(std::string_view name, Stream stream = nullptr) const;

  /// Replaces a piece of the plan's state; see set_steps, without which the first step reads none.
  /// Waits for the work queued on `stream`. Throws InvalidArgument for an unknown name or another
  /// number of values.
  void set_plan_state(std::string_view name, std::span<const double> values,
                      Stream stream = nullptr);

  /// The momentum that the aggregator keeps of one task's gradient, [layout.shared_size()] of the
  /// optimizer's device, as of the last step; valid until the next step or set_steps. Writing to it
  /// replaces it. Waits for the work queued on `stream`. Throws InvalidArgument for an aggregator
  /// without momentum, or no such task.
  std::span<float> task_momentum(int task, Stream stream = nullptr);

  /// Which projection a shared segment belongs to, as an index into the report's arrays.
  int projection_of(std::string_view segment) const;

  /// All that a run needs to go on, by name, in host memory: step counts, state, the plan's state,
  /// momenta, the loss scale. Waits for the work queued on `stream`.
  SavedRun export_run(Stream stream = nullptr) const;

  /// Goes on as the run that was exported, to the same bits: the parameters are the caller's to restore.
  /// Learning rate and options stay. Segments are matched by name, so their order and offsets may differ.
  /// Waits for the work queued on `stream`. Throws InvalidArgument for a segment, a tensor or a scalar
  /// that is missing, unknown or of another size, and then changes nothing.
  void import_run(const SavedRun& run, Stream stream = nullptr);

  /// Copies state, step counts, what the report says, and which segments are active, from an optimizer
  /// on any device; learning rate and loss scale stay. Waits for the work queued on both devices'
  /// default streams. Throws InvalidState where the layout, the rule's state or the plan's is another,
  /// or the aggregator is and either keeps state; then nothing is changed.
  void copy_state(const Optimizer& from);

  /// The layout it was made for.
  const Layout& layout() const;
  /// The options it was made from, with lr and loss_scale as last set.
  const OptimizerOptions& options() const;

 private:
  class Implementation;
  const Implementation& checked(std::string_view member) const;
  Implementation& checked(std::string_view member);

  std::unique_ptr<Implementation> implementation_;
};

/// Whether this build contains the CUDA backend.
GRAMSTEP_EXPORT bool built_with_cuda();

/// Number of CUDA devices that can be used now; 0 in a build without CUDA or on a machine without one.
GRAMSTEP_EXPORT int cuda_devices();

/// The instruction set that the CPU backend uses on this machine, e.g. "x86-64-v4" or "generic". The
/// environment variable GRAMSTEP_CPU_ISA may name a lesser one. The bits do not depend on it.
GRAMSTEP_EXPORT std::string_view cpu_isa();

}  // namespace gramstep::inline v1
