// The update stage's inner loops: plain loops over the rule, which the compiler vectorises.
//
// Software prefetch 3 KiB ahead on every row, into L2, takes K = 8 from 51 to 29 ms (one Zen 4 core,
// 16M parameters), against prefetch into L1.
#pragma once

#include "host/cpu/leaves.hpp"
#include "host/cpu/vector.hpp"
#include "kernels/normalize.hpp"

namespace gramstep::host {
namespace {

constexpr int run_elements = 256;  // between prefetches

// How far ahead, in elements: rows that are combined four at a time, and the rule's own streams. With one
// row, on cores with AVX-512 that move 28 GB/s each, the rules have 0.94 to 1.07 of their streams' speed at
// 96, and lose 1 to 5 % of it at 16 and 128, 4 to 16 % at 256.
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
    if constexpr (!rules::state_done_first<Update> || rules::Factored<Update>) continue;
    if constexpr (Update::states > 0) state0[i] = state[0];
    if constexpr (Update::states > 1) state1[i] = state[1];
  }
}

/// Calls run(first, last, states) for runs of elements [at, at + count), states the address of each state's
/// first element of the run. A stream that is fetched and not looked at costs as much as any other: states
/// that the run has no use for are not fetched.
template <class Update, bool FetchStates = true, class Run>
[[gnu::always_inline]] inline void for_state_runs(const kernels::UpdateArguments& a,
                                                  const kernels::SegmentPlace& place,
                                                  const float* d, std::int64_t at, int count,
                                                  const Run& run) {
  float* states[3] = {};
  const float* p = a.params + at;
  for (int s = 0; s < Update::states; ++s) {
    states[s] = a.states[s] + (at - place.begin + place.states[s]);
  }
  for_runs(count, [&](int first, int last) {
    prefetch_run(d + first + rule_distance);
    prefetch_run(p + first + rule_distance);
    float* of_run[3] = {};
    for (int s = 0; s < Update::states; ++s) {
      of_run[s] = states[s] + first;
      if constexpr (FetchStates) prefetch_run(of_run[s] + rule_distance);
    }
    run(first, last, of_run);
  });
}

/// The same of an update whose elements have what their row and their column keep: a run is of one row.
template <rules::Factored Update, bool FetchStates = true, class Run>
[[gnu::always_inline]] inline void for_state_runs(const kernels::UpdateArguments& a,
                                                  const kernels::SegmentPlace& place,
                                                  const float* d, std::int64_t at, int count,
                                                  const Run& run) {
  const float* factors = a.states[Update::row_factor] + place.states[Update::row_factor];
  float* columns = a.states[Update::column] + place.states[Update::column];
  const kernels::Positions positions(place, at);
  float factor[run_elements];
  std::int64_t row = -1;
  for (int first = 0; first < count;) {
    const kernels::Position position = positions.at(first);
    const std::int64_t rest = place.stack.columns - position.column % place.stack.columns;
    int last = (first / run_elements + 1) * run_elements;  // as runs of any other update end
    if (last > count) last = count;
    if (rest < last - first) last = first + static_cast<int>(rest);
    prefetch_run(d + first + rule_distance);
    prefetch_run(a.params + at + first + rule_distance);
    if (row != position.row) {
      row = position.row;
      for (float& each : factor) each = factors[row];
    }
    float* of_run[3] = {factor, columns + position.column};
    run(first, last, of_run);
    first = last;
  }
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

/// Calls apply(scale, d, at, count) for runs of a chunk, or of no more elements than one has, whose
/// gradient is scale * d.
template <class Apply>
void with_gradient(const kernels::UpdateArguments& a, const kernels::OneOfT<Aggregator>* by_element,
                   const kernels::Chunk& chunk, const kernels::SegmentState& segment,
                   float* combined, const Apply& apply) {
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

/// Calls function(c, chunk, segment) for chunks [first, last) that the update has to see.
template <class Update, class Function>
[[gnu::always_inline]] inline void over_chunks(const kernels::UpdateArguments& a,
                                               std::int64_t first, std::int64_t last,
                                               const Function& function) {
  for (std::int64_t c = first; c < last; ++c) {
    const kernels::Chunk& chunk = a.work.chunks[c];
    const kernels::SegmentState& segment = a.segments[chunk.segment];
    if (kernels::takes<Update>(segment)) function(c, chunk, segment);
  }
}

template <class Update>
void update_leaf(const kernels::UpdateArguments& a, const kernels::OneOfT<Aggregator>* by_element,
                 std::int64_t first, std::int64_t last) {
  alignas(64) float combined[kernels::chunk_elements];
  over_chunks<Update>(a, first, last, [&](std::int64_t, const auto& chunk, const auto& segment) {
    const auto scalars = segment.template get<typename Update::Scalars>();
    const kernels::SegmentPlace& place = a.matrices.places[chunk.segment];
    const auto apply = [&](float scale, const float* d, std::int64_t at, int count) {
      for_state_runs<Update>(a, place, d, at, count, [&](int begin, int end, float* const* states) {
        apply_run<Update>(scalars, scale, d + begin, a.params + at + begin, states[0], states[1],
                          states[2], end - begin);
      });
    };
    if constexpr (rules::applies_gradient<Update>) {
      with_gradient(a, by_element, chunk, segment, combined, apply);
    } else {
      apply(1.0f, a.params + chunk.begin, chunk.begin, chunk.count);  // for a gradient: not used
    }
  });
}

template <class Update>
void measure_leaf(const kernels::UpdateArguments& a, const kernels::OneOfT<Aggregator>* by_element,
                  std::int64_t first, std::int64_t last) {
  alignas(64) float combined[kernels::chunk_elements];
  ColumnSums columns;
  over_chunks<Update>(a, first, last, [&](std::int64_t c, const auto& chunk, const auto& segment) {
    const auto scalars = segment.template get<typename Update::Scalars>();
    const kernels::SegmentPlace& place = a.matrices.places[chunk.segment];
    const int lanes = kernels::lanes_of((chunk.count + 3) / 4);
    for (auto& sums : columns.sums) {
      for (int column = 0; column < 4 * lanes; ++column) sums[column] = 0.0f;
    }
    const auto measure = [&](float scale, const float* d, std::int64_t at, int count) {
      for_state_runs<Update, rules::state_done_first<Update>>(
          a, place, d, at, count, [&](int begin, int end, float* const* states) {
            const auto column = (at - chunk.begin + begin) % sum_columns;
            measure_run<Update>(scalars, scale, d + begin, a.params + at + begin, states[0],
                                states[1], columns.sums[0] + column, columns.sums[1] + column,
                                end - begin);
          });
    };
    with_gradient(a, by_element, chunk, segment, combined, measure);
    add_columns(columns, lanes, a.measures + c * rules::max_measures);
  });
}

template <class Update>
void settle_leaf(const kernels::UpdateArguments& a) {
  typename kernels::SettleBody<Update>::Shared shared;
  kernels::SettleBody<Update>{a}(LeafThread{}, shared);
}

template <class Update>
void normalize_leaf(const kernels::UpdateArguments& a, const kernels::OneOfT<Aggregator>*,
                    std::int64_t first, std::int64_t last) {
  const kernels::NormalizeBody<Update> body{a};
  for (std::int64_t c = first; c < last; ++c) body.of_chunk(LeafThread{}, c);
}

}  // namespace
}  // namespace gramstep::host
