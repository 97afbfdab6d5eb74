// The update stage's passes of rules that need norms by segment: sums of what a rule measures, and what they
// do to its scalars, before the pass that applies it.
#pragma once

#include "kernels/update.hpp"

namespace gramstep::kernels {

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

/// The pass before the update, of a rule that needs norms: sums of what the rule measures, by chunk. A lane sums
/// at most 16 terms in fp32; everything after is double. Last chunks first: what the pass before read last is
/// still in a GPU's L2, and what is read last here will be for the update.
template <class Update, class Combination>
struct MeasureBody {
  static constexpr int threads = measure_lanes;
  static constexpr int resident = factored_blocks<Update, Combination>;
  UpdateArguments a;
  Combination combination;

  struct Shared {
    MeasureRoom room;
  };

  template <class X>
  GRAMSTEP_BODY void prefetch(const X& x) const {
    prefetch_chunk<Update>(x, a, true);
  }

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    if (a.plan->skip) return;
    const ElementPass<Update, Combination> pass{a, combination};
    pass.over_chunks(x, true, [&](std::int64_t c, const Chunk& chunk, const SegmentState& segment) {
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
        GRAMSTEP_UNROLL_BY(8)  // on their way together: one block adds up a large matrix
        for (std::int64_t c = chunks[0] + lane; c < chunks[1]; c += lanes) {
          GRAMSTEP_UNROLL
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
