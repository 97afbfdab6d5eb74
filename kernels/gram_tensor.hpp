// The gram stage for K > 8: on tensor cores, 16 rows by 8 at a time, or its arithmetic would take longer than
// memory.
//
// Traffic: every element of every row is read once, 4 K bytes a parameter or 2 K. A lane copies to shared memory
// what it multiplies itself, so that nobody waits for anybody: 32 KiB a block are on their way.
//
// Accuracy, in units of 2^-24 sum |a b|. Products of 16 bits are exact. Of fp32 a tensor core takes 11 bits, so
// that an element is two numbers, the nearest of 11 bits and what is left, of which it takes 11 again, cut off:
// 2^-21 |a|. Three products of these leave out the fourth, 2^-22 |a b|: 20 units. A multiply_add takes its
// products, eight or 16 of them, half of them or all at once, with the sum so far, cuts each off 24 bits below
// the greatest, and the result again (Fasi et al. 2021): 40 units at most. Two of whole products make a turn's
// sums, which begin at 0: 80 units; those of the parts that are left count for nothing beside. At most 512 turns
// are added in fp32, rounded to nearest. In all 612 units; after that all is double.
#pragma once

#include "kernels/gram_source.hpp"

namespace gramstep::kernels {

/// Up to Rows rows: 16, 32 or 64. A block takes a span, each of its warps columns of its own, 16 a turn or, of 16
/// bits, 32. Of these a lane takes 16 bytes of one row in every eight, which are its part of a matrix of 16 rows
/// on the left, and as they are of one of eight on the right: which of a row's columns stand where makes no
/// difference to products as long as it is the same on both sides.
template <class Source, int Rows>
struct GramTensorBody {
  using Operand = typename Source::Operand;
  using Stored = typename Operand::Stored;
  static constexpr int threads = 128;  // more would have no registers for 20 tiles of sums
  static constexpr int warps = threads / 32;
  static constexpr int bands = Rows / 16;              // of 16 rows, twice eight
  static constexpr int width = 16 * Operand::in_word;  // columns of a turn
  static constexpr int depth = 8 / bands;              // turns on their way
  // Chunks whose turns are added in fp32.
  static constexpr int piece = 8;
  static constexpr int most_turns = piece * chunk_elements / (warps * width);
  static_assert(most_turns <= 512, "what is said of accuracy");
  GramArguments a;
  Source source;

  struct Shared {
    alignas(16) std::uint32_t staged[Source::copied ? depth : 1][2 * bands][threads][4];
    alignas(16) float sums[warps][2 * 16 * 8];
    HeadSums head_sums;
    typename Source::Shared source;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    source.prepare(x, a, shared.source);
    over_spans<typename Source::HeadType>(x, a, shared.head_sums,
                                          [&](std::int64_t span) { shared_span(x, shared, span); });
  }

 private:
  /// Of the bands i <= j, the two tiles of band i by the eights of band j.
  using Products = float[pairs_of(bands)][2][4];
  /// Where the lane's rows are.
  using Lanes = const Stored* [2 * bands];
  /// A lane's words of a turn, row by row.
  using Turn = std::uint32_t[2 * bands][4];

  /// Where a warp's next columns begin, of so many turns that the chunk has from there on, in chunks before `end`.
  struct Place {
    int chunk, end;
    int left;
    std::int64_t at;
  };

  /// The task of the lane's row r.
  template <class X>
  GRAMSTEP_BODY static int task(const X& x, int r) {
    return 8 * r + x.lane() / 4;
  }
  /// Where the lane's columns of a turn begin.
  template <class X>
  GRAMSTEP_BODY static int first_column(const X& x) {
    return x.lane() % 4 * (width / 4);
  }

  template <class X>
  GRAMSTEP_BODY void shared_span(const X& x, Shared& shared, std::int64_t span) const {
    const Span whole = a.work.spans[span];
    GRAMSTEP_UNROLL_BY(1)
    for (int first = whole.first; first < whole.last; first += piece) {
      const Span part{first, first + piece < whole.last ? first + piece : whole.last};
      Products products = {};
      if constexpr (Source::copied) {
        add_copied(x, shared, part, products);
      } else {
        add_taken(x, shared, part, products);
      }
      add_rests(x, shared, part, products);
      write(x, shared, products, span, first > whole.first);
    }
  }

  /// What lies in full turns, copied while others are multiplied.
  template <class X>
  GRAMSTEP_BODY void add_copied(const X& x, Shared& shared, const Span& part,
                                Products& products) const {
    Lanes rows;
    GRAMSTEP_UNROLL
    for (int r = 0; r < 2 * bands; ++r) rows[r] = source.row(a, task(x, r));
    Place ahead{part.first - 1, part.last, 0, 0};
    int filled = 0;
    GRAMSTEP_UNROLL_BY(1)
    while (filled < depth && fill(x, shared, rows, filled, ahead)) ++filled;
    for (int s = filled; s < depth; ++s) x.commit_copies();  // of nothing: waiting counts commits
    GRAMSTEP_UNROLL_BY(1)
    for (int turn = 0; turn < filled; ++turn) {
      x.template wait_for_copies<depth - 1>();
      Turn words;
      load_staged(x, shared, turn % depth, words);
      if (fill(x, shared, rows, filled, ahead)) {
        ++filled;
      } else {
        x.commit_copies();
      }
      multiply(x, words, products);
    }
  }

  /// Starts to copy the warp's next turn, the filled-th, of the active chunks ahead. False where there is none.
  template <class X>
  GRAMSTEP_BODY bool fill(const X& x, Shared& shared, const Lanes& rows, int filled,
                          Place& ahead) const {
    if (!advance(x, ahead)) return false;
    GRAMSTEP_UNROLL
    for (int r = 0; r < 2 * bands; ++r) {
      x.copy_async(shared.staged[filled % depth][r][x.thread()],
                   rows[r] + ahead.at);
    }
    x.commit_copies();
    return true;
  }

  /// The same of what has to be worked out first.
  template <class X>
  GRAMSTEP_BODY void add_taken(const X& x, Shared& shared, const Span& part,
                               Products& products) const {
    Place place{part.first - 1, part.last, 0, 0};
    GRAMSTEP_UNROLL_BY(1)
    while (advance(x, place)) {
      GRAMSTEP_UNROLL_BY(4)  // of K = 64 all at once would not fit registers
      for (int r = 0; r < 2 * bands; ++r) {
        std::uint32_t words[4];
        source.take(a, shared.source, task(x, r), place.at, words);
        store(words, shared.staged[0][r][x.thread()]);
      }
      Turn words;
      load_staged(x, shared, 0, words);
      multiply(x, words, products);
    }
  }

  template <class X>
  GRAMSTEP_BODY static void load_staged(const X& x, const Shared& shared, int stage, Turn& words) {
    GRAMSTEP_UNROLL
    for (int r = 0; r < 2 * bands; ++r) load(shared.staged[stage][r][x.thread()], words[r]);
  }

  /// Goes on to the lane's next columns.
  template <class X>
  GRAMSTEP_BODY bool advance(const X& x, Place& ahead) const {
    ahead.left -= warps;
    ahead.at += warps * width;
    while (ahead.left <= 0) {
      if (ahead.chunk + 1 >= ahead.end) return false;
      const Chunk& chunk = a.work.chunks[++ahead.chunk];
      ahead.left = a.segments[chunk.segment].active ? full_turns(chunk) - x.warp() : 0;
      ahead.at = chunk.begin + x.warp() * width + first_column(x);
    }
    return true;
  }

  GRAMSTEP_BODY int full_turns(const Chunk& chunk) const {
    return a.aligned ? chunk.count / width : 0;
  }

  /// What is left over of chunks, or all of them where rows lie across 16 bytes.
  template <class X>
  GRAMSTEP_BODY void add_rests(const X& x, Shared& shared, const Span& part,
                               Products& products) const {
    GRAMSTEP_UNROLL_BY(1)
    for (int c = part.first; c < part.last; ++c) {
      const Chunk chunk = a.work.chunks[c];
      if (!a.segments[chunk.segment].active) {
        source.pass_over(x, a, chunk);
        continue;
      }
      GRAMSTEP_UNROLL_BY(1)
      for (int turn = full_turns(chunk) + x.warp(); turn * width < chunk.count; turn += warps) {
        const int first = turn * width + first_column(x);
        Turn words;
        take_singly(x, shared, chunk.begin + first, chunk.count - first, words);
        multiply(x, words, products);
      }
    }
  }

  /// A turn of which `available` elements of the lane's are there, zeros beyond.
  template <class X>
  GRAMSTEP_BODY void take_singly(const X& x, Shared& shared, std::int64_t at, int available,
                                 Turn& words) const {
    GRAMSTEP_UNROLL_BY(2)
    for (int r = 0; r < 2 * bands; ++r) {
      std::uint32_t row[4];
      GRAMSTEP_UNROLL
      for (int w = 0; w < 4; ++w) {
        const int e = w * Operand::in_word;
        row[w] = source.word(a, shared.source, task(x, r), at + e, available - e);
      }
      store(row, shared.staged[0][r][x.thread()]);
    }
    load_staged(x, shared, 0, words);
  }

  /// Adds a turn's products, each turn's rounded to nearest.
  template <class X>
  GRAMSTEP_BODY static void multiply(const X& x, const Turn& turn, Products& products) {
    Turn part[Operand::parts];
    GRAMSTEP_UNROLL
    for (int i = 0; i < bands; ++i) {
      GRAMSTEP_UNROLL
      for (int j = i; j < bands; ++j) {
        if (i == 0)
          take_parts(turn, j, part);  // not before: there are no registers for all of them
        GRAMSTEP_UNROLL
        for (int half = 0; half < 2; ++half) {
          float sums[4] = {};
          GRAMSTEP_UNROLL
          for (int p = Operand::parts - 1; p >= 0; --p) {  // the least products first
            GRAMSTEP_UNROLL
            for (int q = Operand::parts - 1 - p; q >= 0; --q) {
              multiply(x, part[p][2 * i], part[p][2 * i + 1], part[q][2 * j + half], sums);
            }
          }
          GRAMSTEP_UNROLL
          for (int c = 0; c < 4; ++c) products[pair_index(i, j, bands)][half][c] += sums[c];
        }
      }
    }
  }

  /// The parts of a band.
  GRAMSTEP_BODY static void take_parts(const Turn& turn, int band, Turn (&part)[Operand::parts]) {
    GRAMSTEP_UNROLL
    for (int r = 2 * band; r < 2 * band + 2; ++r) {
      GRAMSTEP_UNROLL
      for (int w = 0; w < 4; ++w) {
        GRAMSTEP_UNROLL
        for (int p = 0; p < Operand::parts; ++p) part[p][r][w] = Operand::part(p, turn[r][w]);
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
      x.template multiply_add<typename Operand::Multiplied>(
          sums, {upper[w], lower[w], upper[w + 1], lower[w + 1]}, {right[w], right[w + 1]});
    }
  }

  /// Adds to the span's partial, or begins it: of every product the warps' sums, in their order. A thread has two
  /// of each two tiles.
  template <class X>
  GRAMSTEP_BODY void write(const X& x, Shared& shared, Products& products, std::int64_t span,
                           bool begun) const {
    double* partial = a.partials + span * pairs_of(a.tasks);
    int i = 0, j = 0;
    GRAMSTEP_UNROLL_BY(1)
    for (int pair = 0; pair < pairs_of(bands); ++pair) {
      GRAMSTEP_UNROLL
      for (int half = 0; half < 2; ++half) {
        store(products[0][half], &shared.sums[x.warp()][128 * half + 4 * x.lane()]);
      }
      move_along(products);
      x.sync();
      for (int e = x.thread(); e < 2 * 16 * 8; e += x.threads()) {
        double sum = 0;
        for (int w = 0; w < warps; ++w) sum += static_cast<double>(shared.sums[w][e]);
        const int lane = e % 128 / 4, c = e % 4;
        const int k = 16 * i + lane / 4 + c / 2 * 8;
        const int l = 16 * j + e / 128 * 8 + lane % 4 * 2 + c % 2;
        if (k > l || l >= a.tasks) continue;
        double& entry = partial[pair_index(k, l, a.tasks)];
        entry = begun ? entry + sum : sum;
      }
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
