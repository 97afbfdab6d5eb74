// Momenta of the task gradients, a span at a time, just before its products are taken.
#pragma once

#include "host/cpu/leaves.hpp"
#include "host/cpu/vector.hpp"

namespace gramstep::host {
namespace {

/// to = keep * from + take * g
void advance_row(float keep, const float* __restrict from, float take, const float* __restrict g,
                 float* __restrict to, int count) {
  GRAMSTEP_INDEPENDENT
  for (int i = 0; i < count; ++i) {
    to[i] = kernels::advance_momentum(keep, from[i], take, g[i]);
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
        advance_row(factors.keep[k], from, factors.take[k], a.rows[k] + chunk.begin, to,
                    chunk.count);
      } else {
        __builtin_memcpy(to, from, static_cast<std::size_t>(chunk.count) * sizeof(float));
      }
    }
  }
}

}  // namespace
}  // namespace gramstep::host
