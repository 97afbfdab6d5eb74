// StageRig: the memory of one optimizer, on which each stage can be run alone, by fibers as the GPU
// would run it or by the CPU backend's loops.
#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "fiber_context.hpp"
#include "host/backend.hpp"
#include "host/cpu/flush_to_zero.hpp"
#include "host/cpu/leaves.hpp"
#include "host/validation.hpp"
#include "kernels/gram_tiled.hpp"
#include "kernels/plan.hpp"
#include "kernels/update.hpp"
#include "tests/cases.hpp"

namespace gramstep::test {

class StageRig {
 public:
  StageRig(const Layout& its_layout, const OptimizerOptions& options, int shift = 0,
           std::uint64_t seed = 1)
      : layout(its_layout),
        setup(layout, options),
        params(layout.size(), shift),
        heads(layout.heads_size(), shift),
        segments(setup.segments),
        step(setup.initial),
        partials(static_cast<std::size_t>(setup.work.partials(setup.tasks)), std::nan("")),
        scratch(static_cast<std::size_t>(setup.scratch), std::nan("")),
        aligned_(shift % 4 == 0) {
    for (int k = 0; k < setup.tasks; ++k) rows.emplace_back(layout.shared_size(), shift);
    for (int s = 0; s < setup.states; ++s) states.emplace_back(layout.size(), shift);
    fill(seed);
  }

  /// The elements of segment s in a buffer over the flat buffer from element `origin` on.
  std::span<float> segment(const Floats& buffer, int s, std::int64_t origin = 0) const {
    const Segment at = layout.segment(s);
    return {buffer.data() + (at.offset - origin), static_cast<std::size_t>(at.size)};
  }
  bool is_head(int s) const { return layout.segment(s).task != shared_by_all; }

  void run_gram(const simt::Launch& order) {
    const kernels::GramArguments a = gram_arguments();
    const int tasks = setup.tasks;
    if (tasks == 1) return launch(order, kernels::GramBody<1>{a}, spans());
    if (tasks == 2) return launch(order, kernels::GramBody<2>{a}, spans());
    if (tasks <= 4) return launch(order, kernels::GramBody<4>{a}, spans());
    if (tasks <= 8) return launch(order, kernels::GramBody<8>{a}, spans());
    launch(order, kernels::GramTiledBody{a}, spans());
  }
  void run_gram_on_cpu() {
    const host::FlushToZero flush;
    std::vector<double> lanes(static_cast<std::size_t>(kernels::max_pairs) * host::gram_lanes);
    host::choose_leaves().leaves->gram(gram_arguments(), 0, spans(), lanes.data());
  }

  void run_plan(const simt::Launch& order) {
    with_plan_body([&](const auto& body) { launch(order, body, 1); });
  }
  void run_plan_on_cpu() {
    with_plan_body([](const auto& body) {
      typename std::decay_t<decltype(body)>::Shared shared;
      body(kernels::SingleThread{}, shared);
    });
  }

  /// `blocks` may be fewer than there are chunks.
  void run_update(const simt::Launch& order, std::int64_t blocks) {
    std::visit(
        [&](const auto& rule) {
          using Updates = typename std::decay_t<decltype(rule)>::Updates;
          if (rule.update() == 0) run_rows<std::tuple_element_t<0, Updates>>(order, blocks);
          if (rule.update() == 1) run_rows<std::tuple_element_t<1, Updates>>(order, blocks);
        },
        setup.rule);
  }
  void run_update_on_cpu() {
    const host::FlushToZero flush;
    host::choose_leaves().leaves->update_of(setup.rule)(update_arguments(), 0, chunks());
  }

  std::int32_t chunks() const { return static_cast<std::int32_t>(setup.work.chunks.size()); }
  std::int64_t spans() const { return static_cast<std::int64_t>(setup.work.spans.size()); }

  /// That nothing between the segments was written.
  void expect_padding_untouched() const {
    std::vector<bool> padding(static_cast<std::size_t>(layout.size()), true);
    for (const kernels::Chunk& chunk : setup.work.chunks) {
      for (int i = 0; i < chunk.count; ++i)
        padding[static_cast<std::size_t>(chunk.begin + i)] = false;
    }
    const auto check = [&](const Floats& buffer) {
      for (std::int64_t i = 0; i < layout.size(); ++i) {
        if (!padding[static_cast<std::size_t>(i)]) continue;
        ASSERT_EQ(std::bit_cast<std::uint32_t>(buffer[i]), poison_bits) << "padding at " << i;
      }
    };
    check(params);
    for (const Floats& state : states) check(state);
  }

  Layout layout;
  host::Setup setup;
  Floats params, heads;
  std::vector<Floats> rows, states;
  std::vector<kernels::SegmentState> segments;
  kernels::StepState step;
  std::vector<double> partials, scratch;

 private:
  void fill(std::uint64_t seed) {
    Random random(seed);
    const auto draw = [&](std::span<float> values) {
      for (float& value : values) value = static_cast<float>(random.uniform());
    };
    for (int s = 0; s < layout.segments(); ++s) {
      draw(segment(params, s));
      if (is_head(s)) draw(segment(heads, s, layout.shared_size()));
      for (const Floats& row : rows) {
        if (!is_head(s)) draw(segment(row, s));
      }
      for (const Floats& state : states) {
        draw(segment(state, s));
        for (float& value : segment(state, s)) value = std::fabs(value);  // a second moment is one
      }
    }
  }

  template <class Body>
  static void launch(simt::Launch order, const Body& body, std::int64_t blocks) {
    const host::FlushToZero flush;  // as the device is built
    order.blocks = blocks;
    order.threads = Body::threads;
    if (blocks > 0) simt::run(order, body);
  }

  template <class Update>
  void run_rows(const simt::Launch& order, std::int64_t blocks) {
    const kernels::UpdateArguments a = update_arguments();
    if (setup.tasks == 1) return launch(order, kernels::UpdateBody<Update, 1>{a}, blocks);
    if (setup.tasks == 2) return launch(order, kernels::UpdateBody<Update, 2>{a}, blocks);
    launch(order, kernels::UpdateBody<Update, 0>{a}, blocks);
  }

  template <class Function>
  void with_plan_body(const Function& function) {
    const kernels::PlanArguments a =
        setup.plan_arguments(setup.work.table(), &step, segments.data(), setup.groups.data(),
                             partials.data(), scratch.data());
    std::visit(
        [&](const auto& held) {
          function(kernels::PlanBody<std::decay_t<decltype(held)>>{
              a, held, kernels::OneOfT<Rule>(setup.rule)});
        },
        setup.aggregator);
  }

  kernels::GramArguments gram_arguments() {
    kernels::GramArguments a{};
    for (std::size_t k = 0; k < rows.size(); ++k) a.rows[k] = rows[k].data();
    a.heads = heads.data();
    a.work = setup.work.table();
    a.segments = segments.data();
    a.partials = partials.data();
    a.tasks = setup.tasks;
    a.aligned = aligned_;
    return a;
  }

  kernels::UpdateArguments update_arguments() {
    kernels::UpdateArguments a{};
    a.params = params.data();
    for (std::size_t s = 0; s < states.size(); ++s) a.states[s] = states[s].data();
    for (std::size_t k = 0; k < rows.size(); ++k) a.rows[k] = rows[k].data();
    a.heads = heads.data();
    a.work = setup.work.table();
    a.segments = segments.data();
    a.plan = &step.plan;
    a.tasks = setup.tasks;
    a.aligned = aligned_;
    return a;
  }

  bool aligned_;
};

inline const simt::Launch every_order[] = {{.order = simt::Order::forward},
                                           {.order = simt::Order::reverse},
                                           {.order = simt::Order::random}};

}  // namespace gramstep::test
