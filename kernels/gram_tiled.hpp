// The gram stage for K > 8 rows of fp32, and for momenta of any K: rows staged through shared memory, 8x4 tiles
// of pairs in registers.
#pragma once

#include "kernels/gram.hpp"

namespace gramstep::kernels {

/// What is staged: the gradients themselves.
struct GradientSource {
  using Type = Float32;

  struct Shared {};

  template <class X>
  GRAMSTEP_BODY void prepare(const X&, const GramArguments&, Shared&) const {}

  /// Has Width elements of row k from `at` on copied to `to`, by X's next wait_for_copies.
  template <int Width, class X>
  GRAMSTEP_BODY void stage(const X& x, const GramArguments& a, const Shared&, int k,
                           std::int64_t at, float* to) const {
    const float* from = static_cast<const float*>(a.rows[k]) + at;
    if constexpr (Width == 4) {
      x.copy_async(to, from);
    } else {
      *to = *from;
    }
  }

  template <class X>
  GRAMSTEP_BODY void pass_over(const X&, const GramArguments&, const Chunk&) const {}
};

/// What is staged: momenta, advanced as the gradients come in.
template <class GradientType>
struct MomentumSource {
  using Type = GradientType;
  OneOfT<Aggregator> aggregator;
  Losses losses;

  struct Shared {
    MomentumFactors factors;
  };

  template <class X>
  GRAMSTEP_BODY void prepare(const X& x, const GramArguments& a, Shared& shared) const {
    momentum_factors(x, aggregator, a.momenta, losses, a.tasks, shared.factors);
    x.sync();
  }

  template <int Width, class X>
  GRAMSTEP_BODY void stage(const X&, const GramArguments& a, const Shared& shared, int k,
                           std::int64_t at, float* to) const {
    float g[Width], m[Width];
    load(Type(a.row_type), a.rows[k], at, g);
    load(a.momenta.before(k, a.tasks) + at, m);
    GRAMSTEP_UNROLL
    for (int l = 0; l < Width; ++l) {
      m[l] = advance_momentum(shared.factors.keep[k], m[l], shared.factors.take[k], g[l]);
    }
    store(m, a.momenta.after(k, a.tasks) + at);
    store(m, to);
  }

  /// A segment without gradient keeps its momenta.
  template <class X>
  GRAMSTEP_BODY void pass_over(const X& x, const GramArguments& a, const Chunk& chunk) const {
    for (int k = 0; k < a.tasks; ++k) {
      const float* from = a.momenta.before(k, a.tasks) + chunk.begin;
      float* to = a.momenta.after(k, a.tasks) + chunk.begin;
      for (int i = x.thread(); i < chunk.count; i += x.threads()) to[i] = from[i];
    }
  }
};

/// Up to Rows rows: 8, 16, 32 or 64. A block takes a span, `columns` at a time, and has those that come
/// next copied to shared memory while it multiplies what is there. A thread owns a tile of the triangle,
/// 8 rows by 4, and every slices-th group of four columns: 12 shared reads of 16 bytes to 128 products.
template <class Source, int Rows>
struct GramTiledBody {
  static constexpr int high = 8, wide = 4;
  static constexpr int tiles = Rows / high * (Rows / high + 1);
  // Lanes that share a tile: neighbours, in one warp, 8 of which read 128 bytes at once; or 4, whose
  // neighbours mostly read the same rows on the left.
  static constexpr int slices = Rows == 8 ? 32 : Rows == 16 ? 16 : Rows == 32 ? 8 : 4;
  static constexpr int threads = tiles * slices;  // 64, 96, 160, 288
  static constexpr int columns = 2048 / Rows;     // staged at a time: 8 KiB
  static constexpr int depth = 4;                 // stages, all but one on their way
  static constexpr int vectors = columns / 4;
  // A thread stages the same four columns of every rows_apart-th row.
  static constexpr int rows_apart = threads / vectors;
  static constexpr int slots = (Rows + rows_apart - 1) / rows_apart;
  static constexpr int gram_block = 512;              // products between widenings of an fp32 sum
  static constexpr int terms = vectors / slices * 4;  // of a stage in a thread's every product
  static_assert(threads % vectors == 0 && vectors % slices == 0 && gram_block % terms == 0);
  GramArguments a;
  Source source;

  struct Shared {
    alignas(16) float staged[depth][Rows][columns];
    HeadSums head_sums;
    typename Source::Shared source;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    source.prepare(x, a, shared.source);
    over_spans<typename Source::Type>(x, a, shared.head_sums,
                                      [&](std::int64_t span) { shared_span(x, shared, span); });
  }

 private:
  using Products = float[high][wide];

  /// Where staged columns begin: `available` of them to the chunk's end, none beyond the span.
  struct Stage {
    int chunk;
    std::int64_t at;
    int available;
  };

  /// Which pairs a thread multiplies: rows i.. with rows j..
  struct Share {
    int i, j;
    bool exists;  // for K tasks
  };

  template <class X>
  GRAMSTEP_BODY Share share(const X& x) const {
    const int tile_rows = (a.tasks + high - 1) / high;
    const int index = x.thread() / slices;
    int i = 0, j = index;  // tiles on the diagonal and to its right, row by row
    while (i < tile_rows && j >= high / wide * (tile_rows - i)) {
      j -= high / wide * (tile_rows - i++);
    }
    return {i * high, i * high + j * wide, i < tile_rows};
  }

  template <class X>
  GRAMSTEP_BODY void shared_span(const X& x, Shared& shared, std::int64_t span) const {
    const Share mine = share(x);
    Products products = {};
    Stage ahead = chunk_from(x, a.work.spans[span].first, span);
    int filled = 0;
    for (int s = 0; s < depth - 1; ++s) filled += fill(x, shared, filled, span, ahead);
    for (int stage = 0; stage < filled; ++stage) {
      x.template wait_for_copies<depth - 2>();
      x.sync();  // everybody's copies are there, and nobody reads what is filled next
      filled += fill(x, shared, filled, span, ahead);
      if (mine.exists) multiply(x, shared.staged[stage % depth], mine, products);
      const bool full = (stage + 1) % (gram_block / terms) == 0;
      if (full) widen(x, mine, products, span, stage + 1 > gram_block / terms);
    }
    widen(x, mine, products, span, filled >= gram_block / terms);
  }

  /// The first columns of the first active chunk of a span from `chunk` on.
  template <class X>
  GRAMSTEP_BODY Stage chunk_from(const X& x, int chunk, std::int64_t span) const {
    for (; chunk < a.work.spans[span].last; ++chunk) {
      const Chunk& here = a.work.chunks[chunk];
      if (a.segments[here.segment].active) return {chunk, here.begin, here.count};
      source.pass_over(x, a, here);
    }
    return {chunk, 0, 0};
  }

  /// Starts to fill a stage, the filled-th of the span, with the columns ahead, zeros beyond K rows and
  /// what is available, and goes on to the next ones. 1, or 0 where no columns are left.
  template <class X>
  GRAMSTEP_BODY int fill(const X& x, Shared& shared, int filled, std::int64_t span,
                         Stage& ahead) const {
    const bool any = ahead.available > 0;
    if (any) {
      put(x, shared, ahead, shared.staged[filled % depth]);
      ahead = ahead.available > columns
                  ? Stage{ahead.chunk, ahead.at + columns, ahead.available - columns}
                  : chunk_from(x, ahead.chunk + 1, span);
    }
    x.commit_copies();  // of nothing too: waiting counts commits
    return any ? 1 : 0;
  }

  template <class X>
  GRAMSTEP_BODY void put(const X& x, const Shared& shared, const Stage& ahead,
                         float (&staged)[Rows][columns]) const {
    const int c = x.thread() % vectors * 4, available = ahead.available - c;
    const bool whole = a.aligned && available >= 4;
    GRAMSTEP_UNROLL
    for (int s = 0; s < slots; ++s) {
      const int k = x.thread() / vectors + s * rows_apart;
      if (k >= Rows) continue;
      float* to = &staged[k][c];
      if (whole && k < a.tasks) {
        source.template stage<4>(x, a, shared.source, k, ahead.at + c, to);
      } else {
        put_singly(x, shared, k, ahead.at + c, k < a.tasks ? available : 0, to);
      }
    }
  }

  template <class X>
  GRAMSTEP_BODY void put_singly(const X& x, const Shared& shared, int k, std::int64_t at,
                                int available, float* to) const {
    GRAMSTEP_UNROLL_BY(1)  // seldom taken: let it take few registers
    for (int l = 0; l < 4; ++l) {
      if (l < available) {
        source.template stage<1>(x, a, shared.source, k, at + l, to + l);
      } else {
        to[l] = 0.0f;
      }
    }
  }

  template <class X>
  GRAMSTEP_BODY void multiply(const X& x, const float (&staged)[Rows][columns], const Share& mine,
                              Products& products) const {
    GRAMSTEP_UNROLL_BY(1)
    for (int c = x.thread() % slices * 4; c < columns; c += 4 * slices) {
      float right[wide][4];
      GRAMSTEP_UNROLL
      for (int j = 0; j < wide; ++j) load(&staged[mine.j + j][c], right[j]);
      GRAMSTEP_UNROLL
      for (int i = 0; i < high; ++i) {
        float left[4];
        load(&staged[mine.i + i][c], left);
        GRAMSTEP_UNROLL
        for (int j = 0; j < wide; ++j) {
          GRAMSTEP_UNROLL
          for (int l = 0; l < 4; ++l) products[i][j] = fmaf(left[l], right[j][l], products[i][j]);
        }
      }
    }
  }

  /// Adds the slices of every product to the span's partial, or lets it begin with them; products = 0.
  template <class X>
  GRAMSTEP_BODY void widen(const X& x, const Share& mine, Products& products, std::int64_t span,
                           bool begun) const {
    double* partial = a.partials + span * pairs_of(a.tasks);
    GRAMSTEP_UNROLL
    for (int i = 0; i < high; ++i) {
      GRAMSTEP_UNROLL
      for (int j = 0; j < wide; ++j) {
        const double sum = x.template warp_sum<slices>(static_cast<double>(products[i][j]));
        products[i][j] = 0.0f;
        const int row = mine.i + i, column = mine.j + j;
        const bool writes = x.thread() % slices == 0 && mine.exists;
        if (!writes || row > column || column >= a.tasks) continue;
        double& entry = partial[pair_index(row, column, a.tasks)];
        entry = begun ? entry + sum : sum;
      }
    }
  }
};

}  // namespace gramstep::kernels
