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

/// Adds to sums what the rule measures of one run of at most run_elements.
template <class Update>
void measure_run(const typename Update::Scalars scalars, float scale, const float* __restrict d,
                 const float* __restrict p, float* __restrict state0, float* __restrict state1,
                 int count, double (&sums)[rules::max_measures]) {
  static_assert(Update::states <= 2);
  float terms[rules::max_measures][run_elements] = {};
  GRAMSTEP_INDEPENDENT
  for (int i = 0; i < count; ++i) {
    float state[2] = {}, one[rules::max_measures];
    if constexpr (Update::states > 0) state[0] = state0[i];
    if constexpr (Update::states > 1) state[1] = state1[i];
    Update::measure(scalars, scale * d[i], p[i], state, one);
    for (int m = 0; m < rules::max_measures; ++m) terms[m][i] = one[m];
    if constexpr (rules::state_done_first<Update>) {
      if constexpr (Update::states > 0) state0[i] = state[0];
      if constexpr (Update::states > 1) state1[i] = state[1];
    }
  }
  // The same lanes on every instruction set: the same bits. At most 16 terms in an fp32 sum.
  for (int m = 0; m < rules::max_measures; ++m) {
    float lanes[gram_lanes] = {};
    for (int i = 0; i < run_elements; i += gram_lanes) {
      for (int l = 0; l < gram_lanes; ++l) lanes[l] += terms[m][i + l];
    }
    for (const float lane : lanes) sums[m] += static_cast<double>(lane);
  }
}

/// What the rule measures of `count` elements whose gradient is scale * d.
template <class Update>
void measure_rule(const typename Update::Scalars& scalars, float scale, const float* d,
                  const float* p, float* const* states, std::int64_t at, int count,
                  double (&sums)[rules::max_measures]) {
  float* state[2] = {};
  for (int s = 0; s < Update::states; ++s) state[s] = states[s] + at;
  for_runs(count, [&](int first, int last) {
    prefetch_run(d + first + rule_distance);
    prefetch_run(p + first + rule_distance);
    if constexpr (rules::state_done_first<Update>) {
      for (int s = 0; s < Update::states; ++s) prefetch_run(state[s] + first + rule_distance);
    }
    measure_run<Update>(scalars, scale, d + first, p + first, state[0] + first, state[1] + first,
                        last - first, sums);
  });
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
  alignas(64) float combined[kernels::chunk_elements] = {};
  over_chunks(a, first, last, [&](std::int32_t, const auto& chunk, const auto& segment) {
    const auto scalars = segment.template get<typename Update::Scalars>();
    const auto apply = [&](float scale, const float* d, std::int64_t at, int count) {
      apply_rule<Update>(scalars, scale, d, a.params + at, a.states, at, count);
    };
    if constexpr (rules::state_done_first<Update>) {
      apply(1.0f, combined, chunk.begin, chunk.count);  // which is not looked at
    } else {
      with_gradient(a, by_element, chunk, segment, combined, apply);
    }
  });
}

template <class Update>
void measure_leaf(const kernels::UpdateArguments& a, const kernels::OneOfT<Aggregator>* by_element,
                  std::int32_t first, std::int32_t last) {
  alignas(64) float combined[kernels::chunk_elements];
  over_chunks(a, first, last, [&](std::int32_t c, const auto& chunk, const auto& segment) {
    const auto scalars = segment.template get<typename Update::Scalars>();
    double sums[rules::max_measures] = {};
    with_gradient(a, by_element, chunk, segment, combined,
                  [&](float scale, const float* d, std::int64_t at, int count) {
                    measure_rule<Update>(scalars, scale, d, a.params + at, a.states, at, count,
                                         sums);
                  });
    for (int m = 0; m < rules::max_measures; ++m) {
      a.measures[std::int64_t{c} * rules::max_measures + m] = sums[m];
    }
  });
}

/// Adds up what was measured of segments [first, last), and lets the rule have it.
template <class Update>
void settle_leaf(const kernels::UpdateArguments& a, std::int32_t first, std::int32_t last) {
  for (std::int32_t s = first; s < last; ++s) {
    if (!a.segments[s].active) continue;
    double sums[rules::max_measures] = {};
    for (std::int32_t c = a.work.segment_chunks[2 * s]; c < a.work.segment_chunks[2 * s + 1]; ++c) {
      for (int m = 0; m < rules::max_measures; ++m) {
        sums[m] += a.measures[std::int64_t{c} * rules::max_measures + m];
      }
    }
    auto scalars = a.segments[s].template get<typename Update::Scalars>();
    Update::settle(scalars, sums);
    a.segments[s].put(scalars);
  }
}

}  // namespace
}  // namespace gramstep::host
