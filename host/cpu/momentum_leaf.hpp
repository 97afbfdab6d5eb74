// Momenta of the task gradients, a span at a time, just before its products are taken.
#pragma once

#include "host/cpu/widen.hpp"

namespace gramstep::host {
namespace {

/// to = keep * from + take * g
void advance_run(float keep, const float* __restrict from, float take, const float* __restrict g,
                 float* __restrict to, int count) {
  GRAMSTEP_INDEPENDENT
  for (int i = 0; i < count; ++i) {
    to[i] = kernels::advance_momentum(keep, from[i], take, g[i]);
  }
}

/// The same for a chunk of row k, whose gradient is of any type.
void advance_row(const kernels::GramArguments& a, const kernels::MomentumFactors& factors, int k,
                 const kernels::Chunk& chunk, const float* from, float* to) {
  alignas(64) float room[run_elements];
  const bool in_place = a.row_type == DType::float32;
  for (int first = 0; first < chunk.count; first += run_elements) {
    const int count = chunk.count - first < run_elements ? chunk.count - first : run_elements;
    const std::int64_t at = chunk.begin + first;
    if (!in_place) widen_run(a.row_type, a.rows[k], at, count, room);
    const float* g = in_place ? static_cast<const float*>(a.rows[k]) + at : room;
    advance_run(factors.keep[k], from + first, factors.take[k], g, to + first, count);
  }
}

/// Brings a span's momenta up to date. A segment without gradient keeps its own.
void momentum_leaf(const kernels::GramArguments& a, const kernels::MomentumFactors& factors,
                   std::int64_t span) {
  for (int c = a.work.spans[span].first; c < a.work.spans[span].last; ++c) {
    const kernels::Chunk& chunk = a.work.chunks[c];
    const bool active = a.segments[chunk.segment].active;
    for (int k = 0; k < a.tasks; ++k) {
      const float* from = a.momenta.before(k, a.tasks) + chunk.begin;
      float* to = a.momenta.after(k, a.tasks) + chunk.begin;
      if (active) {
        advance_row(a, factors, k, chunk, from, to);
      } else {
        __builtin_memcpy(to, from, static_cast<std::size_t>(chunk.count) * sizeof(float));
      }
    }
  }
}

}  // namespace
}  // namespace gramstep::host
