// The update stage: combine K rows and apply the rule, in one pass over memory.
//
// Traffic: K + 1 + S reads and 1 + S writes of 4 bytes an element, S the rule's states; AdamW with
// K rows 4 K + 24 bytes. All segments and all groups in one launch. A rule that needs norms by segment
// has two passes, and a launch between them that adds up: the first measures, and may bring the state up
// to date; the second applies. Which terms meet in which order is the same on every device, whatever the
// alignment, and so are the sums' bits.
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
  void* params;
  void* states[max_states];
  const void* rows[max_tasks];
  std::int64_t second_rows;  // elements from these rows to those that are read in odd steps
  const void* heads;
  Storage storage;
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

/// Lanes that terms are dealt out to on every device: four neighbouring elements of a chunk to one, then
/// four to the next. On a GPU a lane is a thread.
inline constexpr int measure_lanes = update_threads;
using MeasureRoom = double[measure_lanes][rules::max_measures];

/// How many lanes `count` things reach that are dealt out one by one: a power of two.
GRAMSTEP_BODY int lanes_of(std::int64_t count) {
  int lanes = 1;
  while (lanes < measure_lanes && lanes < count) lanes *= 2;
  return lanes;
}

/// A lane's sum over a chunk: each of four columns has summed chunk_elements / (4 measure_lanes) terms.
GRAMSTEP_BODY double sum_of_columns(const float* columns) {
  static_assert(chunk_elements == 16 * measure_lanes, "what rules say of their sums");
  return static_cast<double>((columns[0] + columns[1]) + (columns[2] + columns[3]));
}

/// Adds up what `lanes` lanes left in the room, a power of two, by halves: into the first of them.
template <class X>
GRAMSTEP_BODY void add_lanes(const X& x, int lanes, MeasureRoom& room) {
  x.sync();
  for (int half = lanes / 2; half > 0; half /= 2) {
    for (int i = x.thread(); i < half; i += x.threads()) {
      GRAMSTEP_UNROLL
      for (int m = 0; m < rules::max_measures; ++m) room[i][m] += room[i + half][m];
    }
    x.sync();
  }
}

/// d = w_0 g_0 + w_1 g_1 + ..., in task order, each product and each sum rounded: the order of
/// operations that every backend keeps. Rows is K, or 0 for any K.
template <int Rows, int Width, class Type>
GRAMSTEP_BODY void combine(Type type, const void* const* rows, const float* weights, int tasks,
                           std::int64_t at, float (&d)[Width]) {
  float g[Width];
  load(type, rows[0], at, g);
  GRAMSTEP_UNROLL
  for (int c = 0; c < Width; ++c) d[c] = weights[0] * g[c];
  const int count = Rows > 0 ? Rows : tasks;
  GRAMSTEP_UNROLL_BY(4)  // four rows in flight
  for (int k = 1; k < count; ++k) {
    load(type, rows[k], at, g);
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) d[c] += weights[k] * g[c];
  }
}

/// The way of most aggregators: a weighted sum of Rows rows, or of any number where Rows is 0.
template <class RowType, int Rows>
struct WeightedSum {
  using Type = RowType;
  template <int Width>
  GRAMSTEP_BODY void operator()(const UpdateArguments& a, const SegmentState& segment,
                                std::int64_t at, float (&d)[Width]) const {
    const float* weights = a.weights + std::int64_t{segment.projection} * a.tasks;
    combine<Rows>(Type(a.storage.rows), a.rows, weights, a.tasks,
                  at + (a.plan->step & 1) * a.second_rows, d);
  }
};

/// Neighbouring elements of K rows, on the alignment of as many as are read.
template <class Type>
struct AlignedElementsOf {
  Type type;
  const void* const* rows;
  std::int64_t at;

  template <int Width>
  GRAMSTEP_BODY void load(int k, float (&g)[Width]) const {
    kernels::load(type, rows[k], at, g);
  }
};

/// The way of the aggregators that look at every element for themselves.
template <class RowType>
struct ByElement {
  using Type = RowType;
  OneOfT<Aggregator> aggregator;

  template <int Width>
  GRAMSTEP_BODY void operator()(const UpdateArguments& a, const SegmentState&, std::int64_t at,
                                float (&d)[Width]) const {
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) d[c] = 0.0f;
    aggregator.visit([&](const auto& held) {
      if constexpr (aggregators::Elementwise<std::decay_t<decltype(held)>>) {
        held.combine(AlignedElementsOf<Type>{Type(a.storage.rows), a.rows, at}, a.tasks,
                     a.plan->step, at, d);
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
    combine<1>(typename Combination::Type(a.storage.heads), &a.heads, &a.plan->head_weight, 1,
               at - a.work.shared_size, d);
  } else {
    combination(a, segment, at, d);
  }
}

/// One pass over all chunks: every block takes some, every thread 128 bits of every stream at a time where
/// alignment allows.
template <class Update, class Combination>
struct ElementPass {
  using Type = typename Combination::Type;
  using States = ElementStates<Update, Type>;
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

  /// Calls element(g, p, state) for the elements of a chunk that are this thread's, and puts back the
  /// parameter, and its state where WriteStates: g is the gradient to descend along, 0 unless Read.
  template <bool Read, bool WriteStates, class X, class Element>
  GRAMSTEP_BODY void apply(const X& x, const Chunk& chunk, const SegmentState& segment,
                           const Element& element) const {
    const States states = states_of(chunk);
    const int vectors = a.aligned ? chunk.count / 4 : 0;
    const auto sweep = [&]<int Width>(std::integral_constant<int, Width>, int first, int last) {
      for (int i = first + Width * x.thread(); i < last; i += Width * x.threads()) {
        visit<Width, Read, true, WriteStates>(
            states, segment, chunk.begin, i,
            [&](int, float g, float& p, float* state) { element(g, p, state); });
      }
    };
    sweep(std::integral_constant<int, 4>{}, 0, 4 * vectors);
    sweep(std::integral_constant<int, 1>{}, 4 * vectors, chunk.count);
  }

  /// Calls element(column, g, p, state) for the elements of a chunk that are this thread's, four
  /// neighbours, columns 0 to 3, whatever their alignment; puts back the state where WriteStates.
  template <bool WriteStates, class X, class Element>
  GRAMSTEP_BODY void measure(const X& x, const Chunk& chunk, const SegmentState& segment,
                             const Element& element) const {
    const States states = states_of(chunk);
    for (int i = 4 * x.thread(); i < chunk.count; i += 4 * x.threads()) {
      if (a.aligned && i + 4 <= chunk.count) {
        visit<4, true, false, WriteStates>(states, segment, chunk.begin, i, element);
        continue;
      }
      GRAMSTEP_UNROLL
      for (int column = 0; column < 4; ++column) {
        if (i + column >= chunk.count) break;
        visit<1, true, false, WriteStates>(
            states, segment, chunk.begin, i + column,
            [&](int, float g, float p, float* state) { element(column, g, p, state); });
      }
    }
  }

 private:
  GRAMSTEP_BODY States states_of(const Chunk& chunk) const {
    return States({a.states, a.storage, a.plan->step}, a.matrices, chunk);
  }

  template <int Width>
  GRAMSTEP_BODY void load_params(const SegmentState& segment, std::int64_t at,
                                 float (&p)[Width]) const {
    if constexpr (std::is_same_v<Type, Float32>) {
      load(static_cast<const float*>(a.params) + at, p);
    } else {
      kernels::load_params(a.storage, a.params, segment.steps == 1, at, p);
    }
  }

  template <int Width>
  GRAMSTEP_BODY void store_params(const float (&p)[Width], std::int64_t at) const {
    if constexpr (std::is_same_v<Type, Float32>) {
      store(p, static_cast<float*>(a.params) + at);
    } else {
      kernels::store_params(a.storage, a.plan->step, p, a.params, at);
    }
  }

  /// Calls element(c, g, p, state) for Width elements from element i of a chunk on, c below Width.
  template <int Width, bool Read, bool WriteParams, bool WriteStates, class Element>
  GRAMSTEP_BODY void visit(const States& states, const SegmentState& segment,
                           std::int64_t begin, int i, const Element& element) const {
    constexpr int count = Update::states;
    const std::int64_t at = begin + i;
    float d[Width] = {}, p[Width], state[count + 1][Width], one[count + 1];
    if constexpr (Read) gradient(a, combination, segment, at, d);
    load_params(segment, at, p);
    states.load(at, i, state);
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) {
      GRAMSTEP_UNROLL
      for (int s = 0; s < count; ++s) one[s] = state[s][c];
      element(c, segment.sign * d[c], p[c], one);
      GRAMSTEP_UNROLL
      for (int s = 0; s < count; ++s) state[s][c] = one[s];
    }
    if constexpr (WriteParams) store_params(p, at);
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
      pass.template apply<rules::applies_gradient<Update>, !rules::state_done_first<Update>>(
          x, chunk, segment,
          [&](float g, float& p, float* state) { Update::apply(scalars, g, p, state); });
    });
  }
};

/// The pass before it, of a rule that needs norms: sums of what the rule measures, by chunk. A lane sums
/// at most 16 terms in fp32; everything after is double.
template <class Update, class Combination>
struct MeasureBody {
  static constexpr int threads = measure_lanes;
  UpdateArguments a;
  Combination combination;

  struct Shared {
    MeasureRoom room;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    if (a.plan->skip) return;
    const ElementPass<Update, Combination> pass{a, combination};
    pass.over_chunks(x, [&](std::int64_t c, const Chunk& chunk, const SegmentState& segment) {
      const auto scalars = segment.template get<typename Update::Scalars>();
      float sums[rules::max_measures][4] = {};
      constexpr bool writes = rules::state_done_first<Update> && !rules::Factored<Update>;
      pass.template measure<writes>(x, chunk, segment,
                                    [&](int column, float g, float p, float* state) {
                                      float terms[rules::max_measures];
                                      Update::measure(scalars, g, p, state, terms);
                                      GRAMSTEP_UNROLL
                                      for (int m = 0; m < rules::max_measures; ++m)
                                        sums[m][column] += terms[m];
                                    });
      GRAMSTEP_UNROLL
      for (int m = 0; m < rules::max_measures; ++m) {
        shared.room[x.thread()][m] = sum_of_columns(sums[m]);
      }
      add_lanes(x, lanes_of((chunk.count + 3) / 4), shared.room);
      for (int m = x.thread(); m < rules::max_measures; m += x.threads()) {
        a.measures[c * rules::max_measures + m] = shared.room[0][m];
      }
      x.sync();
    });
  }
};

/// Between the two: what the norms do to each segment's scalars. Blocks take segments, lanes a segment's
/// chunks in turn.
template <class Update>
struct SettleBody {
  static constexpr int threads = measure_lanes;
  UpdateArguments a;

  struct Shared {
    MeasureRoom room;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    if (a.plan->skip) return;
    for (std::int64_t s = x.block(); s < a.segment_count; s += x.blocks()) {
      if (!takes<Update>(a.segments[s])) continue;
      const std::int32_t* chunks = a.work.segment_chunks + 2 * s;
      const int lanes = lanes_of(chunks[1] - chunks[0]);
      for (int lane = x.thread(); lane < lanes; lane += x.threads()) {
        double sums[rules::max_measures] = {};
        for (std::int64_t c = chunks[0] + lane; c < chunks[1]; c += lanes) {
          for (int m = 0; m < rules::max_measures; ++m) {
            sums[m] += a.measures[c * rules::max_measures + m];
          }
        }
        for (int m = 0; m < rules::max_measures; ++m) shared.room[lane][m] = sums[m];
      }
      add_lanes(x, lanes, shared.room);
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
