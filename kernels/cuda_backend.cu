// The CUDA backend: the three launches of a step, and what is asked of a device.
#include <algorithm>
#include <utility>

#include "host/backend.hpp"
#include "kernels/launch.hpp"
#include "kernels/optimizer_memory.cuh"

namespace gramstep::host {
namespace {

using kernels::check;
using kernels::settle;

/// Makes a device current for as long as it lives.
class CurrentDevice {
 public:
  explicit CurrentDevice(int ordinal) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    if (before_ != ordinal) check(cudaSetDevice(ordinal), "cudaSetDevice");
  }
  ~CurrentDevice() { cudaSetDevice(before_); }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = 0;
};

/// Throws DeviceUnavailable unless there is a device of that ordinal.
const Setup& with_device(const Setup& setup) {
  const int devices = cuda_devices();
  if (setup.device.ordinal >= devices) {
    throw DeviceUnavailable("Optimizer: device: got cuda(" + std::to_string(setup.device.ordinal) +
                            "), expected one of the " + std::to_string(devices) +
                            " CUDA devices that can be used here");
  }
  return setup;
}

bool on_vectors(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }
bool on_vectors(const Rows& rows) {
  for (int k = 0; k < rows.count; ++k) {
    if (!on_vectors(rows[k])) return false;
  }
  return true;
}

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const Setup& setup) : setup_(with_device(setup)) {
    const CurrentDevice current(ordinal());
    memory_ = std::make_unique<kernels::OptimizerMemory>(setup);
    settle();
  }
  ~CudaBackend() override {
    int before = 0;
    cudaGetDevice(&before);
    cudaSetDevice(ordinal());
    memory_.reset();
    cudaSetDevice(before);
  }

  void check_memory(const ArgumentName& what, const void* pointer) const override {
    const CurrentDevice current(ordinal());
    cudaPointerAttributes found{};
    check(cudaPointerGetAttributes(&found, pointer), "cudaPointerGetAttributes");
    if (found.type == cudaMemoryTypeManaged) return;
    if (found.type == cudaMemoryTypeDevice && found.device == ordinal()) return;
    const std::string got = found.type == cudaMemoryTypeDevice
                                ? "memory of CUDA device " + std::to_string(found.device)
                                : "host memory";
    throw InvalidArgument(what.text() + ": got " + got + ", expected memory of CUDA device " +
                          std::to_string(ordinal()));
  }

  void check_stream(Stream stream) const override {
    if (stream == nullptr) return;  // each device has a default stream of its own
    cudaStreamCaptureStatus capture{};
    check(cudaStreamIsCapturing(stream, &capture), "cudaStreamIsCapturing");
    // A capturing stream may not be asked for its device. The first launch would fail on a wrong one.
    if (capture != cudaStreamCaptureStatusNone) return;
    int device = 0;
    check(cudaStreamGetDevice(stream, &device), "cudaStreamGetDevice");
    if (device == ordinal()) return;
    throw InvalidArgument("stream: got a stream of CUDA device " + std::to_string(device) +
                          ", expected one of device " + std::to_string(ordinal()));
  }

  void gram(const StepMemory& memory, Stream stream) override {
    const CurrentDevice current(ordinal());
    kernels::launch_gram(gram_arguments(memory), setup_.aggregator, memory.losses, stream);
  }
  void plan(const StepMemory& memory, Stream stream) override {
    const CurrentDevice current(ordinal());
    kernels::PlanArguments arguments = plan_arguments(memory.losses);
    arguments.scaling = memory.scaling;
    kernels::launch_plan(arguments, setup_.aggregator, stream);
  }
  void update(const StepMemory& memory, Stream stream) override {
    const CurrentDevice current(ordinal());
    const kernels::UpdateArguments arguments = update_arguments(memory);
    const auto orthogonalize = [&](float* x) {
      memory_->orthogonalizer->run(newton_schulz(setup_.rule), x, stream);
    };
    for (const bool matrices : {false, true}) {
      if (!setup_.places.kinds[matrices]) continue;
      kernels::launch_update(arguments, setup_.aggregator, setup_.rule, matrices, orthogonalize,
                             stream);
    }
  }

  void sum_gram(double* gram, Stream stream) override {
    const CurrentDevice current(ordinal());
    kernels::launch_gram_sum(
        {{memory_->partials.data(), setup_.work.shared_spans, fold()}, setup_.tasks, gram}, stream);
  }
  void weights(const double* gram, double* weights, const kernels::Losses& losses,
               Stream stream) override {
    const CurrentDevice current(ordinal());
    kernels::PlanArguments arguments = plan_arguments(losses);
    arguments.look = false;
    arguments.memory.gram = const_cast<double*>(gram);  // only read where nothing is collected
    arguments.memory.weights = weights;
    kernels::launch_weights(arguments, setup_.aggregator, stream);
    kernels::launch_count_step(step_state(), stream);
  }
  void combine(const Rows& rows, const double* weights, float* combined, Stream stream) override {
    if (rows.dtype == DType::float32) {
      combine(kernels::CombineBody<kernels::Float32>{}, rows, weights, combined, stream);
    } else {
      combine(kernels::CombineBody<kernels::AnyType>{}, rows, weights, combined, stream);
    }
  }
  template <class Body>
  void combine(Body body, const Rows& rows, const double* weights, float* combined, Stream stream) {
    const CurrentDevice current(ordinal());
    copy_rows(rows, body.rows);
    body.row_type = rows.dtype;
    body.weights = weights;
    body.combined = combined;
    body.chunks = memory_->chunks.data();
    body.chunk_count = static_cast<std::int32_t>(setup_.work.chunks.size());
    body.tasks = setup_.tasks;
    body.aligned = on_vectors(combined) && on_vectors(rows);
    kernels::launch_combine(body, stream);
  }

  void accumulate(const kernels::AccumulateBody& given, Stream stream) override {
    const CurrentDevice current(ordinal());
    kernels::AccumulateBody body = given;
    body.aligned = on_vectors(body.sum) && on_vectors(body.gradient);
    kernels::launch_accumulation(body, stream);
  }

  void evaluate(const kernels::EvaluationBody& given, Stream stream) override {
    const CurrentDevice current(ordinal());
    kernels::EvaluationBody body = given;
    body.storage = setup_.storage({}, [this](int index) { return state_at(index); });
    body.chunks = memory_->chunks.data();
    body.chunk_count = static_cast<std::int32_t>(setup_.work.chunks.size());
    body.segments = segments();
    kernels::launch_evaluation(body, stream);
  }

  void set_loss_scale(double loss_scale, Stream stream) override {
    const CurrentDevice current(ordinal());
    kernels::launch_set_loss_scale(step_state(), loss_scale, stream);
  }
  void set_controls(const kernels::Controls& controls, Stream stream) override {
    const CurrentDevice current(ordinal());
    kernels::launch_set_controls(step_state(), controls, stream);
  }
  void set_active(int segment, bool active, Stream stream) override {
    const CurrentDevice current(ordinal());
    kernels::launch_set_active(segments(), segment, active, stream);
  }

  kernels::StepState read_step(Stream stream) const override {
    const CurrentDevice current(ordinal());
    kernels::StepState step;
    memory_->step.read(&step, stream);
    return step;
  }
  std::vector<kernels::SegmentState> read_segments(Stream stream) const override {
    const CurrentDevice current(ordinal());
    std::vector<kernels::SegmentState> read(setup_.segments.size());
    memory_->segments.read(read.data(), stream);
    return read;
  }

  std::vector<double> read_plan(Stream stream) const override {
    const CurrentDevice current(ordinal());
    std::vector<double> read(static_cast<std::size_t>(kernels::PlanMemory::doubles(setup_.shape)));
    memory_->plan.read(read.data(), stream);
    return read;
  }
  void write_plan(const std::vector<double>& plan) override {
    const CurrentDevice current(ordinal());
    memory_->plan.write(plan.data());
  }

  void* state(int index) override { return state_at(index); }
  void read_state(int index, void* to) const override {
    copy_state(to, state_at(index), setup_.state_bytes(index), cudaMemcpyDeviceToHost);
  }
  void write_state(int index, const void* from) override {
    copy_state(state_at(index), from, setup_.state_bytes(index), cudaMemcpyHostToDevice);
  }
  void write_step(const kernels::StepState& step,
                  const std::vector<kernels::SegmentState>& segment_states) override {
    const CurrentDevice current(ordinal());
    memory_->step.write(&step);
    memory_->segments.write(segment_states.data());
  }

  const float* loss_scale_data() const override {
    return &memory_->step.data()->loss_scale.published;
  }

 private:
  int ordinal() const { return setup_.device.ordinal; }
  kernels::StepState* step_state() const { return memory_->step.data(); }
  kernels::SegmentState* segments() { return memory_->segments.data(); }
  kernels::WorkTable table() const {
    return setup_.work.table(memory_->chunks.data(), memory_->spans.data(),
                             memory_->projection_spans.data(), memory_->segment_chunks.data());
  }
  std::int32_t fold() const { return kernels::fold_of(table(), setup_.tasks); }
  kernels::PlanMemory plan_memory() const {
    return kernels::PlanMemory::in(memory_->plan.data(), setup_.shape);
  }
  void* state_at(int index) const {
    if (index == setup_.states) return memory_->momenta.data();
    return memory_->states.data() +
           setup_.state_offset(index, kernels::OptimizerMemory::state_apart);
  }

  void copy_state(void* to, const void* from, std::int64_t bytes, cudaMemcpyKind kind) const {
    const CurrentDevice current(ordinal());
    check(cudaMemcpy(to, from, static_cast<std::size_t>(bytes), kind), "cudaMemcpy");
    settle();
  }

  static void copy_rows(const Rows& from, const void** to) {
    for (int k = 0; k < from.count; ++k) to[k] = from[k];
  }

  static bool aligned(const StepMemory& memory) {
    return on_vectors(memory.params) && on_vectors(memory.heads) && on_vectors(memory.rows) &&
           on_vectors(memory.outputs.copy.data) && on_vectors(memory.outputs.delta.data);
  }

  kernels::GramArguments gram_arguments(const StepMemory& memory) {
    kernels::GramArguments arguments{};
    copy_rows(memory.rows, arguments.rows);
    arguments.row_type = arguments.head_type = setup_.precision.gradients;
    arguments.heads = memory.heads;
    arguments.work = table();
    arguments.segments = segments();
    arguments.partials = memory_->partials.data();
    arguments.momenta = {memory_->momenta.data(), setup_.momentum_stride(), step_state(),
                         memory.scaling};
    arguments.tasks = setup_.tasks;
    arguments.aligned = aligned(memory);
    return arguments;
  }

  kernels::PlanArguments plan_arguments(const kernels::Losses& losses) {
    kernels::PlanArguments arguments = setup_.plan_arguments(losses);
    arguments.state = step_state();
    arguments.segments = segments();
    arguments.groups = memory_->groups.data();
    arguments.partials = memory_->partials.data();
    arguments.fold = fold();
    arguments.memory = plan_memory();
    arguments.scratch = memory_->scratch.data();
    arguments.work = table();
    return arguments;
  }

  kernels::UpdateArguments update_arguments(const StepMemory& memory) {
    kernels::UpdateArguments arguments{};
    arguments.params = memory.params;
    for (int s = 0; s < setup_.places.rule_buffers; ++s) arguments.states[s] = state(s);
    arguments.storage =
        setup_.storage(memory.outputs, [this](int index) { return state_at(index); });
    arguments.zeroed = zeroed(memory);
    if (setup_.traits.momentum) {
      arguments.second_rows = setup_.tasks * setup_.momentum_stride();
      for (int k = 0; k < setup_.tasks; ++k) {
        arguments.rows[k] = memory_->momenta.data() + k * setup_.momentum_stride();
      }
    } else {
      copy_rows(memory.rows, arguments.rows);
    }
    arguments.heads = memory.heads;
    arguments.work = table();
    arguments.segments = segments();
    arguments.plan = &step_state()->plan;
    arguments.weights = plan_memory().applied;
    arguments.measures = memory_->measures.data();
    arguments.matrices = setup_.places.table(memory_->places.data(), memory_->tiles.data(),
                                             memory_->lines.data(), memory_->matrix_sums.data());
    arguments.segment_count = static_cast<std::int32_t>(setup_.segments.size());
    arguments.tasks = setup_.tasks;
    arguments.aligned = aligned(memory);
    return arguments;
  }

  const Setup& setup_;
  std::unique_ptr<kernels::OptimizerMemory> memory_;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const Setup& setup) {
  return std::make_unique<CudaBackend>(setup);
}

bool is_device_memory(const void* pointer) {
  cudaPointerAttributes found{};
  if (cuda_devices() == 0) return false;
  if (cudaPointerGetAttributes(&found, pointer) == cudaSuccess) {
    return found.type == cudaMemoryTypeDevice;
  }
  cudaGetLastError();
  return false;
}

}  // namespace gramstep::host

namespace gramstep::inline v1 {

bool built_with_cuda() { return true; }

int cuda_devices() {
  int devices = 0;
  // Without a driver the call fails and leaves its output alone.
  if (cudaGetDeviceCount(&devices) == cudaSuccess) return devices;
  cudaGetLastError();
  return 0;
}

}  // namespace gramstep::inline v1
