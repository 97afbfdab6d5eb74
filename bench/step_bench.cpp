// The whole step, against the same step written by hand and against reading all it must read.
#include "bench/cases.hpp"
#include "bench/floors.hpp"
#include "bench/unfused.hpp"

namespace gramstep::bench {
namespace {

/// Most products of size and K^2 for which the unfused step is measured: it takes seconds above.
constexpr std::int64_t most_unfused = std::int64_t{1} << 30;

void measure(benchmark::State& state, const Case& which, const Budget& budget) {
  const Layout layout = make_layout(which.size, which.segments);
  Rows rows(which.tasks, layout.size());
  Floats params(layout.size());
  fill_uniform(params.span(), 0);
  Optimizer optimizer(layout, make_options(which, cpu()));
  const Gradients gradients{rows.span(), layout.shared_size()};

  std::vector<float*> in_place{params.data()};
  for (const std::string_view name : optimizer.state_names()) {
    in_place.push_back(optimizer.state(name).data());
  }
  const auto floor = [&] {
    read_arrays(rows.span(), which.size);
    if (which.tasks > 1) {
      std::vector<const float*> arrays(rows.span().begin(), rows.span().end());
      arrays.insert(arrays.end(), in_place.begin(), in_place.end());
      read_arrays(arrays, which.size);
    } else {
      stream_in_place(in_place, rows.row(0), which.size);
    }
  };
  const std::int64_t bytes = 4 * which.size * (2 * which.tasks + 2 * std::ssize(in_place));
  std::vector<Contender> contenders{
      {"step", always(bytes), [&] { optimizer.step(params.span(), gradients); }},
      {"floor", always(bytes), floor}};

  std::optional<Unfused> unfused;
  if (which.size * which.tasks * which.tasks <= most_unfused) {
    unfused.emplace(rows);
    contenders.push_back(
        {"unfused", [&] { return unfused->bytes(); }, [&] { unfused->step(); }});
  }
  compare(state, contenders, time_on_cpu, budget);
}

void add(const Extent& extent, const Case& which) {
  add_benchmark(which.name("step"), which.size * (which.tasks + 8),
                [=](benchmark::State& state) { measure(state, which, extent.budget()); });
}

}  // namespace

void register_step(const Extent& extent) {
  for (const int tasks : extent.tasks()) {
    for (const std::int64_t size : extent.sizes()) add(extent, {"AdamW", tasks, size});
  }
  for (const int tasks : {1, 8}) {
    add(extent, {"AdamW", tasks, extent.large(), 256});
    add(extent, {"AdamW", tasks, 4096 * 1024, 4096});
  }
}

}  // namespace gramstep::bench
