// The update stage's inner loops: plain loops over the rule, which the compiler vectorises.
//
// Software prefetch 3 KiB ahead on every row, into L2, takes K = 8 from 51 to 29 ms (one Zen 4 core,
// 16M parameters), against prefetch into L1.
#pragma once

#include <algorithm>

#include "host/cpu/runs.hpp"
#include "kernels/measure.hpp"
#include "kernels/normalize.hpp"

namespace gramstep::host {
namespace {

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

/// The same over at most four rows: as many streams as the prefetchers follow.
void combine_four(const float* const* rows, const float* weights, int tasks, bool add,
                  std::int64_t at, int count, float* to) {
  switch (add ? 4 + tasks : tasks) {
    case 1: return combine_rows<1, false>(rows, weights, at, count, to);
    case 2: return combine_rows<2, false>(rows, weights, at, count, to);
    case 3: return combine_rows<3, false>(rows, weights, at, count, to);
    case 4: return combine_rows<4, false>(rows, weights, at, count, to);
    case 5: return combine_rows<1, true>(rows, weights, at, count, to);
    case 6: return combine_rows<2, true>(rows, weights, at, count, to);
    case 7: return combine_rows<3, true>(rows, weights, at, count, to);
    default: return combine_rows<4, true>(rows, weights, at, count, to);
  }
}

/// Combines all rows, four at a time: the sum stays in L1 between them.
void combine_all(DType dtype, const void* const* rows, const float* weights, int tasks,
                 std::int64_t at, int count, float* to) {
  StagedRows<4, run_elements> staged;
  const int most =
      dtype == DType::float32 ? count : run_elements;  // what is copied stays in L1 too
  for (int first = 0; first < count; first += most) {
    const int size = count - first < most ? count - first : most;
    for (int k = 0; k < tasks; k += 4) {
      const int four = tasks - k < 4 ? tasks - k : 4;
      const float* const* own = staged.stage(dtype, rows + k, four, at + first, size);
      combine_four(own, weights + k, four, k > 0, 0, size, to + first);
    }
  }
}

/// One run of an accumulation, a prefetched run of a loop at a time.
void accumulate_leaf(const kernels::AccumulateBody& body, std::int64_t run) {
  StagedRows<1, run_elements> staged;
  const std::int64_t first = run * body.run;
  const std::int64_t rest = body.size - first;
  const int count = rest < body.run ? static_cast<int>(rest) : body.run;
  for_runs(count, [&](int begin, int end) {
    const float* const* row =
        staged.stage(body.dtype, &body.gradient, 1, first + begin, end - begin);
    combine_rows<1, true>(row, &body.scale, 0, end - begin, body.sum + first + begin);
  });
}

constexpr int strip_elements = 64;  // that an aggregator looks at together

/// Combines strips of Width elements from `first` on, as long as they fit; returns where it stopped.
template <int Width, class Held>
int combine_strips(const kernels::UpdateArguments& a, const Held& held, std::int64_t at, int first,
                   int count, float* to) {
  StagedRows<max_tasks, Width> staged;
  for (; count - first >= Width; first += Width) {
    float d[Width];
    const float* const* rows = staged.stage(a.storage.rows, a.rows, a.tasks, at + first, Width);
    held.combine(ElementsOf{rows, 0}, a.tasks, a.plan->step, at + first, d);
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

/// Calls element(i) for [0, count), and fetches two cache lines of every stream at a time: of d and p, and of the
/// update's states where the pass reads them. g++ would unroll a loop over one line, and find no vectors in what is
/// left.
template <class Update, Access Of, class Element, class... States>
[[gnu::always_inline]] inline void over_elements(int count, const Element& element, const float* d,
                                                 const float* p, const States*... states) {
  constexpr int stretch = 2 * cache_line, streams = Of.read_states ? Update::states : 0;
  int first = 0;
  for (; count - first >= stretch; first += stretch) {
    for (int line = first; line < first + stretch; line += cache_line) {
      const int at = line + Of.distance();
      int state = 0;
      fetch(d + at);
      fetch(p + at);
      ((state++ < streams ? fetch(states + at) : void()), ...);
    }
    GRAMSTEP_INDEPENDENT
    for (int i = first; i < first + stretch; ++i) element(i);
  }
  GRAMSTEP_INDEPENDENT
  for (int i = first; i < count; ++i) element(i);
}

/// Where element i of a run has its first state: what is kept by row all of them share.
template <class Update>
constexpr int first_state(int i) {
  return rules::Factored<Update> ? 0 : i;
}

/// Applies the rule to one run. The streams are arguments, each restricted, and the element's values
/// locals: the form that every compiler vectorises.
template <class Update, Access Of>
void apply_run(const typename Update::Scalars scalars, float scale, const float* __restrict d,
               float* __restrict p, float* __restrict state0, float* __restrict state1,
               float* __restrict state2, int count) {
  static_assert(Update::states <= 3);
  const auto element = [&](int i) {
    float param = p[i];
    float state[3] = {};
    if constexpr (Update::states > 0) state[0] = state0[first_state<Update>(i)];
    if constexpr (Update::states > 1) state[1] = state1[i];
    if constexpr (Update::states > 2) state[2] = state2[i];
    Update::apply(scalars, scale * d[i], param, state);
    p[i] = param;
    if constexpr (!Of.write_states) return;
    if constexpr (Update::states > 0) state0[i] = state[0];
    if constexpr (Update::states > 1) state1[i] = state[1];
    if constexpr (Update::states > 2) state2[i] = state[2];
  };
  over_elements<Update, Of>(count, element, d, p, state0, state1, state2);
}

/// A chunk's columns, which sum separately: as many as a GPU block's threads hold at once.
constexpr int sum_columns = 4 * kernels::measure_lanes;
static_assert(sum_columns % run_elements == 0);

/// What a chunk measures, column by column.
struct ColumnSums {
  alignas(64) float sums[rules::max_measures][sum_columns];
};

/// Adds to the columns' sums what the rule measures of one run.
template <class Update, Access Of>
void measure_run(const typename Update::Scalars scalars, float scale, const float* __restrict d,
                 const float* __restrict p, float* __restrict state0, float* __restrict state1,
                 float* __restrict sums0, float* __restrict sums1, int count) {
  static_assert(Update::states <= 2 && rules::max_measures == 2);
  const auto element = [&](int i) {
    float state[2] = {}, terms[2];
    if constexpr (Update::states > 0) state[0] = state0[first_state<Update>(i)];
    if constexpr (Update::states > 1) state[1] = state1[i];
    Update::measure(scalars, scale * d[i], p[i], state, terms);
    sums0[i] += terms[0];
    sums1[i] += terms[1];
    if constexpr (!Of.write_states) return;
    if constexpr (Update::states > 0) state0[i] = state[0];
    if constexpr (Update::states > 1) state1[i] = state[1];
  };
  over_elements<Update, Of>(count, element, d, p, state0, state1);
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
  const auto with_row = [&](DType dtype, const void* row, std::int64_t at, float scale) {
    if (dtype == DType::float32) {
      return apply(scale, static_cast<const float*>(row) + at, chunk.begin, chunk.count);
    }
    for_runs(chunk.count, [&](int first, int last) {
      prefetch_run(dtype, element_at(dtype, row, at + first + run_elements));
      widen_run(dtype, row, at + first, last - first, combined);
      apply(scale, combined, chunk.begin + first, last - first);
    });
  };
  if (chunk.begin >= a.work.shared_size) {
    return with_row(a.storage.heads, a.heads, chunk.begin - a.work.shared_size,
                    segment.sign * a.plan->head_weight);
  }
  const float* weights = a.weights + std::int64_t{segment.projection} * a.tasks;
  if (a.tasks == 1 && by_element == nullptr) {
    return with_row(a.storage.rows, a.rows[0], chunk.begin, segment.sign * weights[0]);
  }
  const int most = a.tasks <= 8 ? kernels::chunk_elements : run_elements;
  for (int first = 0; first < chunk.count; first += most) {
    const int count = chunk.count - first < most ? chunk.count - first : most;
    if (by_element != nullptr) {
      combine_elements(a, *by_element, chunk.begin + first, count, combined);
    } else {
      combine_all(a.storage.rows, a.rows, weights, a.tasks, chunk.begin + first, count, combined);
    }
    apply(segment.sign, combined, chunk.begin + first, count);
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
  constexpr Access access{!rules::Factored<Update>, !rules::state_done_first<Update>, true};
  alignas(64) float combined[kernels::chunk_elements];
  const auto update_chunk = [&](std::int64_t, const auto& chunk, const auto& segment) {
    const auto scalars = segment.template get<typename Update::Scalars>();
    const kernels::SegmentPlace& place = a.matrices.places[chunk.segment];
    Runs<Update, access> runs(a, segment, place);
    const auto apply = [&](float scale, const float* d, std::int64_t at, int count) {
      over_runs(a, place, runs, at, count, [&](int begin, int end, auto& run) {
        apply_run<Update, access>(scalars, scale, d + begin, run.params, run.states[0],
                                  run.states[1], run.states[2], end - begin);
      });
    };
    if constexpr (rules::applies_gradient<Update>) {
      with_gradient(a, by_element, chunk, segment, combined, apply);
    } else {
      apply(1.0f, combined, chunk.begin, chunk.count);  // in the place of a gradient: not looked at
    }
  };
  if (!a.storage.zeroes) return over_chunks<Update>(a, first, last, update_chunk);
  for (std::int64_t c = first; c < last; ++c) {  // see kernels::UpdateBody
    const kernels::Chunk& chunk = a.work.chunks[c];
    const kernels::SegmentState& segment = a.segments[chunk.segment];
    if (!kernels::is_of<Update>(segment)) continue;
    if (!a.plan->skip && segment.active) update_chunk(c, chunk, segment);
    zero_gradients(a, chunk);
  }
}

/// Chunks that a pass which goes backward takes forward: 1 MiB of every stream, for the prefetchers to follow.
constexpr std::int64_t chunks_forward = 64;

template <class Update>
void measure_leaf(const kernels::UpdateArguments& a, const kernels::OneOfT<Aggregator>* by_element,
                  std::int64_t first, std::int64_t last) {
  constexpr bool own_states = rules::state_done_first<Update> && !rules::Factored<Update>;
  constexpr Access access{own_states, own_states, false};
  alignas(64) float combined[kernels::chunk_elements];
  ColumnSums columns;
  const auto measure_chunk = [&](std::int64_t c, const auto& chunk, const auto& segment) {
    const auto scalars = segment.template get<typename Update::Scalars>();
    const kernels::SegmentPlace& place = a.matrices.places[chunk.segment];
    Runs<Update, access> runs(a, segment, place);
    const int lanes = kernels::lanes_of((chunk.count + 3) / 4);
    for (auto& sums : columns.sums) {
      for (int column = 0; column < 4 * lanes; ++column) sums[column] = 0.0f;
    }
    const auto measure = [&](float scale, const float* d, std::int64_t at, int count) {
      over_runs(a, place, runs, at, count, [&](int begin, int end, auto& run) {
        const auto column = (at - chunk.begin + begin) % sum_columns;
        measure_run<Update, access>(scalars, scale, d + begin, run.params, run.states[0],
                                    run.states[1], columns.sums[0] + column,
                                    columns.sums[1] + column, end - begin);
      });
    };
    with_gradient(a, by_element, chunk, segment, combined, measure);
    add_columns(columns, lanes, a.measures + c * rules::max_measures);
  };
  // The last ones first: what the pass before has read last is still in cache, and what is read last here will be
  // for the update.
  for (std::int64_t end = last; end > first; end -= chunks_forward) {
    over_chunks<Update>(a, std::max(first, end - chunks_forward), end, measure_chunk);
  }
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
