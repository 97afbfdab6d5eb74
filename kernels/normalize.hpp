// Matrices that are about to be made orthogonal, brought to length 1: Newton and Schulz' iteration converges
// from there.
#pragma once

#include "kernels/update.hpp"

namespace gramstep::kernels {

/// x = scale x, over the chunks of what is made orthogonal. Traffic: a read and a write of 4 bytes an element.
template <class Update>
struct NormalizeBody {
  static constexpr int threads = update_threads;
  UpdateArguments a;

  struct Shared {};

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared&) const {
    if (a.plan->skip) return;
    for (std::int64_t c = x.block(); c < a.work.chunk_count; c += x.blocks()) of_chunk(x, c);
  }

  template <class X>
  GRAMSTEP_BODY void of_chunk(const X& x, std::int64_t c) const {
    const Chunk chunk = a.work.chunks[c];
    const SegmentState& segment = a.segments[chunk.segment];
    if (!takes<Update>(segment)) return;
    const SegmentPlace& place = a.matrices.places[chunk.segment];
    const float scale = segment.template get<typename Update::Scalars>().scale;
    float* to = static_cast<float*>(a.states[Update::orthogonalized]) +
                place.states[Update::orthogonalized] + (chunk.begin - place.begin);
    const int vectors = a.aligned ? chunk.count / 4 : 0;
    sweep<4>(x, to, scale, 0, 4 * vectors);
    sweep<1>(x, to, scale, 4 * vectors, chunk.count);
  }

 private:
  template <int Width, class X>
  GRAMSTEP_BODY void sweep(const X& x, float* to, float scale, int begin, int end) const {
    for (int i = begin + Width * x.thread(); i < end; i += Width * x.threads()) {
      float values[Width];
      load(to + i, values);
      GRAMSTEP_UNROLL
      for (int c = 0; c < Width; ++c) values[c] *= scale;
      store(values, to + i);
    }
  }
};

}  // namespace gramstep::kernels
