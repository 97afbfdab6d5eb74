// StageMemory: the memory of one optimizer, and what each stage is handed of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "host/backend.hpp"
#include "host/validation.hpp"
#include "kernels/decision.hpp"
#include "kernels/measure.hpp"
#include "tests/cases.hpp"
#include "tests/kernels/stored_copy.hpp"

namespace gramstep::test {

class StageMemory {
 public:
  /// In chunks as of a large layout.
  StageMemory(const Layout& its_layout, const OptimizerOptions& options, int shift = 0,
              std::uint64_t seed = 1, std::int64_t chunk_elements = kernels::chunk_elements)
      : layout(its_layout),
        setup(layout, options, chunk_elements),
        params(layout.size(), shift),
        heads(layout.heads_size(), shift),
        segments(setup.segments),
        step(setup.initial),
        plan(setup.fresh_plan()),
        momenta(setup.momenta(), shift),
        beside_params(setup.places.params_buffer < 0 ? 0 : layout.size()),
        ema(setup.places.ema_buffer < 0 ? 0 : layout.size()),
        scales(setup.precision.states == DType::dynamic8 ? 3 * blocks() : 0),
        partials(static_cast<std::size_t>(setup.work.partials(setup.tasks)), std::nan("")),
        measures(setup.work.chunks.size() * rules::max_measures, std::nan("")),
        matrix_sums(static_cast<std::size_t>(setup.places.sums), std::nanf("")),
        scratch(static_cast<std::size_t>(setup.shape.projections * setup.scratch), std::nan("")),
        aligned_(shift % 4 == 0) {
    for (int k = 0; k < setup.tasks; ++k) rows.emplace_back(layout.shared_size(), shift);
    for (int s = 0; s < setup.places.rule_buffers; ++s) {
      states.emplace_back(setup.state_size(s), shift);
    }
    for (float& each : beside_params.span()) each = 0;
    for (float& each : ema.span()) each = 0.25f;
    for (float& each : scales.span()) each = 0.75f;
    fill(seed);
  }

  /// The elements of segment s in a buffer over the flat buffer from element `origin` on.
  std::span<float> segment(const Floats& buffer, int s, std::int64_t origin = 0) const {
    const Segment at = layout.segment(s);
    return {buffer.data() + (at.offset - origin), static_cast<std::size_t>(at.size)};
  }
  /// A segment's part of every state buffer, workspace included; empty where it has none.
  std::vector<std::span<float>> states_of(int s) const {
    const kernels::SegmentPlace& place = setup.places.segments[static_cast<std::size_t>(s)];
    const auto [size, matrix_rows, matrix_columns] = place.stack;
    std::vector<std::span<float>> parts;
    for (const StatePiece& piece : host::state_pieces(setup.rule, matrix_rows > 0)) {
      const std::int64_t count = piece.per == Per::row      ? size / matrix_columns
                                 : piece.per == Per::column ? size / matrix_rows
                                                            : size;
      float* begin = states[parts.size()].data() + place.states[parts.size()];
      parts.emplace_back(begin, static_cast<std::size_t>(count));
    }
    return parts;
  }
  /// All state that outlives a step, workspace not included.
  std::vector<float> kept_state() const {
    std::vector<float> kept;
    for (const auto& parts : setup.places.parts) {
      for (const host::StatePart& part : parts) {
        const float* begin = states[static_cast<std::size_t>(part.buffer)].data() + part.offset;
        kept.insert(kept.end(), begin, begin + part.size());
      }
    }
    return kept;
  }
  bool is_head(int s) const { return layout.segment(s).task != shared_by_all; }

  /// What the stages are handed for a buffer: itself, or a copy of its numbers of that type.
  void* stored(const Floats& buffer, DType dtype) {
    if (dtype == DType::float32) return buffer.data();
    return copies_.try_emplace(&buffer, buffer.span(), dtype).first->second.data();
  }
  /// The bits that the stages left of it.
  std::vector<std::uint32_t> bits(const Floats& buffer) const {
    const auto copy = copies_.find(&buffer);
    if (copy != copies_.end()) return copy->second.bits();
    std::vector<std::uint32_t> found;
    for (const float each : buffer.span()) found.push_back(std::bit_cast<std::uint32_t>(each));
    return found;
  }

  /// That nothing between the segments was written.
  void expect_padding_untouched() const {
    std::vector<bool> padding(static_cast<std::size_t>(layout.size()), true);
    for (const kernels::Chunk& chunk : setup.work.chunks) {
      for (int i = 0; i < chunk.count; ++i)
        padding[static_cast<std::size_t>(chunk.begin + i)] = false;
    }
    expect_poison(params, padding);
    for (std::size_t b = 0; b < states.size(); ++b) {
      padding.assign(states[b].span().size(), true);
      for (int s = 0; s < layout.segments(); ++s) {
        const auto parts = states_of(s);
        if (b >= parts.size()) continue;
        const auto first = padding.begin() + (parts[b].data() - states[b].data());
        std::fill_n(first, parts[b].size(), false);
      }
      expect_poison(states[b], padding);
    }
  }

  kernels::OneOfT<Aggregator> aggregator() const {
    return kernels::OneOfT<Aggregator>(setup.aggregator);
  }

  kernels::PlanArguments plan_arguments() {
    losses.needed = setup.traits.needs_losses;
    losses.needed_positive = setup.traits.needs_positive_losses;
    kernels::PlanArguments a = setup.plan_arguments(losses);
    a.state = &step;
    a.segments = segments.data();
    a.groups = setup.groups.data();
    a.partials = partials.data();
    a.memory = plan_memory();
    a.scratch = scratch.data();
    a.work = setup.work.table();
    a.scaling = scaling;
    return a;
  }

  kernels::GramArguments gram_arguments() {
    kernels::GramArguments a{};
    const DType gradients = a.row_type = a.head_type = setup.precision.gradients;
    for (std::size_t k = 0; k < rows.size(); ++k) a.rows[k] = stored(rows[k], gradients);
    a.heads = stored(heads, gradients);
    a.work = setup.work.table();
    a.segments = segments.data();
    a.partials = partials.data();
    a.momenta = {setup.traits.momentum ? momenta.data() : nullptr, setup.momentum_stride(), &step,
                 scaling};
    a.tasks = setup.tasks;
    a.aligned = reinterpret_cast<std::uintptr_t>(a.rows[0]) % 16 == 0;
    return a;
  }

  kernels::UpdateArguments update_arguments() {
    kernels::UpdateArguments a{};
    a.storage = setup.storage(outputs, [&](int index) -> void* {
      const int scale = index - setup.places.scale_buffers;
      if (setup.places.scale_buffers >= 0 && scale >= 0) return scales.data() + scale * blocks();
      return index == setup.places.ema_buffer ? ema.data() : beside_params.data();
    });
    a.zeroed.dtype = setup.precision.gradients;
    a.zeroed.heads = stored(heads, a.zeroed.dtype);
    for (std::size_t k = 0; k < rows.size(); ++k) {
      a.zeroed.rows[k] = stored(rows[k], a.zeroed.dtype);
    }
    a.params = stored(params, a.storage.params);
    for (std::size_t s = 0; s < states.size(); ++s) {
      a.states[s] = stored(states[s], a.storage.states);
    }
    for (std::size_t k = 0; k < rows.size(); ++k) {
      const auto at = static_cast<std::int64_t>(k) * setup.momentum_stride();
      a.rows[k] = setup.traits.momentum ? momenta.data() + at : stored(rows[k], a.storage.rows);
    }
    if (setup.traits.momentum) a.second_rows = setup.tasks * setup.momentum_stride();
    a.heads = stored(heads, a.storage.heads);
    a.work = setup.work.table();
    a.segments = segments.data();
    a.plan = &step.plan;
    a.weights = plan_memory().applied;
    a.measures = measures.data();
    const host::Places& places = setup.places;
    a.matrices = places.table(places.segments.data(), places.tiles.data(), places.lines.data(),
                              matrix_sums.data());
    a.segment_count = static_cast<std::int32_t>(segments.size());
    a.tasks = setup.tasks;
    a.aligned = aligned_;
    return a;
  }

  kernels::PlanMemory plan_memory() { return kernels::PlanMemory::in(plan.data(), setup.shape); }
  /// What the update multiplies by.
  float& applied(int k) { return plan_memory().applied[k]; }

  std::int32_t chunks() const { return static_cast<std::int32_t>(setup.work.chunks.size()); }
  std::int64_t spans() const { return static_cast<std::int64_t>(setup.work.spans.size()); }

  Layout layout;
  host::Setup setup;
  Floats params, heads;
  std::vector<Floats> rows, states;
  std::vector<kernels::SegmentState> segments;
  kernels::StepState step;
  std::vector<double> plan;
  Floats momenta;
  Floats beside_params;  // master, remainders or compensations
  Floats ema;
  Floats scales;  // of states of 8 bits, one state's after another's
  Outputs outputs;
  kernels::Losses losses{};
  kernels::Scaling scaling{};
  std::vector<double> partials, measures;
  std::vector<float> matrix_sums;
  std::vector<double> scratch;

 private:
  void fill(std::uint64_t seed) {
    Random random(seed);
    for (float& m : momenta.span()) m = 0;
    for (float& loss : losses.values) loss = static_cast<float>(random.uniform() + 1.5);
    const auto draw = [&](std::span<float> values) {
      for (float& value : values) value = static_cast<float>(random.uniform());
    };
    for (int s = 0; s < layout.segments(); ++s) {
      draw(segment(params, s));
      if (is_head(s)) draw(segment(heads, s, layout.shared_size()));
      for (const Floats& row : rows) {
        if (!is_head(s)) draw(segment(row, s));
      }
      for (const std::span<float> state : states_of(s)) {
        draw(state);
        for (float& value : state) value = std::fabs(value);  // a second moment is one
      }
    }
  }

  static void expect_poison(const Floats& buffer, const std::vector<bool>& padding) {
    for (std::size_t i = 0; i < padding.size(); ++i) {
      if (!padding[i]) continue;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(buffer.span()[i]), poison_bits) << "padding at " << i;
    }
  }

  std::int64_t blocks() const { return layout.size() / kernels::block8; }

  bool aligned_;
  std::map<const Floats*, StoredCopy> copies_;
};

}  // namespace gramstep::test
