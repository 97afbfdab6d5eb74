// The update stage: combine K rows and apply the rule, in one pass over memory.
//
// Traffic: K + 1 + S reads and 1 + S writes of 4 bytes an element, S the rule's states; AdamW with
// K rows 4 K + 24 bytes. All segments and all groups in one launch. A rule that needs norms by segment
// has two passes, and a launch between them that adds up: the first measures, and may bring the state up
// to date; the second applies.
#pragma once

#include "gramstep/aggregators/aggregators.hpp"
#include "gramstep/aggregators/traits.hpp"
#include "gramstep/rules/traits.hpp"
#include "kernels/context.hpp"
#include "kernels/element_states.hpp"
#include "kernels/one_of.hpp"
#include "kernels/step_data.hpp"

namespace gramstep::kernels {

struct UpdateArguments {
  float* params;
  float* states[max_states];
  const float* rows[max_tasks];
  std::int64_t second_rows;  // elements from these rows to those that are read in odd steps
  const float* heads;
  WorkTable work;
  SegmentState* segments;
  std::int32_t segment_count;
  const StepPlan* plan;
  const float* weights;  // [P, K]: PlanMemory::applied
  double* measures;      // [chunk_count, rules::max_measures] sums, of a rule that needs them
  MatrixTable matrices;
  std::int32_t tasks;
  bool aligned;  // all pointers on 16 bytes
};

inline constexpr int update_threads = 256;

/// d = w_0 g_0 + w_1 g_1 + ..., in task order, each product and each sum rounded: the order of
/// operations that every backend keeps. Rows is K, or 0 for any K.
template <int Rows, int Width>
GRAMSTEP_BODY void combine(const float* const* rows, const float* weights, int tasks,
                           std::int64_t at, float (&d)[Width]) {
  float g[Width];
  load(rows[0] + at, g);
  GRAMSTEP_UNROLL
  for (int c = 0; c < Width; ++c) d[c] = weights[0] * g[c];
  const int count = Rows > 0 ? Rows : tasks;
  GRAMSTEP_UNROLL_BY(4)  // four rows in flight
  for (int k = 1; k < count; ++k) {
    load(rows[k] + at, g);
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) d[c] += weights[k] * g[c];
  }
}

/// The way of most aggregators: a weighted sum of Rows rows, or of any number where Rows is 0.
template <int Rows>
struct WeightedSum {
  template <int Width>
  GRAMSTEP_BODY void operator()(const UpdateArguments& a, const SegmentState& segment,
                                std::int64_t at, float (&d)[Width]) const {
    const float* weights = a.weights + std::int64_t{segment.projection} * a.tasks;
    combine<Rows>(a.rows, weights, a.tasks, at + (a.plan->step & 1) * a.second_rows, d);
  }
};

/// Neighbouring elements of K rows, on the alignment of as many as are read.
struct AlignedElementsOf {
  const float* const* rows;
  std::int64_t at;

  template <int Width>
  GRAMSTEP_BODY void load(int k, float (&g)[Width]) const {
    kernels::load(rows[k] + at, g);
  }
};

/// The way of the aggregators that look at every element for themselves.
struct ByElement {
  OneOfT<Aggregator> aggregator;

  template <int Width>
  GRAMSTEP_BODY void operator()(const UpdateArguments& a, const SegmentState&, std::int64_t at,
                                float (&d)[Width]) const {
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) d[c] = 0.0f;
    aggregator.visit([&](const auto& held) {
      if constexpr (aggregators::Elementwise<std::decay_t<decltype(held)>>) {
        held.combine(AlignedElementsOf{a.rows, at}, a.tasks, a.plan->step, at, d);
      }
    });
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) d[c] *= a.plan->head_weight;
  }
};

/// Whether a segment is this update's, of the two of its rule.
template <class Update>
GRAMSTEP_BODY bool takes(const SegmentState& segment) {
  if constexpr (rules::ByKind<Update>) {
    if ((segment.matrix != 0) != Update::of_matrices) return false;
  }
  return segment.active;
}

/// The gradient of Width neighbouring elements.
template <class Combination, int Width>
GRAMSTEP_BODY void gradient(const UpdateArguments& a, const Combination& combination,
                            const SegmentState& segment, std::int64_t at, float (&d)[Width]) {
  if (at >= a.work.shared_size) {
    combine<1>(&a.heads, &a.plan->head_weight, 1, at - a.work.shared_size, d);
  } else {
    combination(a, segment, at, d);
  }
}

/// One pass over all chunks: every block takes some, every thread 128 bits of every stream at a time where
/// alignment allows.
template <class Update, class Combination>
struct ElementPass {
  const UpdateArguments& a;
  const Combination& combination;

  /// Calls function(chunk, segment) for the chunks of this block that the update has to see.
  template <class X, class Function>
  GRAMSTEP_BODY void over_chunks(const X& x, const Function& function) const {
    for (std::int64_t c = x.block(); c < a.work.chunk_count; c += x.blocks()) {
      const Chunk chunk = a.work.chunks[c];
      const SegmentState& segment = a.segments[chunk.segment];
      if (takes<Update>(segment)) function(c, chunk, segment);
    }
  }

  /// Calls element(g, p, state) for the elements of a chunk that are this thread's: g is the gradient to
  /// descend along, 0 unless Read; p and state are put back where Write says so.
  template <bool Read, bool WriteParams, bool WriteStates, class X, class Element>
  GRAMSTEP_BODY void over_elements(const X& x, const Chunk& chunk, const SegmentState& segment,
                                   const Element& element) const {
    const ElementStates<Update> states(a.states, a.matrices, chunk);
    const int vectors = a.aligned ? chunk.count / 4 : 0;
    const auto sweep = [&]<int Width>(std::integral_constant<int, Width>, int first, int last) {
      for (int i = first + Width * x.thread(); i < last; i += Width * x.threads()) {
        float d[Width] = {};
        if constexpr (Read) gradient(a, combination, segment, chunk.begin + i, d);
        apply<WriteParams, WriteStates>(states, chunk.begin, i, segment.sign, d, element);
      }
    };
    sweep(std::integral_constant<int, 4>{}, 0, 4 * vectors);
    sweep(std::integral_constant<int, 1>{}, 4 * vectors, chunk.count);
  }

 private:
  template <bool WriteParams, bool WriteStates, int Width, class Element>
  GRAMSTEP_BODY void apply(const ElementStates<Update>& states, std::int64_t begin, int i,
                           float sign, const float (&d)[Width], const Element& element) const {
    constexpr int count = Update::states;
    const std::int64_t at = begin + i;
    float p[Width], state[count + 1][Width], one[count + 1];
    load(a.params + at, p);
    states.load(at, i, state);
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) {
      GRAMSTEP_UNROLL
      for (int s = 0; s < count; ++s) one[s] = state[s][c];
      element(sign * d[c], p[c], one);
      GRAMSTEP_UNROLL
      for (int s = 0; s < count; ++s) state[s][c] = one[s];
    }
    if constexpr (WriteParams) store(p, a.params + at);
    if constexpr (WriteStates) states.store(state, at);
  }
};

/// The pass that applies a rule.
template <class Update, class Combination>
struct UpdateBody {
  static constexpr int threads = update_threads;
  UpdateArguments a;
  Combination combination;

  struct Shared {};

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared&) const {
    if (a.plan->skip) return;
    const ElementPass<Update, Combination> pass{a, combination};
    pass.over_chunks(x, [&](std::int64_t, const Chunk& chunk, const SegmentState& segment) {
      const auto scalars = segment.template get<typename Update::Scalars>();
      pass.template over_elements<rules::applies_gradient<Update>, true,
                                  !rules::state_done_first<Update>>(
          x, chunk, segment,
          [&](float g, float& p, float* state) { Update::apply(scalars, g, p, state); });
    });
  }
};

/// The pass before it, of a rule that needs norms: sums of what the rule measures, by chunk.
template <class Update, class Combination>
struct MeasureBody {
  static constexpr int threads = update_threads;
  UpdateArguments a;
  Combination combination;

  struct Shared {
    double room[update_threads / 32][rules::max_measures];
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    if (a.plan->skip) return;
    const ElementPass<Update, Combination> pass{a, combination};
    pass.over_chunks(x, [&](std::int64_t c, const Chunk& chunk, const SegmentState& segment) {
      const auto scalars = segment.template get<typename Update::Scalars>();
      float sums[rules::max_measures] = {};
      constexpr bool writes = rules::state_done_first<Update> && !rules::Factored<Update>;
      pass.template over_elements<true, false, writes>(
          x, chunk, segment, [&](float g, float p, float* state) {
            float terms[rules::max_measures];
            Update::measure(scalars, g, p, state, terms);
            GRAMSTEP_UNROLL
            for (int i = 0; i < rules::max_measures; ++i) sums[i] += terms[i];
          });
      block_sums(x, sums, shared.room,
                 [&](int i, double sum) { a.measures[c * rules::max_measures + i] = sum; });
      x.sync();
    });
  }
};

/// Between the two: what the norms do to each segment's scalars. Blocks take segments.
template <class Update>
struct SettleBody {
  static constexpr int threads = update_threads;
  UpdateArguments a;

  struct Shared {
    double room[update_threads / 32][rules::max_measures];
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    if (a.plan->skip) return;
    for (std::int64_t s = x.block(); s < a.segment_count; s += x.blocks()) {
      if (!takes<Update>(a.segments[s])) continue;
      double sums[rules::max_measures] = {};
      const std::int32_t* chunks = a.work.segment_chunks + 2 * s;
      for (std::int32_t c = chunks[0] + x.thread(); c < chunks[1]; c += x.threads()) {
        for (int i = 0; i < rules::max_measures; ++i) {
          sums[i] += a.measures[std::int64_t{c} * rules::max_measures + i];
        }
      }
      block_sums(x, sums, shared.room, [&](int i, double sum) { shared.room[0][i] = sum; });
      x.sync();
      if (x.thread() == 0) {
        auto scalars = a.segments[s].template get<typename Update::Scalars>();
        Update::settle(scalars, shared.room[0], a.matrices.places[s].stack);
        a.segments[s].put(scalars);
      }
      x.sync();
    }
  }
};

}  // namespace gramstep::kernels
