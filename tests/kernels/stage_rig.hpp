// StageRig: the memory of one optimizer, on which each stage can be run alone, by fibers as the GPU
// would run it or by the CPU backend's loops.
#pragma once

#include <algorithm>
#include <vector>

#include "fiber_context.hpp"
#include "host/cpu/flush_to_zero.hpp"
#include "host/cpu/leaves.hpp"
#include "host/cpu/orthogonalizer.hpp"
#include "kernels/factored.hpp"
#include "kernels/gram_bodies.hpp"
#include "kernels/normalize.hpp"
#include "tests/kernels/stage_memory.hpp"

namespace gramstep::test {

class StageRig : public StageMemory {
 public:
  using StageMemory::StageMemory;

  void run_gram(const simt::Launch& order) {
    const kernels::GramArguments a = gram_arguments();
    kernels::with_gram_body(a, aggregator(), losses,
                            [&](const auto& body) { launch(order, body, spans()); });
  }
  void run_gram_on_cpu() {
    const host::FlushToZero flush;
    std::vector<double> lanes(static_cast<std::size_t>(kernels::max_pairs) * host::gram_lanes);
    std::vector<float> fp32(lanes.size());
    const host::Leaves& leaves = *host::choose_leaves().leaves;
    kernels::GramArguments a = gram_arguments();
    if (setup.traits.momentum) {
      kernels::MomentumFactors factors;
      kernels::momentum_factors(kernels::SingleThread{}, aggregator(), a.momenta, losses,
                                setup.tasks, factors);
      for (int s = 0; s < setup.work.shared_spans; ++s) leaves.momentum(a, factors, s);
      for (int k = 0; k < setup.tasks; ++k) a.rows[k] = a.momenta.after(k, setup.tasks);
      a.row_type = DType::float32;
    }
    leaves.gram(a, 0, spans(), {fp32.data(), lanes.data()});
  }

  /// As launch_plan does, for an aggregator that is one of `Held`: every one takes a compiler seconds.
  template <class... Held>
  void run_plan(const simt::Launch& order) {
    const int projections = setup.shape.projections;
    const auto run = [&](const auto* held) {
      if (held == nullptr) return false;
      using Body = kernels::PlanBody<std::decay_t<decltype(*held)>>;
      launch(order, Body{plan_arguments(), *held, projections == 1}, projections);
      return true;
    };
    ASSERT_TRUE((run(std::get_if<Held>(&setup.aggregator)) || ...));
    if (projections > 1) launch(order, kernels::DecisionBody{plan_arguments()}, 1);
  }
  /// As the CPU backend does.
  void run_plan_on_cpu() {
    const kernels::PlanArguments a = plan_arguments();
    const host::Leaves& leaves = *host::choose_leaves().leaves;
    for (int p = 0; p < setup.shape.projections; ++p) leaves.weights(a, aggregator(), p);
    kernels::decide_alone(a);
  }

  /// The update of a rule that is one of `Held`, with a weighted sum of rows, or element by element.
  /// `blocks` may be fewer than there are chunks.
  template <class... Held>
  void run_update(const simt::Launch& order, std::int64_t blocks) {
    with_updates<Held...>([&](auto update) {
      const auto run = [&](const auto& sum) { run_bodies<decltype(update)>(order, sum, blocks); };
      if (setup.tasks == 1) return run(kernels::WeightedSum<kernels::Float32, 1>{});
      if (setup.tasks == 2) return run(kernels::WeightedSum<kernels::Float32, 2>{});
      run(kernels::WeightedSum<kernels::Float32, 0>{});
    });
  }
  template <class... Held>
  void run_update_by_element(const simt::Launch& order, std::int64_t blocks) {
    with_updates<Held...>([&](auto update) {
      run_bodies<decltype(update)>(order, kernels::ByElement<kernels::Float32>{aggregator()},
                                   blocks);
    });
  }
  /// Of memory of any type, by either way of combining.
  template <class... Held>
  void run_stored_update(const simt::Launch& order, std::int64_t blocks) {
    with_updates<Held...>([&](auto update) {
      const kernels::AnyCombination any{{aggregator()}, setup.traits.elementwise};
      run_bodies<decltype(update)>(order, any, blocks);
    });
  }
  void run_update_on_cpu() {
    const host::FlushToZero flush;
    const kernels::OneOfT<Aggregator> held = aggregator();
    const auto* by_element = setup.traits.elementwise ? &held : nullptr;
    const kernels::UpdateArguments a = update_arguments();
    for (const bool matrix : {false, true}) {
      const auto& passes = host::choose_leaves().leaves->update_of(setup.rule, matrix);
      if (setup.places.kinds[matrix]) run_passes(passes, a, by_element);
    }
  }

 private:
  template <class Body>
  static void launch(simt::Launch order, const Body& body, std::int64_t blocks) {
    const host::FlushToZero flush;  // as the device is built
    order.blocks = blocks;
    order.threads = Body::threads;
    if (blocks > 0) simt::run(order, body);
  }

  /// Calls function(Update{}) for the update of a rule that is one of `Held`, and for that of matrices.
  template <class... Held, class Function>
  void with_updates(const Function& function) const {
    const auto visit = [&](const auto* held) {
      if (held == nullptr) return false;
      for (const bool matrix : {false, true}) {
        if (setup.places.kinds[matrix]) rules::with_update(*held, matrix, function);
      }
      return true;
    };
    ASSERT_TRUE((visit(std::get_if<Held>(&setup.rule)) || ...));
  }

  /// As the CPU backend does.
  void run_passes(const host::Leaves::Update& passes, const kernels::UpdateArguments& a,
                  const kernels::OneOfT<Aggregator>* by_element) {
    if (passes.tiles != nullptr) {
      passes.tiles(a, by_element, 0, a.matrices.tile_count);
      passes.lines(a, by_element, 0, a.matrices.lines_count);
      passes.row_factors(a, by_element, 0, a.matrices.lines_count);
    }
    if (passes.measure != nullptr) {
      passes.measure(a, by_element, 0, chunks());
      passes.settle(a);
    }
    if (passes.normalize != nullptr) {
      passes.normalize(a, by_element, 0, chunks());
      orthogonalize(a);
    }
    passes.apply(a, by_element, 0, chunks());
  }

  /// By the CPU's products: a GPU's are a library's.
  void orthogonalize(const kernels::UpdateArguments& a) const {
    const host::FlushToZero flush;
    host::Orthogonalizer orthogonalizer(setup.places, *host::choose_leaves().leaves, 1);
    orthogonalizer.run(host::newton_schulz(setup.rule),
                       static_cast<float*>(a.states[setup.places.orthogonalized]), segments);
  }

  /// As launch_update does.
  template <class Update, class Combination>
  void run_bodies(const simt::Launch& order, const Combination& combination, std::int64_t blocks) {
    const kernels::UpdateArguments a = update_arguments();
    if constexpr (rules::Factored<Update>) {
      launch(order, kernels::TileBody<Update, Combination>{a, combination}, blocks);
      launch(order, kernels::LinesBody<Update>{a}, blocks);
      launch(order, kernels::RowFactorsBody<Update>{a}, blocks);
    }
    if constexpr (rules::Measured<Update>) {
      launch(order, kernels::MeasureBody<Update, Combination>{a, combination}, blocks);
      launch(order, kernels::SettleBody<Update>{a},
             std::min<std::int64_t>(blocks, a.segment_count));
    }
    if constexpr (rules::Orthogonalized<Update>) {
      launch(order, kernels::NormalizeBody<Update>{a}, blocks);
      orthogonalize(a);
    }
    launch(order, kernels::UpdateBody<Update, Combination>{a, combination}, blocks);
  }
};

/// The shortest chunks once, aligned, the longest for all else.
inline std::int64_t chunk_elements_at(int shift) {
  return shift == 4 ? kernels::least_chunk_elements : kernels::chunk_elements;
}

inline const simt::Launch every_order[] = {{.order = simt::Order::forward},
                                           {.order = simt::Order::reverse},
                                           {.order = simt::Order::random}};

}  // namespace gramstep::test
