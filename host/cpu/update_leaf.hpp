// The update stage's inner loops: plain loops over the rule, which the compiler vectorises.
//
// Software prefetch 3 KiB ahead on every stream, into L2, takes K = 8 from 51 to 29 ms (one Zen 4 core,
// 16M parameters), against prefetch into L1.
#pragma once

#include "host/cpu/leaves.hpp"
#include "host/cpu/vector.hpp"

namespace gramstep::host {
namespace {

constexpr int run_elements = 256;  // between prefetches

// How far ahead, in elements: rows that are combined four at a time, and the rule's own streams. With one
// row, on cores with AVX-512 that move 28 GB/s each, every rule has 0.97 to 1.07 of its streams' speed at
// 96, and loses 1 to 5 % of it at 16 and 128, 4 to 16 % at 256.
constexpr int row_distance = 768;
constexpr int rule_distance = 96;

/// Fetches a run.
[[gnu::always_inline]] inline void prefetch_run(const float* run) {
  for (int c = 0; c < run_elements; c += cache_line) fetch(run + c);
}

/// Calls function(first, last) for runs of [0, count).
template <class Function>
[[gnu::always_inline]] inline void for_runs(int count, const Function& function) {
  for (int first = 0; first < count; first += run_elements) {
    function(first, count - first < run_elements ? count : first + run_elements);
  }
}

/// to = [to +] w_0 g_0 + ... over Count rows, in task order; see kernels::combine.
template <int Count, bool Add>
void combine_rows(const float* const* rows, const float* weights, std::int64_t at, int count,
                  float* __restrict to) {
  const float* g[Count];
  float w[Count];
  for (int k = 0; k < Count; ++k) {
    g[k] = rows[k] + at;
    w[k] = weights[k];
  }
  for_runs(count, [&](int first, int last) {
    for (int k = 0; k < Count; ++k) prefetch_run(g[k] + first + row_distance);
    GRAMSTEP_INDEPENDENT
    for (int i = first; i < last; ++i) {
      float d = Add ? to[i] + w[0] * g[0][i] : w[0] * g[0][i];
      for (int k = 1; k < Count; ++k) d += w[k] * g[k][i];
      to[i] = d;
    }
  });
}

/// Combines all rows, four at a time: as many streams as the prefetchers follow, and the sum stays
/// in L1 between them.
void combine_all(const float* const* rows, const float* weights, int tasks, std::int64_t at,
                 int count, float* to) {
  switch (tasks < 4 ? tasks : 4) {
    case 1: combine_rows<1, false>(rows, weights, at, count, to); break;
    case 2: combine_rows<2, false>(rows, weights, at, count, to); break;
    case 3: combine_rows<3, false>(rows, weights, at, count, to); break;
    default: combine_rows<4, false>(rows, weights, at, count, to); break;
  }
  for (int k = 4; k < tasks; k += 4) {
    switch (tasks - k < 4 ? tasks - k : 4) {
      case 1: combine_rows<1, true>(rows + k, weights + k, at, count, to); break;
      case 2: combine_rows<2, true>(rows + k, weights + k, at, count, to); break;
      case 3: combine_rows<3, true>(rows + k, weights + k, at, count, to); break;
      default: combine_rows<4, true>(rows + k, weights + k, at, count, to); break;
    }
  }
}

constexpr int strip_elements = 64;  // that an aggregator looks at together

/// Combines strips of Width elements from `first` on, as long as they fit; returns where it stopped.
template <int Width, class Held>
int combine_strips(const kernels::UpdateArguments& a, const Held& held, std::int64_t at, int first,
                   int count, float* to) {
  for (; count - first >= Width; first += Width) {
    float d[Width];
    held.combine(ElementsOf{a.rows, at + first}, a.tasks, a.plan->step, at + first, d);
    for (int c = 0; c < Width; ++c) to[first + c] = a.plan->head_weight * d[c];
  }
  return first;
}

/// The same for an aggregator that looks at every element for itself.
void combine_elements(const kernels::UpdateArguments& a,
                      const kernels::OneOfT<Aggregator>& aggregator, std::int64_t at, int count,
                      float* to) {
  aggregator.visit([&](const auto& held) {
    if constexpr (aggregators::Elementwise<std::decay_t<decltype(held)>>) {
      const int strips = combine_strips<strip_elements>(a, held, at, 0, count, to);
      combine_strips<1>(a, held, at, strips, count, to);
    }
  });
}

/// Applies the rule to one run. The streams are arguments, each restricted, and the element's values
/// locals: the form that every compiler vectorises.
template <class Update>
void apply_run(const typename Update::Scalars scalars, float scale, const float* __restrict d,
               float* __restrict p, float* __restrict state0, float* __restrict state1,
               float* __restrict state2, int count) {
  static_assert(Update::states <= 3);
  GRAMSTEP_INDEPENDENT
  for (int i = 0; i < count; ++i) {
    float param = p[i];
    float state[3] = {};
    if constexpr (Update::states > 0) state[0] = state0[i];
    if constexpr (Update::states > 1) state[1] = state1[i];
    if constexpr (Update::states > 2) state[2] = state2[i];
    Update::apply(scalars, scale * d[i], param, state);
    p[i] = param;
    if constexpr (rules::state_done_first<Update>) continue;
    if constexpr (Update::states > 0) state0[i] = state[0];
    if constexpr (Update::states > 1) state1[i] = state[1];
    if constexpr (Update::states > 2) state2[i] = state[2];
  }
}

/// Applies the rule to `count` elements whose gradient is scale * d.
template <class Update>
void apply_rule(const typename Update::Scalars& scalars, float scale, const float* d, float* p,
                float* const* states, std::int64_t at, int count) {
  float* state[3] = {};
  for (int s = 0; s < Update::states; ++s) state[s] = states[s] + at;
  for_runs(count, [&](int first, int last) {
    prefetch_run(d + first + rule_distance);
    prefetch_run(p + first + rule_distance);
    for (int s = 0; s < Update::states; ++s) prefetch_run(state[s] + first + rule_distance);
    apply_run<Update>(scalars, scale, d + first, p + first, state[0] + first, state[1] + first,
                      state[2] + first, last - first);
  });
}

/// A chunk's columns, which sum separately: as many as a GPU block's threads hold at once.
constexpr int sum_columns = 4 * kernels::measure_lanes;
static_assert(sum_columns % run_elements == 0);

/// What a chunk measures, column by column.
struct ColumnSums {
  alignas(64) float sums[rules::max_measures][sum_columns];
};

/// Adds to the columns' sums what the rule measures of one run.
template <class Update>
void measure_run(const typename Update::Scalars scalars, float scale, const float* __restrict d,
                 const float* __restrict p, float* __restrict state0, float* __restrict state1,
                 float* __restrict sums0, float* __restrict sums1, int count) {
  static_assert(Update::states <= 2 && rules::max_measures == 2);
  GRAMSTEP_INDEPENDENT
  for (int i = 0; i < count; ++i) {
    float state[2] = {}, terms[2];
    if constexpr (Update::states > 0) state[0] = state0[i];
    if constexpr (Update::states > 1) state[1] = state1[i];
    Update::measure(scalars, scale * d[i], p[i], state, terms);
    sums0[i] += terms[0];
    sums1[i] += terms[1];
    if constexpr (!rules::state_done_first<Update>) continue;
    if constexpr (Update::states > 0) state0[i] = state[0];
    if constexpr (Update::states > 1) state1[i] = state[1];
  }
}

/// What the rule measures of `count` elements whose gradient is scale * d, from element `first` of their
/// chunk on.
template <class Update>
void measure_rule(const typename Update::Scalars& scalars, float scale, const float* d,
                  const float* p, float* const* states, std::int64_t at, int count, int first,
                  ColumnSums& columns) {
  float* state[2] = {};
  for (int s = 0; s < Update::states; ++s) state[s] = states[s] + at;
  for_runs(count, [&](int begin, int end) {
    prefetch_run(d + begin + rule_distance);
    prefetch_run(p + begin + rule_distance);
    if constexpr (rules::state_done_first<Update>) {
      for (int s = 0; s < Update::states; ++s) prefetch_run(state[s] + begin + rule_distance);
    }
    const int column = (first + begin) % sum_columns;
    measure_run<Update>(scalars, scale, d + begin, p + begin, state[0] + begin, state[1] + begin,
                        columns.sums[0] + column, columns.sums[1] + column, end - begin);
  });
}

/// The sums of the first `lanes` lanes, added up as kernels::MeasureBody does.
void add_columns(const ColumnSums& columns, int lanes, double* to) {
  kernels::MeasureRoom room;
  for (int lane = 0; lane < lanes; ++lane) {
    for (int m = 0; m < rules::max_measures; ++m) {
      room[lane][m] = kernels::sum_of_columns(columns.sums[m] + 4 * lane);
    }
  }
  kernels::add_lanes(LeafThread{}, lanes, room);
  for (int m = 0; m < rules::max_measures; ++m) to[m] = room[0][m];
}

/// Calls apply(scale, d, at, count) for runs of a chunk, whose gradient is scale * d.
template <class Apply>
void with_gradient(const kernels::UpdateArguments& a,
                   const kernels::OneOfT<Aggregator>* by_element, const kernels::Chunk& chunk,
                   const kernels::SegmentState& segment, float* combined, const Apply& apply) {
  if (chunk.begin >= a.work.shared_size) {
    const float* heads = a.heads + (chunk.begin - a.work.shared_size);
    apply(segment.sign * a.plan->head_weight, heads, chunk.begin, chunk.count);
  } else if (a.tasks == 1 && by_element == nullptr) {
    apply(segment.sign * a.weights[segment.projection], a.rows[0] + chunk.begin, chunk.begin,
          chunk.count);
  } else {
    const float* weights = a.weights + std::int64_t{segment.projection} * a.tasks;
    const int most = a.tasks <= 8 ? kernels::chunk_elements : run_elements;
    for (int first = 0; first < chunk.count; first += most) {
      const int count = chunk.count - first < most ? chunk.count - first : most;
      if (by_element != nullptr) {
        combine_elements(a, *by_element, chunk.begin + first, count, combined);
      } else {
        combine_all(a.rows, weights, a.tasks, chunk.begin + first, count, combined);
      }
      apply(segment.sign, combined, chunk.begin + first, count);
    }
  }
}

/// Calls function(c, chunk, segment) for chunks [first, last) whose segments are active.
template <class Function>
[[gnu::always_inline]] inline void over_chunks(const kernels::UpdateArguments& a,
                                               std::int32_t first, std::int32_t last,
                                               const Function& function) {
  for (std::int32_t c = first; c < last; ++c) {
    const kernels::Chunk& chunk = a.work.chunks[c];
    const kernels::SegmentState& segment = a.segments[chunk.segment];
    if (segment.active) function(c, chunk, segment);
  }
}

template <class Update>
void update_leaf(const kernels::UpdateArguments& a, const kernels::OneOfT<Aggregator>* by_element,
                 std::int32_t first, std::int32_t last) {
  alignas(64) float combined[kernels::chunk_elements];
  over_chunks(a, first, last, [&](std::int32_t, const auto& chunk, const auto& segment) {
    const auto scalars = segment.template get<typename Update::Scalars>();
    const auto apply = [&](float scale, const float* d, std::int64_t at, int count) {
      apply_rule<Update>(scalars, scale, d, a.params + at, a.states, at, count);
    };
    if constexpr (rules::state_done_first<Update>) {
      apply(1.0f, a.states[0] + chunk.begin, chunk.begin, chunk.count);  // for a gradient: not used
    } else {
      with_gradient(a, by_element, chunk, segment, combined, apply);
    }
  });
}

template <class Update>
void measure_leaf(const kernels::UpdateArguments& a, const kernels::OneOfT<Aggregator>* by_element,
                  std::int32_t first, std::int32_t last) {
  alignas(64) float combined[kernels::chunk_elements];
  ColumnSums columns;
  over_chunks(a, first, last, [&](std::int32_t c, const auto& chunk, const auto& segment) {
    const auto scalars = segment.template get<typename Update::Scalars>();
    const int lanes = kernels::lanes_of((chunk.count + 3) / 4);
    for (auto& sums : columns.sums) {
      for (int column = 0; column < 4 * lanes; ++column) sums[column] = 0.0f;
    }
    with_gradient(a, by_element, chunk, segment, combined,
                  [&](float scale, const float* d, std::int64_t at, int count) {
                    measure_rule<Update>(scalars, scale, d, a.params + at, a.states, at, count,
                                         static_cast<int>(at - chunk.begin), columns);
                  });
    add_columns(columns, lanes, a.measures + std::int64_t{c} * rules::max_measures);
  });
}

template <class Update>
void settle_leaf(const kernels::UpdateArguments& a) {
  typename kernels::SettleBody<Update>::Shared shared;
  kernels::SettleBody<Update>{a}(LeafThread{}, shared);
}

}  // namespace
}  // namespace gramstep::host
