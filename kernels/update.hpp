// The update stage: combine K rows and apply the rule, in one pass over memory.
//
// Traffic: K + 1 + S reads and 1 + S writes of 4 bytes an element, S the rule's states; AdamW with
// K rows 4 K + 24 bytes. All segments and all groups in one launch.
#pragma once

#include "gramstep/aggregators/aggregators.hpp"
#include "gramstep/aggregators/traits.hpp"
#include "kernels/context.hpp"
#include "kernels/gram.hpp"
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
  const SegmentState* segments;
  const StepPlan* plan;
  const float* weights;  // [P, K]: PlanMemory::applied
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

/// Every block takes chunks; every thread 128 bits of every stream at a time where alignment allows.
template <class Update, class Combination>
struct UpdateBody {
  static constexpr int threads = update_threads;
  UpdateArguments a;
  Combination combination;

  struct Shared {};

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared&) const {
    if (a.plan->skip) return;
    for (std::int64_t c = x.block(); c < a.work.chunk_count; c += x.blocks()) {
      const Chunk chunk = a.work.chunks[c];
      const SegmentState& segment = a.segments[chunk.segment];
      if (!segment.active) continue;
      const int vectors = a.aligned ? chunk.count / 4 : 0;
      sweep<4>(x, chunk, segment, 0, 4 * vectors);
      sweep<1>(x, chunk, segment, 4 * vectors, chunk.count);
    }
  }

 private:
  template <int Width, class X>
  GRAMSTEP_BODY void sweep(const X& x, const Chunk& chunk, const SegmentState& segment, int first,
                           int last) const {
    const auto scalars = segment.template get<typename Update::Scalars>();
    const float sign = segment.sign;
    const bool head = chunk.begin >= a.work.shared_size;
    for (int i = first + Width * x.thread(); i < last; i += Width * x.threads()) {
      const std::int64_t at = chunk.begin + i;
      float d[Width];
      if (head) {
        combine<1>(&a.heads, &a.plan->head_weight, 1, at - a.work.shared_size, d);
      } else {
        combination(a, segment, at, d);
      }
      apply(scalars, sign, at, d);
    }
  }

  template <int Width>
  GRAMSTEP_BODY void apply(const typename Update::Scalars& scalars, float sign, std::int64_t at,
                           const float (&d)[Width]) const {
    float p[Width], state[Update::states + 1][Width], one[Update::states + 1];
    load(a.params + at, p);
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) load(a.states[s] + at, state[s]);
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) {
      GRAMSTEP_UNROLL
      for (int s = 0; s < Update::states; ++s) one[s] = state[s][c];
      Update::apply(scalars, sign * d[c], p[c], one);
      GRAMSTEP_UNROLL
      for (int s = 0; s < Update::states; ++s) state[s][c] = one[s];
    }
    store(p, a.params + at);
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) store(state[s], a.states[s] + at);
  }
};

}  // namespace gramstep::kernels
