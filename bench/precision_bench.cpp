// The step of one task with parameters, gradients and state of other types, against streams of as much
// memory.
#include <cmath>

#include "bench/cpu_cases.hpp"
#include "bench/floors.hpp"

namespace gramstep::bench {
namespace {

struct Stored {
  std::string name;
  Precision precision;
  bool all_outputs = false;  // a copy of the parameters, their mean, and gradients left at zero
};

std::vector<Stored> every_precision() {
  using enum DType;
  return {
      {"float32", {}},
      {"bf16-gradients", {.gradients = bfloat16}},
      {"master", {.params = bfloat16, .gradients = bfloat16, .master = Master::float32}},
      {"float16-master", {.params = float16, .gradients = float16, .master = Master::float32}},
      {"remainder", {.params = bfloat16, .gradients = bfloat16, .master = Master::remainder}},
      {"kahan", {.params = bfloat16, .gradients = bfloat16, .rounding = Rounding::kahan}},
      {"stochastic", {.params = bfloat16, .gradients = bfloat16, .rounding = Rounding::stochastic}},
      {"bf16-states", {.states = bfloat16}},
      {"all-bf16", {.params = bfloat16, .gradients = bfloat16, .states = bfloat16}},
      {"all-bf16-stochastic",
       {.params = bfloat16,
        .gradients = bfloat16,
        .states = bfloat16,
        .rounding = Rounding::stochastic}},
      {"8-bit-states", {.states = dynamic8}},
      {"8-bit-states-stochastic", {.states = dynamic8, .rounding = Rounding::stochastic}},
      {"all-outputs", {}, true}};
}

/// A step of one task, and what of memory it reads and writes.
struct Rig {
  Case which;
  Precision precision;
  bool all_outputs;
  Floats params{which.size}, gradient{which.size};  // as much memory as any type takes
  Floats copy{all_outputs ? which.size : 0};
  Optimizer optimizer;

  Rig(const Case& its_case, const Stored& stored)
      : which(its_case),
        precision(stored.precision),
        all_outputs(stored.all_outputs),
        optimizer(which.layout(), options()) {
    fill(params, precision.params, 0);
    fill(gradient, precision.gradients, 1);
    for (int step = 0; step < Stages::steps; ++step) this->step();
  }

  OptimizerOptions options() const {
    OptimizerOptions options{.rule = rule_of(which.rule), .precision = precision, .device = cpu()};
    options.zero_gradients = all_outputs;
    if (all_outputs) options.ema_decay = 0.999;
    return options;
  }

  /// Numbers uniform in [-1, 1) as that type stores them.
  void fill(const Floats& to, DType dtype, std::uint32_t seed) const {
    fill_uniform(to.span(), seed);
    const std::vector<float> numbers(to.span().begin(), to.span().end());
    host::narrow(dtype, numbers, to.data());
  }

  void step() {
    const void* const row = gradient.data();
    optimizer.step({params.data(), which.size, precision.params},
                   {.rows = {&row, 1, precision.gradients}, .row_size = which.size},
                   {.copy = {copy.data(), all_outputs ? which.size : 0, DType::float32}});
  }

  std::vector<Stream> streams() {
    const bool written_only = precision.master == Master::float32;
    std::vector<Stream> found{
        {params.data(), which.size * size_of(precision.params), !written_only},
        {gradient.data(), which.size * size_of(precision.gradients), all_outputs}};
    if (all_outputs) found.push_back({copy.data(), 4 * which.size, false});
    for (const std::string_view name : optimizer.state_names()) {
      const Buffer state = optimizer.stored_state(name);
      found.push_back({state.data, state.size * size_of(state.dtype), true});
    }
    return found;
  }
};

/// A stream that is written alone counts as one that is read: a processor fetches what it writes.
std::int64_t bytes_of(const std::vector<Stream>& streams) {
  std::int64_t bytes = 0;
  for (const Stream& each : streams) bytes += each.written ? 2 * each.bytes : each.bytes;
  return bytes;
}

void measure(benchmark::State& state, const Case& which, const Stored& stored,
             const Extent& extent) {
  Rig rig(which, stored);
  const std::vector<Stream> streams = rig.streams();
  const auto bytes = always(bytes_of(streams));
  compare(
      state,
      {{"update", [&] { rig.step(); }, bytes}, {"floor", [&] { stream_abreast(streams); }, bytes}},
      time_on_cpu, extent.budget());
}

}  // namespace

void register_precision(const Extent& extent) {
  for (const std::string rule : {"AdamW", "SGD(momentum=0.9)", "Lion"}) {
    for (const Stored& stored : every_precision()) {
      const Case which{.rule = rule, .size = extent.large()};
      add_cpu_benchmark(which.name("precision/" + rule) + "/" + stored.name, 6 * which.size,
                        [=](benchmark::State& state) { measure(state, which, stored, extent); });
    }
  }
}

}  // namespace gramstep::bench
