// The CPU backend: the three stages over host memory, one parallel region a stage.
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "gramstep/error.hpp"
#include "host/backend.hpp"
#include "host/cpu/flush_to_zero.hpp"
#include "host/cpu/leaves.hpp"
#include "host/cpu/orthogonalizer.hpp"

namespace gramstep::host {
namespace {

/// Below this many elements of work a region costs more than it gains: about 1 us of fork and join.
constexpr std::int64_t parallel_elements = 10'000;

/// Zeroed memory on huge pages where it is large; 4 KiB pages cost up to a fifth of the bandwidth.
template <class T>
class HugeArray {
 public:
  explicit HugeArray(std::int64_t count) {
    constexpr std::size_t huge_page = std::size_t{2} << 20;
    if (count > std::numeric_limits<std::int64_t>::max() / 16) throw std::bad_alloc();
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    const std::size_t alignment = bytes >= huge_page ? huge_page : 64;
    const std::size_t padded = (bytes + alignment - 1) / alignment * alignment;
    data_ = static_cast<T*>(std::aligned_alloc(alignment, padded));
    if (data_ == nullptr && padded > 0) throw std::bad_alloc();
#if defined(__linux__)
    if (bytes >= huge_page) madvise(data_, padded, MADV_HUGEPAGE);
#endif
    std::memset(static_cast<void*>(data_), 0, padded);
  }
  ~HugeArray() { std::free(data_); }
  HugeArray(const HugeArray&) = delete;
  HugeArray& operator=(const HugeArray&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }

 private:
  T* data_ = nullptr;
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const Setup& setup)
      : setup_(setup),
        leaves_(*choose_leaves().leaves),
        threads_(setup.device.threads > 0 ? setup.device.threads : omp_get_max_threads()),
        segments_(setup.segments),
        step_(setup.initial),
        plan_(setup.fresh_plan()),
        states_(setup.state_offset(setup.states, state_skew)),
        momenta_(setup.momenta()),
        partials_(setup.look ? setup.work.partials(setup.tasks) : 0),
        lanes_(setup.look ? threads_ * lanes_stride() : 0),
        measures_(std::ssize(setup.work.chunks) * rules::max_measures),
        matrix_sums_(setup.places.sums),
        orthogonalizer_(setup.places, leaves_, threads_),
        scratch_(setup.shape.projections * setup.scratch),
        aggregator_(setup.aggregator) {
    for (int s = 0; s < setup.states; ++s) {
      const std::vector<char> initial = setup.initial_buffer(s);
      if (!initial.empty()) write_state(s, initial.data());
    }
  }

  void check_memory(const ArgumentName& what, const void* pointer) const override {
    if (!is_device_memory(pointer)) return;
    throw InvalidArgument(what.text() + ": got memory of a CUDA device, expected host memory for " +
                          "an optimizer on the CPU");
  }

  void check_stream(Stream stream) const override {
    if (stream != nullptr) {
      throw InvalidArgument("stream: got a CUDA stream, expected null for an optimizer on the CPU");
    }
  }

  void gram(const StepMemory& memory, Stream) override {
    kernels::GramArguments arguments{};
    for (int k = 0; k < setup_.tasks; ++k) arguments.rows[k] = memory.rows[k];
    arguments.heads = memory.heads;
    arguments.row_type = arguments.head_type = setup_.precision.gradients;
    arguments.work = table();
    arguments.segments = segments_.data();
    arguments.partials = partials_.data();
    arguments.momenta = momenta();
    arguments.momenta.scaling = memory.scaling;
    arguments.tasks = setup_.tasks;
    const auto spans = static_cast<std::int64_t>(setup_.work.spans.size());
    if (setup_.traits.momentum) return gram_of_momenta(arguments, memory.losses, spans);
    in_parallel([&](int thread, int threads) {
      leaves_.gram(arguments, spans * thread / threads, spans * (thread + 1) / threads,
                   sums_of(thread));
    });
  }

  void plan(const StepMemory& memory, Stream) override {
    kernels::PlanArguments arguments = plan_arguments(memory.losses);
    arguments.scaling = memory.scaling;
    choose_weights(arguments);
    kernels::decide_alone(arguments);
  }

  void update(const StepMemory& memory, Stream) override {
    if (step_.plan.skip && !setup_.zero_gradients) return;
    kernels::UpdateArguments arguments{};
    arguments.params = memory.params;
    for (int s = 0; s < setup_.places.rule_buffers; ++s) arguments.states[s] = state(s);
    arguments.storage = setup_.storage(memory.outputs, [this](int index) { return state(index); });
    arguments.zeroed = zeroed(memory);
    for (int k = 0; k < setup_.tasks; ++k) {
      arguments.rows[k] =
          setup_.traits.momentum ? momenta().before(k, setup_.tasks) : memory.rows[k];
    }
    arguments.heads = memory.heads;
    arguments.work = table();
    arguments.segments = segments_.data();
    arguments.plan = &step_.plan;
    arguments.weights = plan_memory().applied;
    arguments.tasks = setup_.tasks;
    const auto* by_element = setup_.traits.elementwise ? &aggregator_ : nullptr;
    arguments.measures = measures_.data();
    arguments.segment_count = static_cast<std::int32_t>(segments_.size());
    const Places& places = setup_.places;
    arguments.matrices = places.table(places.segments.data(), places.tiles.data(),
                                      places.lines.data(), matrix_sums_.data());
    for (const bool matrix : {false, true}) {
      if (!places.kinds[matrix]) continue;
      run_passes(leaves_.update_of(setup_.rule, matrix), arguments, by_element);
    }
  }

  void sum_gram(double* gram, Stream) override {
    kernels::PlanSums room;
    kernels::collect_gram(
        kernels::SingleThread{}, room, {partials_.data(), setup_.work.shared_spans, 1},
        setup_.tasks, [] { return 1.0; }, gram);
  }
  void weights(const double* gram, double* weights, const kernels::Losses& losses,
               Stream) override {
    kernels::PlanArguments arguments = plan_arguments(losses);
    arguments.look = false;
    arguments.memory.gram = const_cast<double*>(gram);  // only read where nothing is collected
    arguments.memory.weights = weights;
    choose_weights(arguments);
    step_.steps += 1;
  }
  void combine(const Rows& rows, const double* weights, float* combined, Stream) override {
    float rounded[max_tasks];
    const void* pointers[max_tasks];
    std::copy_n(weights, setup_.tasks, rounded);
    for (int k = 0; k < setup_.tasks; ++k) pointers[k] = rows[k];
    const std::int64_t chunks = static_cast<std::int64_t>(setup_.work.chunks.size());
    in_parallel([&](int thread, int threads) {
      for (std::int64_t c = chunks * thread / threads; c < chunks * (thread + 1) / threads; ++c) {
        const kernels::Chunk& chunk = setup_.work.chunks[static_cast<std::size_t>(c)];
        leaves_.combine(rows.dtype, pointers, rounded, setup_.tasks, chunk.begin, chunk.count,
                        combined + chunk.begin);
      }
    });
  }

  void accumulate(const kernels::AccumulateBody& body, Stream) override {
    const std::int64_t runs = body.runs();
#pragma omp parallel num_threads(body.size < parallel_elements ? 1 : threads_)
    {
      const FlushToZero flush;
#pragma omp for schedule(static)
      for (std::int64_t run = 0; run < runs; ++run) leaves_.accumulate(body, run);
    }
  }

  void evaluate(const kernels::EvaluationBody& given, Stream) override {
    kernels::EvaluationBody all = given;
    all.storage = setup_.storage({}, [this](int index) { return state(index); });
    all.segments = segments_.data();
    in_parallel([&](int thread, int threads) {
      const std::int32_t first = first_chunk(thread, threads);
      kernels::EvaluationBody body = all;
      body.chunks = setup_.work.chunks.data() + first;
      body.chunk_count = first_chunk(thread + 1, threads) - first;
      kernels::EvaluationBody::Shared none;
      body(kernels::SingleThread{}, none);
    });
  }

  void set_controls(const kernels::Controls& controls, Stream) override {
    step_.controls = controls;
  }
  void set_loss_scale(double loss_scale, Stream) override {
    kernels::set_loss_scale_of(step_, loss_scale);
  }
  void set_active(int segment, bool active, Stream) override {
    segments_[static_cast<std::size_t>(segment)].active = active;
  }

  kernels::StepState read_step(Stream) const override { return step_; }
  std::vector<kernels::SegmentState> read_segments(Stream) const override { return segments_; }

  std::vector<double> read_plan(Stream) const override { return plan_; }
  void write_plan(const std::vector<double>& plan) override { plan_ = plan; }

  void* state(int index) override {
    if (index == setup_.states) return momenta_.data();
    return states_.data() + setup_.state_offset(index, state_skew);
  }
  void read_state(int index, void* to) const override {
    const void* from = const_cast<CpuBackend*>(this)->state(index);
    std::memcpy(to, from, static_cast<std::size_t>(setup_.state_bytes(index)));
  }
  void write_state(int index, const void* from) override {
    std::memcpy(state(index), from, static_cast<std::size_t>(setup_.state_bytes(index)));
  }
  void write_step(const kernels::StepState& step,
                  const std::vector<kernels::SegmentState>& segments) override {
    step_ = step;
    segments_ = segments;
  }

  const float* loss_scale_data() const override { return &step_.loss_scale.published; }

 private:
  /// State buffers are skewed by 1 KiB against each other: streams that march in step through the
  /// same cache sets cost up to a tenth of the bandwidth.
  static constexpr std::int64_t state_skew = 1024;

  std::int64_t lanes_stride() const {
    return std::int64_t{kernels::pairs_of(setup_.tasks)} * gram_lanes / 2 * 3;
  }

  /// A thread's part of lanes_: doubles, then half as many doubles' worth of floats.
  GramSums sums_of(int thread) {
    double* lanes = lanes_.data() + thread * lanes_stride();
    return {reinterpret_cast<float*>(lanes + lanes_stride() / 3 * 2), lanes};
  }

  kernels::WorkTable table() const { return setup_.work.table(); }
  kernels::PlanMemory plan_memory() { return kernels::PlanMemory::in(plan_.data(), setup_.shape); }
  kernels::Momenta momenta() { return {momenta_.data(), setup_.momentum_stride(), &step_, {}}; }

  kernels::PlanArguments plan_arguments(const kernels::Losses& losses) {
    kernels::PlanArguments arguments = setup_.plan_arguments(losses);
    arguments.state = &step_;
    arguments.segments = segments_.data();
    arguments.groups = setup_.groups.data();
    arguments.partials = partials_.data();
    arguments.memory = plan_memory();
    arguments.scratch = scratch_.data();
    arguments.work = table();
    return arguments;
  }

  /// The passes of one update over all that is its.
  void run_passes(const Leaves::Update& passes, const kernels::UpdateArguments& arguments,
                  const kernels::OneOfT<Aggregator>* by_element) {
    const auto over_chunks = [&](Leaves::Update::Pass pass) {
      in_parallel([&](int thread, int threads) {
        pass(arguments, by_element, first_chunk(thread, threads), first_chunk(thread + 1, threads));
      });
    };
    const auto over = [&](Leaves::Update::Pass pass, std::int64_t count) {
      in_parallel([&](int thread, int threads) {
        pass(arguments, by_element, count * thread / threads, count * (thread + 1) / threads);
      });
    };
    if (step_.plan.skip) return over_chunks(passes.apply);  // gradients alone are left at zero
    if (passes.tiles != nullptr) {
      over(passes.tiles, arguments.matrices.tile_count);
      over(passes.lines, arguments.matrices.lines_count);
      over(passes.row_factors, arguments.matrices.lines_count);
    }
    if (passes.measure != nullptr) {
      over_chunks(passes.measure);
      passes.settle(arguments);
    }
    if (passes.normalize != nullptr) {
      over_chunks(passes.normalize);
      orthogonalizer_.run(newton_schulz(setup_.rule),
                          static_cast<float*>(arguments.states[setup_.places.orthogonalized]),
                          segments_);
    }
    over_chunks(passes.apply);
  }

  /// A span's momenta are advanced just before their products are taken: they are still in cache.
  void gram_of_momenta(const kernels::GramArguments& gradients, const kernels::Losses& losses,
                       std::int64_t spans) {
    kernels::MomentumFactors factors;
    kernels::momentum_factors(kernels::SingleThread{}, aggregator_, gradients.momenta, losses,
                              setup_.tasks, factors);
    kernels::GramArguments momenta = gradients;
    momenta.row_type = DType::float32;
    for (int k = 0; k < setup_.tasks; ++k) {
      momenta.rows[k] = gradients.momenta.after(k, setup_.tasks);
    }
    in_parallel([&](int thread, int threads) {
      const GramSums sums = sums_of(thread);
      for (std::int64_t s = spans * thread / threads; s < spans * (thread + 1) / threads; ++s) {
        if (s < setup_.work.shared_spans) leaves_.momentum(gradients, factors, s);
        leaves_.gram(momenta, s, s + 1, sums);
      }
    });
  }

  /// The first part of the plan, a thread a projection.
  void choose_weights(const kernels::PlanArguments& arguments) const {
    const std::int64_t projections = setup_.shape.projections;
#pragma omp parallel for num_threads(projections > 1 ? threads_ : 1)
    for (std::int64_t p = 0; p < projections; ++p) leaves_.weights(arguments, aggregator_, p);
  }

  /// Calls function(thread, threads) on every thread of one parallel region, subnormals flushed.
  template <class Function>
  void in_parallel(const Function& function) const {
    const int threads = setup_.size * setup_.tasks < parallel_elements ? 1 : threads_;
#pragma omp parallel num_threads(threads)
    {
      const FlushToZero flush;
      function(omp_get_thread_num(), omp_get_num_threads());
    }
  }

  /// Where a thread's run of chunks begins: at its share of the elements, not of the chunks.
  std::int32_t first_chunk(int thread, int threads) const {
    const std::vector<kernels::Chunk>& chunks = setup_.work.chunks;
    const std::int64_t begin = setup_.size / threads * thread;
    const auto chunk = std::partition_point(
        chunks.begin(), chunks.end(),
        [&](const kernels::Chunk& each) { return thread == threads || each.begin < begin; });
    return static_cast<std::int32_t>(chunk - chunks.begin());
  }

  const Setup& setup_;
  const Leaves& leaves_;
  const int threads_;
  std::vector<kernels::SegmentState> segments_;
  kernels::StepState step_;
  std::vector<double> plan_;
  HugeArray<char> states_;
  HugeArray<float> momenta_;
  HugeArray<double> partials_;
  HugeArray<double> lanes_;
  HugeArray<double> measures_;
  HugeArray<float> matrix_sums_;
  Orthogonalizer orthogonalizer_;
  HugeArray<double> scratch_;
  const kernels::OneOfT<Aggregator> aggregator_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const Setup& setup) {
  try {
    return std::make_unique<CpuBackend>(setup);
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("Optimizer: cpu: no memory for " + std::to_string(setup.states) +
                      " state buffers of " + std::to_string(setup.size) + " elements");
  }
}

}  // namespace gramstep::host
