// The update stage: combination and rule in one pass, against streams of as much memory.
#include <limits>

#include "bench/cpu_cases.hpp"
#include "bench/floors.hpp"

namespace gramstep::bench {
namespace {

/// Memory and stages of a case.
struct Rig {
  Case which;
  Layout layout = which.layout();
  Rows rows{which.tasks, layout.size()};
  Floats params{layout.size()};
  Stages stages{which, cpu(), random_params(), rows.pointers().data()};

  float* random_params() const {
    fill_uniform(params.span(), 0);
    return params.data();
  }
  std::function<std::int64_t()> bytes() const {
    return always(4 * which.size * (which.tasks + 2 * std::ssize(stages.in_place())));
  }
};

void measure(benchmark::State& state, const Case& which, const Budget& budget) {
  Rig rig{which};
  const std::vector<float*>& in_place = rig.stages.in_place();
  std::vector<Contender> contenders{
      {"update", [&] { rig.stages.update(); }, rig.bytes()},
      {"floor", [&] { stream_in_place(in_place, rig.rows.pointers(), which.size); }, rig.bytes()}};
  // Where in-place writes cost nothing beside the reads, this is the floor of several rows.
  std::vector<const float*> arrays(in_place.begin(), in_place.end());
  arrays.insert(arrays.end(), rig.rows.pointers().begin(), rig.rows.pointers().end());
  if (which.tasks > 1) {
    contenders.push_back({"read", [&] { read_arrays(arrays, which.size); },
                          always(4 * which.size * std::ssize(arrays))});
  }
  compare(state, contenders, time_on_cpu, budget);
}

/// Gradients of zero and a first moment that is subnormal, against ordinary numbers.
void measure_subnormal(benchmark::State& state, const Case& which, const Budget& budget) {
  Rig subnormal{which}, normal{which};
  fill_uniform(subnormal.rows.row_span(0), 0, 0);
  const auto set_moment = [&](const Rig& rig, float scale) {
    return [&rig, scale] {
      fill_uniform({rig.stages.in_place()[1], static_cast<std::size_t>(rig.which.size)}, 3, scale);
    };
  };
  compare(state,
          {{"subnormal", [&] { subnormal.stages.update(); }, subnormal.bytes(),
            set_moment(subnormal, std::numeric_limits<float>::min() / 2)},
           {"normal", [&] { normal.stages.update(); }, normal.bytes(), set_moment(normal, 1.0f)}},
          time_on_cpu, budget);
}

void add(const Extent& extent, const Case& which) {
  add_cpu_benchmark(which.name("update/" + which.rule), which.size * (which.tasks + 3),
                    [=](benchmark::State& state) { measure(state, which, extent.budget()); });
}

}  // namespace

void register_update(const Extent& extent) {
  for (const int tasks : extent.tasks()) {
    for (const std::int64_t size : extent.sizes()) add(extent, {"AdamW", tasks, size});
  }
  for (const char* rule : {"SGD", "momentum", "Adam"}) add(extent, {rule, 1, extent.large()});
  for (const int tasks : {1, 8}) {
    for (const Case& which : extent.segmented(tasks)) add(extent, which);
  }
  const Case adamw{"AdamW", 1, extent.large()};
  add_cpu_benchmark(adamw.name("update/AdamW") + "/subnormal", 8 * adamw.size,
                    [=](auto& state) { measure_subnormal(state, adamw, extent.budget()); });
}

}  // namespace gramstep::bench
