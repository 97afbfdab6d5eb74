// The gram stage for K > 8: on tensor cores, 16 rows by 8 at a time, or its arithmetic would take longer than
// memory.
//
// Traffic: every element of every row is read once, 4 K bytes a parameter or 2 K. A warp has 128 bytes of
// every row copied to shared memory at a time, eight lanes a row: with 64 an H100's memory gave two thirds of
// what it gives. Warps do not wait for each other, and 32 KiB a block are on their way.
//
// Accuracy, in units of 2^-24 sum |a b|. Products of 16 bits are exact. Of fp32 a tensor core takes 11 bits, so
// that an element is two numbers, the nearest of 11 bits and what is left, of which it takes 11 again, cut off:
// 2^-21 |a|. Three products of these leave out the fourth, 2^-22 |a b|: 20 units. A multiply_add takes its
// products, eight or 16 of them, half of them or all at once, with the sum so far, cuts each off 24 bits below
// the greatest, and the result again (Fasi et al. 2021): 40 units at most. Two of whole products make the sums of
// half a turn, which begin at 0: 80 units; those of the parts that are left count for nothing beside. At most
// 512 of these are added in fp32, rounded to nearest. In all 612 units; after that all is double.
#pragma once

#include "kernels/gram_source.hpp"

namespace gramstep::kernels {

/// Up to Rows rows: 16, 32 or 64. A block takes a span, each of its warps columns of its own, 32 a turn or, of 16
/// bits, 64. Of half of them a lane takes 16 bytes of one row in every eight, which are its part of a matrix of
/// 16 rows on the left, and as they are of one of eight on the right: which of a row's columns stand where makes
/// no difference to products as long as it is the same on both sides.
template <class Source, int Rows>
struct GramTensorBody {
  using Operand = typename Source::Operand;
  static constexpr int bands = Rows / 16;  // of 16 rows, twice eight
  static constexpr int warps =
      bands == 4 ? 2 : 4;  // what they copy to is 32 KiB, two turns at least
  static constexpr int threads = 32 * warps;
  static constexpr int width = 32 * Operand::in_word;  // columns of a turn
  static constexpr int depth = 256 / (warps * Rows);   // turns on their way
  // Chunks whose half turns are added in fp32.
  static constexpr int piece = 2 * warps;
  static constexpr int most_sums = piece * chunk_elements / (warps * width / 2);
  static_assert(most_sums <= 512, "what is said of accuracy");
  GramArguments a;
  Source source;

  /// A warp's columns of a turn.
  using Stage = std::uint32_t[Rows][32];

  struct Shared {
    alignas(16) Stage staged[warps][depth];
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
  /// A lane's words of two rows of a band, half a turn of them, in the parts that are multiplied.
  using Band = std::uint32_t[Operand::parts][2][4];

  /// Where the lane's part of the warp's next columns begins, in the chunks before `end`; so many turns are
  /// left of the chunk from there on.
  struct Place {
    int chunk, end;
    int left;
    std::int64_t at;
  };

  template <class X>
  GRAMSTEP_BODY void shared_span(const X& x, Shared& shared, std::int64_t span) const {
    const Span whole = a.work.spans[span];
    GRAMSTEP_UNROLL_BY(1)
    for (int first = whole.first; first < whole.last; first += piece) {
      const Span part{first, first + piece < whole.last ? first + piece : whole.last};
      Products products = {};
      add_turns(x, shared, part, products);
      add_rests(x, shared, part, products);
      write(x, shared, products, span, first > whole.first);
    }
  }

  /// What lies in full turns, fetched while others are multiplied.
  template <class X>
  GRAMSTEP_BODY void add_turns(const X& x, Shared& shared, const Span& part,
                               Products& products) const {
    Place ahead{part.first - 1, part.last, 0, 0};
    int filled = 0;
    GRAMSTEP_UNROLL_BY(1)
    while (filled < depth && fill(x, shared, filled, ahead)) ++filled;
    for (int s = filled; s < depth; ++s) x.commit_copies();  // of nothing: waiting counts commits
    GRAMSTEP_UNROLL_BY(1)
    for (int turn = 0; turn < filled; ++turn) {
      x.template wait_for_copies<depth - 1>();
      x.warp_sync();
      add_turn(x, shared.staged[x.warp()][turn % depth], products);
      x.warp_sync();
      if (fill(x, shared, filled, ahead)) {
        ++filled;
      } else {
        x.commit_copies();
      }
    }
  }

  /// Fetches the warp's next turn, the filled-th, of the active chunks ahead. False where there is none.
  template <class X>
  GRAMSTEP_BODY bool fill(const X& x, Shared& shared, int filled, Place& ahead) const {
    if (!advance(x, ahead)) return false;
    Stage& stage = shared.staged[x.warp()][filled % depth];
    GRAMSTEP_UNROLL_BY(Source::fetched_at_once)
    for (int r = 0; r < Rows / 4; ++r) {
      const int k = 4 * r + x.lane() / 8;
      source.fetch(x, a, shared.source, k, ahead.at, slot(stage, k, x.lane() % 8));
    }
    x.commit_copies();
    return true;
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
      ahead.at = chunk.begin + x.warp() * width + x.lane() % 8 * (width / 8);
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
    Stage& stage = shared.staged[x.warp()][0];
    GRAMSTEP_UNROLL_BY(1)
    for (int c = part.first; c < part.last; ++c) {
      const Chunk chunk = a.work.chunks[c];
      if (!a.segments[chunk.segment].active) {
        source.pass_over(x, a, chunk);
        continue;
      }
      GRAMSTEP_UNROLL_BY(1)
      for (int turn = full_turns(chunk) + x.warp(); turn * width < chunk.count; turn += warps) {
        const int first = turn * width + x.lane() % 8 * (width / 8);
        fill_singly(x, shared, stage, chunk.begin + first, chunk.count - first);
        x.warp_sync();
        add_turn(x, stage, products);
        x.warp_sync();
      }
    }
  }

  /// A turn of which `available` elements are there from the lane's first on, zeros beyond.
  template <class X>
  GRAMSTEP_BODY void fill_singly(const X& x, const Shared& shared, Stage& stage, std::int64_t at,
                                 int available) const {
    GRAMSTEP_UNROLL_BY(2)
    for (int r = 0; r < Rows / 4; ++r) {
      const int k = 4 * r + x.lane() / 8;
      std::uint32_t words[4];
      GRAMSTEP_UNROLL
      for (int w = 0; w < 4; ++w) {
        const int e = w * Operand::in_word;
        words[w] = source.word(a, shared.source, k, at + e, available - e);
      }
      store(words, slot(stage, k, x.lane() % 8));
    }
  }

  /// Where one of the eight parts of a row's 128 bytes is: of odd rows the halves stand exchanged, or lanes that
  /// read two rows would meet in the same banks.
  GRAMSTEP_BODY static std::uint32_t* slot(Stage& stage, int row, int part) {
    return stage[row] + 4 * (part ^ (row & 1) << 2);
  }

  /// Adds the products of a turn's halves, each rounded to nearest.
  template <class X>
  GRAMSTEP_BODY static void add_turn(const X& x, Stage& stage, Products& products) {
    GRAMSTEP_UNROLL_BY(1)
    for (int half = 0; half < 2; ++half) {
      GRAMSTEP_UNROLL
      for (int i = 0; i < bands; ++i) {
        Band left;
        load_band(x, stage, i, half, left);
        GRAMSTEP_UNROLL
        for (int j = i; j < bands; ++j) {
          // Read pair by pair, which compilers do only for a barrier: all bands would not fit registers.
          x.warp_sync();
          Band right;
          load_band(x, stage, j, half, right);
          add_pair(x, left, right, products[pair_index(i, j, bands)]);
        }
      }
    }
  }

  template <class X>
  GRAMSTEP_BODY static void load_band(const X& x, Stage& stage, int band, int half, Band& parts) {
    GRAMSTEP_UNROLL
    for (int r = 0; r < 2; ++r) {
      std::uint32_t words[4];
      load(slot(stage, 16 * band + 8 * r + x.lane() / 4, 4 * half + x.lane() % 4), words);
      GRAMSTEP_UNROLL
      for (int w = 0; w < 4; ++w) {
        GRAMSTEP_UNROLL
        for (int p = 0; p < Operand::parts; ++p) parts[p][r][w] = Operand::part(p, words[w]);
      }
    }
  }

  template <class X>
  GRAMSTEP_BODY static void add_pair(const X& x, const Band& left, const Band& right,
                                     float (&products)[2][4]) {
    GRAMSTEP_UNROLL
    for (int r = 0; r < 2; ++r) {
      float sums[4] = {};
      GRAMSTEP_UNROLL
      for (int p = Operand::parts - 1; p >= 0; --p) {  // the least products first
        GRAMSTEP_UNROLL
        for (int q = Operand::parts - 1 - p; q >= 0; --q) {
          multiply(x, left[p][0], left[p][1], right[q][r], sums);
        }
      }
      GRAMSTEP_UNROLL
      for (int c = 0; c < 4; ++c) products[r][c] += sums[c];
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
