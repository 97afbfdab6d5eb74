// The gram stage: one pass over K gradient rows, partial sums of all products of pairs.
//
// Traffic: every element of every row is read once, K * 4 bytes a parameter; a span's partial is
// pairs_of(K) doubles. Accuracy: an fp32 accumulator sums at most max_span_elements / gram_threads
// products and one more a chunk, 320 in all; then it is widened, and everything after is double.
#pragma once

#include <cmath>

#include "kernels/context.hpp"
#include "kernels/momentum.hpp"
#include "kernels/step_data.hpp"
#include "kernels/storage.hpp"

namespace gramstep::kernels {

struct GramArguments {
  const void* rows[max_tasks];  // [K], each over the shared part
  const void* heads;            // over the heads' part
  WorkTable work;
  const SegmentState* segments;
  double* partials;  // [shared_spans, pairs], then [head_spans]
  Momenta momenta;   // of the rows; without them the products are the rows' own
  DType row_type;
  DType head_type;
  std::int32_t tasks;
  bool aligned;  // all rows and heads on 16 bytes
};

inline constexpr int gram_threads = 256;
inline constexpr int gram_warps = gram_threads / 32;

/// Sums each of `Count` values over the block in a fixed order and hands them to write(index, sum).
/// `room` is [warps][Count] of shared memory; free for reuse after the next sync().
template <class T, int Count, class X, class Write>
GRAMSTEP_BODY void block_sums(const X& x, const T (&values)[Count], double (*room)[Count],
                              const Write& write) {
  GRAMSTEP_UNROLL
  for (int i = 0; i < Count; ++i) {
    const double sum = x.warp_sum(static_cast<double>(values[i]));
    if (x.lane() == 0) room[x.warp()][i] = sum;
  }
  x.sync();
  for (int i = x.thread(); i < Count; i += x.threads()) {
    double sum = 0;
    for (int w = 0; w < x.threads() / 32; ++w) sum += room[w][i];
    write(i, sum);
  }
}

/// Adds the products of all pairs of `tasks` <= Rows rows at Width elements to sums; of as many more Turns - 1
/// times, `apart` elements further on, all of which are on their way before the first is looked at.
template <int Rows, int Width, int Turns, class Type>
GRAMSTEP_BODY void add_products(Type type, const void* const* rows, int tasks, std::int64_t at,
                                int apart, float (&sums)[pairs_of(Rows)]) {
  float row[Turns][Rows][Width] = {};
  GRAMSTEP_UNROLL
  for (int turn = 0; turn < Turns; ++turn) {
    GRAMSTEP_UNROLL
    for (int k = 0; k < Rows; ++k) {
      if (Rows <= 2 || k < tasks) load(type, rows[k], at + turn * apart, row[turn][k]);
    }
  }
  GRAMSTEP_UNROLL
  for (int turn = 0; turn < Turns; ++turn) {
    int pair = 0;
    GRAMSTEP_UNROLL
    for (int i = 0; i < Rows; ++i) {
      GRAMSTEP_UNROLL
      for (int j = i; j < Rows; ++j) {
        GRAMSTEP_UNROLL
        for (int c = 0; c < Width; ++c) {
          sums[pair] = fmaf(row[turn][i][c], row[turn][j][c], sums[pair]);
        }
        ++pair;
      }
    }
  }
}

/// Calls function(chunk) for the chunks of a span whose segments are active.
template <class Function>
GRAMSTEP_BODY void over_chunks(const GramArguments& a, std::int64_t span,
                               const Function& function) {
  for (int c = a.work.spans[span].first; c < a.work.spans[span].last; ++c) {
    const Chunk chunk = a.work.chunks[c];
    if (a.segments[chunk.segment].active) function(chunk);
  }
}

/// This thread's share of a chunk's products. `origin` is where the rows begin in the flat buffer.
template <int Rows, class Type, class X>
GRAMSTEP_BODY void chunk_products(const X& x, Type type, const Chunk& chunk, bool aligned,
                                  const void* const* rows, int tasks, std::int64_t origin,
                                  float (&sums)[pairs_of(Rows)]) {
  const std::int64_t begin = chunk.begin - origin;
  const int vectors = aligned ? chunk.count / 4 : 0;
  // The four sweeps of a full chunk in one turn, where rows are few.
  constexpr int turns = Rows <= 2 ? 4 : 1;
  int i = x.thread();
  GRAMSTEP_UNROLL_BY(1)
  for (; i + (turns - 1) * x.threads() < vectors; i += turns * x.threads()) {
    add_products<Rows, 4, turns>(type, rows, tasks, begin + 4 * i, 4 * x.threads(), sums);
  }
  GRAMSTEP_UNROLL_BY(1)
  for (; turns > 1 && i < vectors; i += x.threads()) {
    add_products<Rows, 4, 1>(type, rows, tasks, begin + 4 * i, 0, sums);
  }
  for (i = 4 * vectors + x.thread(); i < chunk.count; i += x.threads()) {
    add_products<Rows, 1, 1>(type, rows, tasks, begin + i, 0, sums);
  }
}

using HeadSums = double[gram_warps][1];

/// The squared norm of a span of the heads' gradients, written to its partial.
template <class Type, class X>
GRAMSTEP_BODY void head_span(const X& x, const GramArguments& a, std::int64_t span,
                             HeadSums& room) {
  // Widened chunk by chunk: not every body's block has as many threads to share a span.
  double sums[1] = {};
  over_chunks(a, span, [&](const Chunk& chunk) {
    float of_chunk[1] = {};
    chunk_products<1>(x, Type(a.head_type), chunk, a.aligned, &a.heads, 1, a.work.shared_size,
                      of_chunk);
    sums[0] += static_cast<double>(of_chunk[0]);
  });
  double* head_partials = a.partials + std::int64_t{a.work.shared_spans} * pairs_of(a.tasks);
  double* partial = head_partials + (span - a.work.shared_spans);
  block_sums(x, sums, room, [=](int, double sum) { *partial = sum; });
}

/// A block takes spans in turn: those of the shared part by shared_span(span), then the heads'.
template <class Type, class X, class SharedSpan>
GRAMSTEP_BODY void over_spans(const X& x, const GramArguments& a, HeadSums& room,
                              const SharedSpan& shared_span) {
  // 32 bits and no total kept: the bodies have no register to spare. There are fewer than 2^31 spans.
  for (auto span = static_cast<std::uint32_t>(x.block());
       span < static_cast<std::uint32_t>(a.work.shared_spans + a.work.head_spans);
       span += static_cast<std::uint32_t>(x.blocks())) {
    if (span < static_cast<std::uint32_t>(a.work.shared_spans)) {
      shared_span(span);
    } else {
      head_span<Type>(x, a, span, room);
    }
    x.sync();
  }
}

/// All pairs of up to `Rows` rows in registers, for K <= 8. A block takes a span. Pairs of more
/// rows and their 128-bit loads do not fit 255 registers on every architecture.
template <class Type, int Rows>
struct GramBody {
  static constexpr int threads = gram_threads;
  GramArguments a;

  struct Shared {
    double sums[gram_warps][pairs_of(Rows)];
    HeadSums head_sums;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    over_spans<Type>(x, a, shared.head_sums,
                     [&](std::int64_t span) { shared_span(x, shared, span); });
  }

 private:
  template <class X>
  GRAMSTEP_BODY void shared_span(const X& x, Shared& shared, std::int64_t span) const {
    float sums[pairs_of(Rows)] = {};
    over_chunks(a, span, [&](const Chunk& chunk) {
      chunk_products<Rows>(x, Type(a.row_type), chunk, a.aligned, a.rows, a.tasks, 0, sums);
    });
    // The triangle of `Rows` rows is wider than that of K: only what exists is written.
    const int tasks = a.tasks;
    double* partial = a.partials + span * pairs_of(tasks);
    block_sums(x, sums, shared.sums, [=](int pair, double sum) {
      int i = 0;
      while (pair >= Rows - i) pair -= Rows - i++;
      if (i + pair < tasks) partial[pair_index(i, i + pair, tasks)] = sum;
    });
  }
};

}  // namespace gramstep::kernels
