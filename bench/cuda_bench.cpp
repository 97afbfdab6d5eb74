// All benchmarks of the CUDA backend: cuda_bench [--quick] [Google Benchmark's options].
//
// The floor is a device copy that reads and writes as many bytes; beside gram stands a kernel that only
// reads as many, beside small steps a graph of three empty kernels, beside the plan an empty kernel.
// Caches are flushed before every run but those of `warm` steps; times are CUDA events'. Without a device it
// says so and measures nothing; with GRAMSTEP_REQUIRE_GPU=1 that is a failure.
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "bench/device_floors.hpp"
#include "bench/device_memory.hpp"
#include "bench/pairing.hpp"
#include "bench/solves.hpp"
#include "bench/subject.hpp"
#include "gramstep/text.hpp"

namespace gramstep::bench {
namespace {

/// The stream that everything runs on, its clock, and what the floor copies.
class Gpu {
 public:
  Gpu() {
    check(cudaStreamCreate(&stream_), "cudaStreamCreate");
    check(cudaEventCreate(&begin_), "cudaEventCreate");
    check(cudaEventCreate(&end_), "cudaEventCreate");
    from_.fill(2);
  }

  cudaStream_t stream() const { return stream_; }

  /// By CUDA events, caches cold.
  double time(const std::function<void()>& run) const {
    check(cudaMemsetAsync(flushed_.data(), 0, flushed_.bytes(), stream_), "cudaMemsetAsync");
    return time_warm(run);
  }

  /// By CUDA events, caches as the run before left them.
  double time_warm(const std::function<void()>& run) const {
    check(cudaEventRecord(begin_, stream_), "cudaEventRecord");
    run();
    check(cudaEventRecord(end_, stream_), "cudaEventRecord");
    check(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return milliseconds * 1e-3;
  }

  /// A contender that reads and writes as many bytes as the subject.
  Contender floor(const std::function<std::int64_t()>& bytes) const {
    const auto copy = [this, bytes] {
      for (auto left = static_cast<std::size_t>(bytes() / 2); left > 0;) {
        const std::size_t count = std::min(left, to_.bytes());
        check(cudaMemcpyAsync(to_.data(), from_.data(), count, cudaMemcpyDeviceToDevice, stream_),
              "cudaMemcpyAsync");
        left -= count;
      }
    };
    return {"floor", copy, bytes};
  }

  /// A contender that reads as many bytes as the subject.
  Contender reading(const std::function<std::int64_t()>& bytes) const {
    const auto read = [this, bytes] {
      for (std::int64_t left = bytes() / 4; left > 0; left -= copied) {
        read_all(from_.data(), std::min(left, copied), to_.data(), stream_);
      }
    };
    return {"read", read, bytes};
  }

 private:
  static constexpr std::int64_t copied = std::int64_t{1} << 28;        // 1 GiB
  static constexpr std::int64_t more_than_l2 = std::int64_t{1} << 26;  // 256 MiB
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  DeviceFloats from_{copied}, to_{copied}, flushed_{more_than_l2};
};

/// What a function queues, captured in a CUDA graph.
class Graph {
 public:
  Graph(cudaStream_t stream, const std::function<void()>& queue) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin capture");
    queue();
    check(cudaStreamEndCapture(stream, &graph_), "end capture");
    check(cudaGraphInstantiate(&ready_, graph_, 0), "cudaGraphInstantiate");
  }
  ~Graph() {
    cudaGraphExecDestroy(ready_);
    cudaGraphDestroy(graph_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void replay(cudaStream_t stream) const { check(cudaGraphLaunch(ready_, stream), "replay"); }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t ready_ = nullptr;
};

enum class Subject { gram, plan, update, step, warm };

/// Up to here launches take more of a step's time than memory does.
constexpr std::int64_t small = 1'000'000;

std::string subject_name(Subject subject, const Case& which) {
  switch (subject) {
    case Subject::gram: return which.name("cuda/gram");
    case Subject::plan: return which.name("cuda/plan/" + which.rule);
    case Subject::update: return which.name("cuda/update/" + which.rule);
    case Subject::step: return which.name("cuda/step/" + which.rule);
    case Subject::warm: break;
  }
  return which.name("cuda/step/" + which.rule) + "/warm";
}

/// Bytes that the subject reads and writes.
std::int64_t bytes_moved(Subject subject, const Case& which) {
  const std::vector<float*> in_place(which.floats() / which.size - which.tasks);
  const std::vector<const float*> rows(which.tasks);
  const std::int64_t gram = size_of(which.gradients) * which.size * which.tasks;
  const std::int64_t update =
      bytes_of(passes_of(rule_of(which.rule), which.matrix, in_place, rows), which.size);
  return (subject == Subject::update ? 0 : gram) + (subject == Subject::gram ? 0 : update);
}

void measure(benchmark::State& state, Subject subject, const Case& which, const Gpu& gpu,
             const Budget& budget) {
  const cudaStream_t stream = gpu.stream();
  const Layout layout = which.layout();
  const DeviceRows rows(which.tasks, layout.size(), which.gradients);
  const DeviceFloats params(layout.size());
  params.fill(3);
  const auto bytes = always(bytes_moved(subject, which));
  const bool warm = subject == Subject::warm;
  const auto timer = [&](const std::function<void()>& run) {
    return warm ? gpu.time_warm(run) : gpu.time(run);
  };

  if (warm || subject == Subject::step) {
    Optimizer optimizer(layout, which.options(cuda()));
    const std::span<float> span{params.data(), static_cast<std::size_t>(layout.size())};
    const Gradients gradients{rows.pointers(), layout.shared_size()};
    const auto step = [&] { optimizer.step(span, gradients, stream); };
    step();  // which finds the memory valid
    const Graph graph(stream, step), empty(stream, [&] {
      for (int launch = 0; launch < 3; ++launch) launch_nothing(stream);
    });
    std::vector<Contender> contenders{
        {"step", [&] { graph.replay(stream); }, bytes}, gpu.floor(bytes), {"eager", step, bytes}};
    if (which.size <= small) {
      contenders.push_back({"empty", [&] { empty.replay(stream); }, always(0)});
    }
    compare(state, contenders, timer, budget);
  } else if (subject == Subject::plan) {
    Stages stages(which, cuda(), params.data(), rows.pointers().data(), stream);
    compare(state,
            {{"plan", [&] { stages.plan(); }, always(0)},
             {"empty", [&] { launch_nothing(stream); }, always(0)}},
            timer, budget);
  } else {
    Stages stages(which, cuda(), params.data(), rows.pointers().data(), stream);
    const auto run = [&] { subject == Subject::gram ? stages.gram() : stages.update(); };
    const auto plan = [&] { stages.plan(); };
    std::vector<Contender> contenders{{"stage", run, bytes, plan}, gpu.floor(bytes)};
    if (subject == Subject::gram) contenders.push_back(gpu.reading(bytes));
    compare(state, contenders, timer, budget);
  }
}

void add(Subject subject, const Case& which, const Gpu& gpu, const Budget& budget) {
  const auto run = [=, &gpu](benchmark::State& state) {
    constexpr std::size_t reserve = std::size_t{1} << 30;
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    const auto needed = static_cast<std::size_t>(4 * which.floats()) + reserve;
    if (needed <= free) return measure(state, subject, which, gpu, budget);
    const std::string message = "left out: needs " + std::to_string(needed >> 20) + " MiB, got " +
                                std::to_string(free >> 20) + " MiB";
    state.SkipWithError(message.c_str());
  };
  add_benchmark(subject_name(subject, which), run);
}

void register_all(const Gpu& gpu, bool quick) {
  const std::vector<int> tasks = quick ? std::vector{1, 8} : std::vector{1, 2, 4, 8, 16, 32, 64};
  const std::int64_t large = quick ? 1'000'000 : std::int64_t{1} << 26;
  std::vector<std::int64_t> sizes{10'000, large};
  if (!quick) sizes.insert(sizes.end(), {100'000, 1'000'000, 10'000'000, 1'000'000'000});
  const Budget budget = quick ? Budget{0.01, 3, 20} : Budget{0.2, 11, 301};

  for (const int k : tasks) {
    for (const std::int64_t size : sizes) {
      if (size <= small) add(Subject::warm, {"AdamW", k, size}, gpu, budget);
      if (size <= large) add(Subject::plan, {"AdamW", k, size}, gpu, budget);
    }
  }
  for (const Subject subject : {Subject::gram, Subject::update, Subject::step}) {
    for (const int k : tasks) {
      for (const std::int64_t size : sizes) add(subject, {"AdamW", k, size}, gpu, budget);
    }
    for (const int k : {1, 8}) {
      add(subject, {"AdamW", k, large / 256 * 256, 256}, gpu, budget);
      add(subject, {"AdamW", k, 4096 * 1024, 4096}, gpu, budget);
    }
  }
  for (const int k : quick ? std::vector{16} : std::vector{16, 32, 64}) {
    const Case which{.tasks = k, .size = large, .gradients = DType::bfloat16};
    add(Subject::gram, which, gpu, budget);
  }
  for (const std::string& rule : every_rule()) {
    if (rule != "AdamW") add(Subject::update, {rule, 1, large}, gpu, budget);
  }
  add(Subject::update, {.rule = "Adafactor", .size = large, .matrix = true}, gpu, budget);
}

/// Weights of Gram matrices that lie on the device, beside what a call costs without a solve.
void measure_weights(benchmark::State& state, const Solve& solve, const Gpu& gpu,
                     const Budget& budget) {
  Aggregation aggregation(solve.options(cuda()));
  Solve nothing = solve;
  nothing.aggregator = Sum{};
  Aggregation sum(nothing.options(cuda()));
  const DeviceDoubles gram(solve.gram),
      weights(static_cast<std::int64_t>(solve.batch) * solve.tasks);
  const auto contender = [&](const char* name, Aggregation& which) {
    return Contender{
        name, [&] { which.weights(gram.span(), weights.span(), solve.losses, gpu.stream()); },
        always(0)};
  };
  compare(
      state, {contender("weights", aggregation), contender("sum", sum)},
      [&](const std::function<void()>& run) { return gpu.time(run); }, budget);
  state.counters["iterations"] = aggregation.solutions(gpu.stream())[0].iterations;
  state.counters["of_30_us"] = 30e-6 / state.counters["seconds"];
}

void register_weights(const Gpu& gpu, bool quick) {
  const Budget budget = quick ? Budget{0.001, 3, 20} : Budget{0.02, 11, 301};
  for (const Solve& solve : solves(quick)) {
    add_benchmark(solve.name("cuda/weights"), [=, &gpu](benchmark::State& state) {
      measure_weights(state, solve, gpu, budget);
    });
  }
}

void add_context() {
  cudaDeviceProp properties{};
  int driver = 0, runtime = 0;
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  benchmark::AddCustomContext("device", properties.name);
  benchmark::AddCustomContext("cuda_driver", std::to_string(driver));
  benchmark::AddCustomContext("cuda_runtime", std::to_string(runtime));
  benchmark::AddCustomContext("compiler", GRAMSTEP_BENCH_COMPILER);
}

}  // namespace
}  // namespace gramstep::bench

int main(int argc, char** argv) {
  using namespace gramstep::bench;
  const bool quick = initialize(argc, argv);
  if (gramstep::cuda_devices() == 0) {
    const char* required = std::getenv("GRAMSTEP_REQUIRE_GPU");
    std::puts("cuda_bench: no CUDA device that can be used here: nothing measured");
    return required != nullptr && std::string_view(required) == "1" ? 1 : 0;
  }
  const Gpu gpu;
  add_context();
  register_all(gpu, quick);
  register_weights(gpu, quick);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
