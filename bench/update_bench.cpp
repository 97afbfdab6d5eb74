// The update stage: combination and rule in one pass, against streams of as much memory.
#include <limits>

#include "bench/cases.hpp"
#include "bench/floors.hpp"

namespace gramstep::bench {
namespace {

std::int64_t bytes_of(const Case& which, const Stages& stages) {
  const auto in_place = std::ssize(stages.in_place());
  return 4 * which.size * (which.tasks + 2 * in_place);
}

/// One task: an in-place stream of as many reads and writes. Several: reading as many arrays, since
/// what limits a CPU here is reading, and writing back in place comes almost free.
void run_floor(const Case& which, const Stages& stages, const Rows& rows) {
  if (which.tasks == 1) return stream_in_place(stages.in_place(), rows.row(0), which.size);
  std::vector<const float*> arrays(rows.span().begin(), rows.span().end());
  arrays.insert(arrays.end(), stages.in_place().begin(), stages.in_place().end());
  read_arrays(arrays, which.size);
}

void measure(benchmark::State& state, const Case& which, const Budget& budget) {
  const Rows rows(which.tasks, make_layout(which.size, which.segments).size());
  Stages stages(which, rows);
  const std::int64_t bytes = bytes_of(which, stages);
  compare(state,
          {{"update", always(bytes), [&] { stages.update(); }},
           {"floor", always(bytes), [&] { run_floor(which, stages, rows); }}},
          time_on_cpu, budget);
}

/// Gradients of zero and a first moment that is subnormal, against the same with normal numbers.
void measure_subnormal(benchmark::State& state, const Case& which, const Budget& budget) {
  Rows zero(1, which.size), ordinary(1, which.size);
  fill_uniform({zero.row(0), static_cast<std::size_t>(which.size)}, 0, 0);
  Stages subnormal_stages(which, zero), normal_stages(which, ordinary);
  const auto set_moment = [&](const Stages& stages, float scale) {
    return [&stages, scale, size = static_cast<std::size_t>(which.size)] {
      fill_uniform({stages.in_place()[1], size}, 3, scale);
    };
  };
  const std::int64_t bytes = bytes_of(which, normal_stages);
  compare(state,
          {{"subnormal", always(bytes), [&] { subnormal_stages.update(); },
            set_moment(subnormal_stages, std::numeric_limits<float>::min() / 2)},
           {"normal", always(bytes), [&] { normal_stages.update(); },
            set_moment(normal_stages, 1.0f)}},
          time_on_cpu, budget);
}

void add(const Extent& extent, const Case& which) {
  add_benchmark(which.name("update"), which.size * (which.tasks + 3),
                [=](benchmark::State& state) { measure(state, which, extent.budget()); });
}

}  // namespace

void register_update(const Extent& extent) {
  for (const int tasks : extent.tasks()) {
    for (const std::int64_t size : extent.sizes()) add(extent, {"AdamW", tasks, size});
  }
  for (const char* rule : {"SGD", "momentum", "Adam"}) add(extent, {rule, 1, extent.large()});
  for (const int tasks : {1, 8}) {
    add(extent, {"AdamW", tasks, extent.large(), 256});
    add(extent, {"AdamW", tasks, 4096 * 1024, 4096});
  }
  const Case adamw{"AdamW", 1, extent.large()};
  add_benchmark(adamw.name("update") + "/state:subnormal", 8 * adamw.size,
                [=](auto& state) { measure_subnormal(state, adamw, extent.budget()); });
}

}  // namespace gramstep::bench
