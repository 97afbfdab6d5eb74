// The whole step, against the same step written by hand and against streams of as much memory.
#include <cmath>
#include <optional>
#include <stdexcept>

#include "bench/cpu_cases.hpp"
#include "bench/floors.hpp"
#include "bench/unfused.hpp"

namespace gramstep::bench {
namespace {

/// Most products of N and K^2 for which the unfused step is measured: beyond, it takes seconds.
constexpr std::int64_t most_unfused = std::int64_t{1} << 30;

/// The unfused step must do the same work: throws where the first moments, which hold the combined
/// gradients, differ by more than its sums of N products in fp32 err.
void expect_same(std::span<const float> expected, std::span<const float> got) {
  constexpr double tolerance = 1e-2;  // a projection left out makes a difference of 1e-1
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double difference = static_cast<double>(got[i]) - static_cast<double>(expected[i]);
    error += difference * difference;
    norm += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  if (std::sqrt(error / norm) <= tolerance) return;
  throw std::runtime_error("unfused step: first moment: got an error of " +
                           std::to_string(std::sqrt(error / norm)) + ", expected 0.01 at most");
}

void measure(benchmark::State& state, const Case& which, const Budget& budget) {
  const Layout layout = which.layout();
  const Rows rows(which.tasks, layout.size());
  const Floats params(layout.size());
  fill_uniform(params.span(), 0);
  Optimizer optimizer(layout, which.options(cpu()));
  std::vector<float*> in_place{params.data()};
  for (const std::string_view name : optimizer.state_names()) {
    in_place.push_back(optimizer.state(name).data());
  }

  const Gradients gradients{rows.pointers(), layout.shared_size()};
  const auto passes = passes_of(optimizer.options().rule, false, in_place, rows.pointers());
  const auto floor = [&] {
    read_arrays(rows.pointers(), which.size);
    for (const Pass& pass : passes) stream_in_place(pass.in_place, pass.read, which.size);
  };
  const auto bytes = always(4 * which.size * which.tasks + bytes_of(passes, which.size));
  std::vector<Contender> contenders{
      {"step", [&] { optimizer.step(params.span(), gradients); }, bytes}, {"floor", floor, bytes}};
  std::optional<Unfused> unfused;
  if (which.size * which.tasks * which.tasks <= most_unfused) {
    unfused.emplace(rows, which.size);
    unfused->step();
    optimizer.step(params.span(), gradients);
    expect_same(optimizer.state("exp_avg"), unfused->first_moment());
    contenders.push_back({"unfused", [&] { unfused->step(); }, [&] { return unfused->bytes(); }});
  }
  compare(state, contenders, time_on_cpu, budget);
}

void add(const Extent& extent, const Case& which) {
  add_cpu_benchmark(which.name("step/" + which.rule), which.size * (which.tasks + 8),
                    [=](benchmark::State& state) { measure(state, which, extent.budget()); });
}

}  // namespace

void register_step(const Extent& extent) {
  for (const int tasks : extent.tasks()) {
    for (const std::int64_t size : extent.sizes()) add(extent, {"AdamW", tasks, size});
  }
  for (const int tasks : {1, 8}) {
    for (const Case& which : extent.segmented(tasks)) add(extent, which);
  }
}

}  // namespace gramstep::bench
