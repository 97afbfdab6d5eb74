// The update stage: combination and rule in one pass, against streams of as much memory.
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>

#include "bench/cpu_cases.hpp"
#include "bench/floors.hpp"
#include "bench/unfused_rules.hpp"

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
    return always(bytes_of(stages.passes(), which.size));
  }
};

/// One rule by hand, on memory of its own, beside the update stage.
class ByHand {
 public:
  /// Throws where a step of both, from the same parameters and a state of zeros, goes to different places.
  explicit ByHand(Rig& rig) : rig_(rig), rule_(rig.which.rule, rig.which.size) {
    fill_uniform(params_.span(), 0);
    const std::vector<float> before(params_.span().begin(), params_.span().end());
    step();
    rig.stages.update();
    double error = 0, moved = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
      const double by_hand = params_.span()[i], fused = rig.params.span()[i], from = before[i];
      error += (fused - by_hand) * (fused - by_hand);
      moved += (by_hand - from) * (by_hand - from);
    }
    if (std::sqrt(error / moved) <= tolerance) return;
    throw std::runtime_error(rig.which.rule + " by hand: got a step that differs by " +
                             std::to_string(std::sqrt(error / moved)) + ", expected 0.01 at most");
  }

  void step() { rule_.step(rig_.rows.row(0), params_.data(), Stages::steps); }
  std::int64_t bytes() const { return 4 * rule_.streams() * rig_.which.size; }

 private:
  static constexpr double tolerance =
      1e-2;  // Lion's step is 1700 units in a parameter's last place
  Rig& rig_;
  UnfusedRule rule_;
  Floats params_{rig_.which.size};
};

void measure(benchmark::State& state, const Case& which, const Extent& extent) {
  Rig rig{which};
  const std::vector<Pass> passes = rig.stages.passes();
  const auto floor = [&] {
    for (const Pass& pass : passes) stream_in_place(pass.in_place, pass.read, which.size);
  };
  const auto side = static_cast<std::size_t>(std::sqrt(which.size));
  const std::vector<float> factors(which.matrix ? side : 0, 1.0f);
  const auto with_factors = [&] {
    stream_in_place(passes[0].in_place, passes[0].read, which.size);
    for (std::size_t i = 1; i < passes.size(); ++i) {
      stream_rows(passes[i].in_place, passes[i].read, factors, which.size);
    }
  };
  std::optional<ByHand> by_hand;
  std::vector<Contender> contenders{
      {"update", [&] { rig.stages.update(); }, rig.bytes(), [&] { rig.stages.plan(); }},
      {"floor", floor, rig.bytes()}};
  if (which.tasks == 1 && which.segments == 1 && !which.matrix && which.size == extent.large() &&
      UnfusedRule::has(which.rule)) {
    by_hand.emplace(rig);
    contenders.push_back({"unfused", [&] { by_hand->step(); }, [&] { return by_hand->bytes(); }});
  }
  if (which.matrix) contenders.push_back({"factors", with_factors, rig.bytes()});
  // Where in-place writes cost nothing beside the reads, this is the floor of several rows.
  std::vector<const float*> arrays(rig.stages.in_place().begin(), rig.stages.in_place().end());
  arrays.insert(arrays.end(), rig.rows.pointers().begin(), rig.rows.pointers().end());
  if (which.tasks > 1) {
    contenders.push_back({"read", [&] { read_arrays(arrays, which.size); },
                          always(4 * which.size * std::ssize(arrays))});
  }
  compare(state, contenders, time_on_cpu, extent.budget());
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
  add_cpu_benchmark(which.name("update/" + which.rule),
                    which.floats() + 5 * which.size,  // and those of the rule by hand
                    [=](benchmark::State& state) { measure(state, which, extent); });
}

}  // namespace

void register_update(const Extent& extent) {
  for (const int tasks : extent.tasks()) {
    for (const std::int64_t size : extent.sizes()) add(extent, {"AdamW", tasks, size});
  }
  for (const std::string& rule : every_rule()) {
    if (rule != "AdamW") add(extent, {rule, 1, extent.large()});
  }
  add(extent, {.rule = "Adafactor", .size = extent.large(), .matrix = true});
  for (const int tasks : {1, 8}) {
    for (const Case& which : extent.segmented(tasks)) add(extent, which);
  }
  const Case adamw{"AdamW", 1, extent.large()};
  add_cpu_benchmark(adamw.name("update/AdamW") + "/subnormal", 8 * adamw.size,
                    [=](auto& state) { measure_subnormal(state, adamw, extent.budget()); });
}

}  // namespace gramstep::bench
