// The gram stage for K > 8 rows of 16 bits: on tensor cores, 16 rows by 8 at a time, or its arithmetic would
// take longer than memory.
//
// Traffic: every element of every row is read once, 2 K bytes a parameter, to the registers that it is multiplied
// from. While a batch of columns is multiplied the next is on its way: 32 KiB of all blocks that a multiprocessor
// holds, at 4.8 TB/s what 132 of them are brought in 1700 cycles.
//
// Accuracy: products are exact. A multiply_add takes eight of them or all 16 with the sum so far, cuts each off 24
// bits below the greatest, and the result again (Fasi et al. 2021): 20 errors of 2^-23 sum |a b| at most. Two
// multiply_adds make a turn's sums, which begin at 0; at most 320 turns are added in fp32, rounded to nearest:
// |error| <= (320 + 80) 2^-24 sum |a b|, where fp32 rows' tiles have 514. All after that is double.
#pragma once

#include "kernels/gram.hpp"

namespace gramstep::kernels {

/// Rows / 2 < K <= Rows rows, 16, 32 or 64, of a Type, Bfloat16 or Float16. A block takes a span, each of its
/// warps columns of its own, 32 a turn. Of these a lane loads eight of one row in every eight, 16 bytes, which are
/// its part of a matrix of 16 rows on the left, and as they are of one of eight on the right: which of a row's
/// columns stand where makes no difference to products as long as it is the same on both sides.
template <class Type, int Rows>
struct GramTensorBody {
  static constexpr int threads = gram_threads;
  static constexpr int bands = Rows / 16;           // of 16 rows, twice eight
  static constexpr int width = 32;                  // columns of a turn
  static constexpr int turns = bands == 1 ? 2 : 1;  // of a batch
  static constexpr int columns = turns * width;
  static constexpr int resident =
      bands <= 2 ? 2 : 1;  // with the next batch in registers: 94, 120, 245
  GramArguments a;

  struct Shared {
    alignas(16) float sums[gram_warps][2 * 16 * 8];
    HeadSums head_sums;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    over_spans<AnyType>(x, a, shared.head_sums,
                        [&](std::int64_t span) { shared_span(x, shared, span); });
  }

 private:
  /// Of the bands i <= j, the two tiles of band i by the eights of band j.
  using Products = float[pairs_of(bands)][2][4];
  /// Where the lane's rows are, each from the lane's first column on.
  using Lanes = const std::uint16_t * [2 * bands];
  /// A lane's elements of a turn, row by row.
  using Turn = std::uint32_t[2 * bands][4];

  /// And of a batch.
  struct Loaded {
    Turn turn[turns];
  };

  /// Where a warp's next columns begin, of so many batches that the chunk has from there on.
  struct Batch {
    int chunk;
    int left;
    std::int64_t at;
  };

  template <class X>
  GRAMSTEP_BODY void shared_span(const X& x, Shared& shared, std::int64_t span) const {
    Lanes rows;
    GRAMSTEP_UNROLL
    for (int r = 0; r < 2 * bands; ++r) {
      // Beyond K the last row once more, whose products nobody asks for.
      const int k = 8 * r + x.lane() / 4;
      const void* row = a.rows[k < a.tasks ? k : a.tasks - 1];
      rows[r] = static_cast<const std::uint16_t*>(row) + 8 * (x.lane() % 4);
    }
    Products products = {};
    add_batches(x, rows, span, products);
    add_rests(x, rows, span, products);
    write(x, shared, products, span);
  }

  /// What lies in full batches. While one is multiplied the next is on its way.
  template <class X>
  GRAMSTEP_BODY void add_batches(const X& x, const Lanes& rows, std::int64_t span,
                                 Products& products) const {
    Batch ahead{a.work.spans[span].first - 1, 0, 0};
    if (!advance(x, span, ahead)) return;
    Loaded here;
    load_batch(rows, ahead.at, here);
    GRAMSTEP_UNROLL_BY(1)
    while (advance(x, span, ahead)) {
      Loaded next;
      load_batch(rows, ahead.at, next);
      multiply_batch(x, here, products);
      here = next;
    }
    multiply_batch(x, here, products);
  }

  GRAMSTEP_BODY static void load_batch(const Lanes& rows, std::int64_t at, Loaded& to) {
    GRAMSTEP_UNROLL
    for (int r = 0; r < 2 * bands; ++r) {
      GRAMSTEP_UNROLL
      for (int t = 0; t < turns; ++t) {
        load(reinterpret_cast<const std::uint32_t*>(rows[r] + at) + t * width / 2, to.turn[t][r]);
      }
    }
  }

  template <class X>
  GRAMSTEP_BODY static void multiply_batch(const X& x, const Loaded& batch, Products& products) {
    GRAMSTEP_UNROLL
    for (int t = 0; t < turns; ++t) multiply(x, batch.turn[t], products);
  }

  /// Goes on to the warp's next batch of the span's active chunks. False where there is none.
  template <class X>
  GRAMSTEP_BODY bool advance(const X& x, std::int64_t span, Batch& batch) const {
    batch.left -= gram_warps;
    batch.at += gram_warps * columns;
    while (batch.left <= 0) {
      if (++batch.chunk >= a.work.spans[span].last) return false;
      const Chunk& chunk = a.work.chunks[batch.chunk];
      batch.left = a.segments[chunk.segment].active ? full_batches(chunk) - x.warp() : 0;
      batch.at = chunk.begin + x.warp() * columns;
    }
    return true;
  }

  GRAMSTEP_BODY int full_batches(const Chunk& chunk) const {
    return a.aligned ? chunk.count / columns : 0;
  }

  /// What is left over of chunks, or all of them where rows lie across 16 bytes.
  template <class X>
  GRAMSTEP_BODY void add_rests(const X& x, const Lanes& rows, std::int64_t span,
                               Products& products) const {
    over_chunks(a, span, [&](const Chunk& chunk) {
      GRAMSTEP_UNROLL_BY(1)
      for (int c = full_batches(chunk) * columns + x.warp() * width; c < chunk.count;
           c += gram_warps * width) {
        Turn turn = {};
        load_singly(rows, chunk.begin + c, chunk.count - c - 8 * (x.lane() % 4), turn);
        multiply(x, turn, products);
      }
    });
  }

  /// A turn of which `available` elements of the lane's are there, zeros beyond. Two of every row at a time:
  /// few instructions, and enough on their way.
  GRAMSTEP_BODY void load_singly(const Lanes& rows, std::int64_t at, int available,
                                 Turn& turn) const {
    GRAMSTEP_UNROLL_BY(1)
    for (int e = 0; e < 8; e += 2) {
      GRAMSTEP_UNROLL
      for (int r = 0; r < 2 * bands; ++r) {
        // Moved along, not indexed: registers cannot be.
        for (int w = 0; w < 3; ++w) turn[r][w] = turn[r][w + 1];
        const std::uint32_t lower = e < available ? rows[r][at + e] : 0;
        const std::uint32_t upper = e + 1 < available ? rows[r][at + e + 1] : 0;
        turn[r][3] = upper << 16 | lower;
      }
    }
  }

  /// Adds a turn's products, each turn's rounded to nearest.
  template <class X>
  GRAMSTEP_BODY static void multiply(const X& x, const Turn& turn, Products& products) {
    GRAMSTEP_UNROLL
    for (int i = 0; i < bands; ++i) {
      GRAMSTEP_UNROLL
      for (int j = i; j < bands; ++j) {
        GRAMSTEP_UNROLL
        for (int half = 0; half < 2; ++half) {
          float sums[4] = {};
          multiply(x, turn[2 * i], turn[2 * i + 1], turn[2 * j + half], sums);
          GRAMSTEP_UNROLL
          for (int c = 0; c < 4; ++c) products[pair_index(i, j, bands)][half][c] += sums[c];
        }
      }
    }
  }

  /// Adds the products of sixteen rows, a lane's two on the left, with eight.
  template <class X>
  GRAMSTEP_BODY static void multiply(const X& x, const std::uint32_t (&upper)[4],
                                     const std::uint32_t (&lower)[4],
                                     const std::uint32_t (&right)[4], float (&sums)[4]) {
    GRAMSTEP_UNROLL
    for (int w = 0; w < 4; w += 2) {
      x.template multiply_add<Type>(sums, {upper[w], lower[w], upper[w + 1], lower[w + 1]},
                                    {right[w], right[w + 1]});
    }
  }

  /// The span's partial: of every product the warps' sums, in their order. A thread has one of each two tiles.
  template <class X>
  GRAMSTEP_BODY void write(const X& x, Shared& shared, Products& products,
                           std::int64_t span) const {
    double* partial = a.partials + span * pairs_of(a.tasks);
    const int lane = x.thread() % 128 / 4, c = x.thread() % 4;
    const int row = lane / 4 + c / 2 * 8;
    const int column = x.thread() / 128 * 8 + lane % 4 * 2 + c % 2;
    int i = 0, j = 0;
    GRAMSTEP_UNROLL_BY(1)
    for (int pair = 0; pair < pairs_of(bands); ++pair) {
      GRAMSTEP_UNROLL
      for (int half = 0; half < 2; ++half) {
        store(products[0][half], &shared.sums[x.warp()][128 * half + 4 * x.lane()]);
      }
      move_along(products);
      x.sync();
      double sum = 0;
      for (int w = 0; w < gram_warps; ++w) {
        sum += static_cast<double>(shared.sums[w][x.thread()]);
      }
      const int k = 16 * i + row, l = 16 * j + column;
      if (k <= l && l < a.tasks) partial[pair_index(k, l, a.tasks)] = sum;
      x.sync();
      if (++j == bands) j = ++i;
    }
  }

  /// The next pair's to the front, for registers cannot be indexed.
  GRAMSTEP_BODY static void move_along(Products& products) {
    GRAMSTEP_UNROLL
    for (int pair = 1; pair < pairs_of(bands); ++pair) {
      GRAMSTEP_UNROLL
      for (int e = 0; e < 8; ++e) products[pair - 1][e / 4][e % 4] = products[pair][e / 4][e % 4];
    }
  }
};

}  // namespace gramstep::kernels
