// The gram stage for K > 8, and for momenta of any K: rows staged through shared memory, 8x8 tiles of
// pairs in registers.
#pragma once

#include "kernels/gram.hpp"

namespace gramstep::kernels {

/// Four consecutive elements of which `count` exist, by one access where all do and `aligned` says
/// that they lie on 16 bytes; zeros for the others.
GRAMSTEP_BODY void load_some(const float* from, int count, bool aligned, float (&to)[4]) {
  if (aligned && count >= 4) return load(from, to);
  GRAMSTEP_UNROLL
  for (int l = 0; l < 4; ++l) to[l] = l < count ? from[l] : 0.0f;
}

/// The first `count` of four consecutive elements.
GRAMSTEP_BODY void store_some(const float (&from)[4], int count, bool aligned, float* to) {
  if (aligned && count >= 4) return store(from, to);
  GRAMSTEP_UNROLL
  for (int l = 0; l < 4; ++l) {
    if (l < count) to[l] = from[l];
  }
}

/// What is staged: the gradients themselves.
struct GradientSource {
  struct Shared {};
  struct Fetched {
    float g[4];
  };

  template <class X>
  GRAMSTEP_BODY void prepare(const X&, const GramArguments&, Shared&) const {}

  /// Starts to read what finish() is given.
  GRAMSTEP_BODY void fetch(const GramArguments& a, int k, std::int64_t at, int count,
                           Fetched& to) const {
    load_some(a.rows[k] + at, count, a.aligned, to.g);
  }

  GRAMSTEP_BODY void finish(const GramArguments&, const Shared&, int, std::int64_t, int,
                            const Fetched& from, float (&to)[4]) const {
    GRAMSTEP_UNROLL
    for (int l = 0; l < 4; ++l) to[l] = from.g[l];
  }

  template <class X>
  GRAMSTEP_BODY void pass_over(const X&, const GramArguments&, const Chunk&) const {}
};

/// What is staged: momenta, advanced as the gradients come in.
struct MomentumSource {
  OneOfT<Aggregator> aggregator;
  Losses losses;

  struct Shared {
    MomentumFactors factors;
  };
  struct Fetched {
    float g[4];
    float m[4];
  };

  template <class X>
  GRAMSTEP_BODY void prepare(const X& x, const GramArguments& a, Shared& shared) const {
    momentum_factors(x, aggregator, *a.momenta.state, losses, a.tasks, shared.factors);
    x.sync();
  }

  GRAMSTEP_BODY void fetch(const GramArguments& a, int k, std::int64_t at, int count,
                           Fetched& to) const {
    load_some(a.rows[k] + at, count, a.aligned, to.g);
    load_some(a.momenta.before(k, a.tasks) + at, count, a.aligned, to.m);
  }

  GRAMSTEP_BODY void finish(const GramArguments& a, const Shared& shared, int k, std::int64_t at,
                            int count, const Fetched& from, float (&to)[4]) const {
    const float keep = shared.factors.keep[k], take = shared.factors.take[k];
    GRAMSTEP_UNROLL
    for (int l = 0; l < 4; ++l) to[l] = advance_momentum(keep, from.m[l], take, from.g[l]);
    store_some(to, count, a.aligned, a.momenta.after(k, a.tasks) + at);
    GRAMSTEP_UNROLL
    for (int l = 0; l < 4; ++l) to[l] = l < count ? to[l] : 0.0f;
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

/// Up to Rows rows: 8, 16, 32 or 64. A block takes a span, `columns` at a time, and reads what comes
/// next into registers while it multiplies what is staged. A thread owns an 8x8 tile of the triangle
/// and every slices-th group of four columns: 16 shared reads of 16 bytes to 256 products, so that
/// shared memory keeps up with device memory to about K = 32.
template <class Source, int Rows>
struct GramTiledBody {
  using Fetch = typename Source::Fetched;
  static constexpr int tile = 8;
  static constexpr int tiles = pairs_of(Rows / tile);
  // Lanes that share a tile: neighbours, in one warp, and at least the 8 that read 128 bytes at once.
  static constexpr int slices = Rows <= 16 ? 32 : Rows == 32 ? 16 : 8;
  static constexpr int threads = tiles * slices;  // 32, 96, 160, 288
  // Staged at a time: 4 to 16 KiB, read ahead in no more registers than do not spill.
  static constexpr int columns = Rows <= 16 ? 128 : Rows == 32 || sizeof(Fetch) == 16 ? 64 : 32;
  static constexpr int vectors = columns / 4;
  // To overlap one block's reads with another's products; fewer registers than that would spill.
  static constexpr int blocks_per_sm = sizeof(Fetch) > 16 ? 1 : Rows <= 16 ? 4 : Rows == 32 ? 2 : 1;
  static constexpr int gram_block = 512;  // products between widenings of an fp32 sum
  // A thread stages the same four columns of every rows_apart-th row.
  static constexpr int rows_apart = threads / vectors;
  static_assert(threads % vectors == 0);
  static constexpr int slots = (Rows + rows_apart - 1) / rows_apart;
  GramArguments a;
  Source source;

  struct Shared {
    alignas(16) float staged[2][Rows][columns];
    HeadSums head_sums;
    typename Source::Shared source;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    source.prepare(x, a, shared.source);
    over_spans(x, a, shared.head_sums, [&](std::int64_t span) { shared_span(x, shared, span); });
  }

 private:
  using Products = float[tile][tile];
  using Fetched = Fetch[slots];

  /// Where in a span the staged columns begin: `available` of them, none at its end.
  struct Stage {
    int chunk;
    int first;  // column of the chunk
    std::int64_t at;
    int available;
  };

  /// Which pairs a thread multiplies: rows i.. with rows j..
  struct Share {
    int i, j, slice;
    bool first;   // of the lanes that share the tile
    bool exists;  // for K tasks
  };

  template <class X>
  GRAMSTEP_BODY Share share(const X& x) const {
    const int tile_rows = (a.tasks + tile - 1) / tile;
    const int index = x.thread() / slices, slice = x.thread() % slices;
    int i = 0, j = index;
    while (i < tile_rows && j >= tile_rows - i) j -= tile_rows - i++;
    return {i * tile, (i + j) * tile, slice, slice == 0, index < pairs_of(tile_rows)};
  }

  template <class X>
  GRAMSTEP_BODY void shared_span(const X& x, Shared& shared, std::int64_t span) const {
    const Share mine = share(x);
    double* partial = a.partials + span * pairs_of(a.tasks);
    Products products = {};
    Fetched fetched;
    bool begun = false;
    int terms = 0, buffer = 0;
    Stage stage = chunk_from(x, a.work.spans[span].first, span);
    fetch(x, stage, fetched);
    while (stage.available > 0) {
      put(x, shared, stage, fetched, shared.staged[buffer]);
      x.sync();  // and nobody reads the other buffer any more
      stage = next(x, stage, span);
      fetch(x, stage, fetched);
      if (mine.exists) multiply(shared.staged[buffer], mine, products);
      buffer = 1 - buffer;
      terms += 4 * (vectors / slices);
      if (terms == gram_block) {
        widen(x, mine, products, partial, begun);
        begun = true;
        terms = 0;
      }
    }
    widen(x, mine, products, partial, begun);
  }

  /// The first columns of the first active chunk of a span from `chunk` on.
  template <class X>
  GRAMSTEP_BODY Stage chunk_from(const X& x, int chunk, std::int64_t span) const {
    for (; chunk < a.work.spans[span].last; ++chunk) {
      const Chunk& here = a.work.chunks[chunk];
      if (a.segments[here.segment].active) return {chunk, 0, here.begin, here.count};
      source.pass_over(x, a, here);
    }
    return {chunk, 0, 0, 0};
  }

  /// The columns that follow.
  template <class X>
  GRAMSTEP_BODY Stage next(const X& x, const Stage& stage, std::int64_t span) const {
    if (stage.available <= columns) return chunk_from(x, stage.chunk + 1, span);
    return {stage.chunk, stage.first + columns, stage.at + columns, stage.available - columns};
  }

  template <class X>
  GRAMSTEP_BODY void fetch(const X& x, const Stage& stage, Fetched& to) const {
    const int c = x.thread() % vectors * 4, count = stage.available - c;
    if (count <= 0) return;
    GRAMSTEP_UNROLL
    for (int s = 0; s < slots; ++s) {
      const int k = x.thread() / vectors + s * rows_apart;
      if (k < a.tasks) source.fetch(a, k, stage.at + c, count, to[s]);
    }
  }

  /// Stages what was fetched; zeros beyond K rows and the columns that are available.
  template <class X>
  GRAMSTEP_BODY void put(const X& x, const Shared& shared, const Stage& stage, const Fetched& from,
                         float (&staged)[Rows][columns]) const {
    const int c = x.thread() % vectors * 4, count = stage.available - c;
    GRAMSTEP_UNROLL
    for (int s = 0; s < slots; ++s) {
      const int k = x.thread() / vectors + s * rows_apart;
      if (k >= Rows) continue;
      float four[4] = {};
      if (k < a.tasks && count > 0) source.finish(a, shared.source, k, stage.at + c, count, from[s], four);
      store(four, &staged[k][c]);
    }
  }

  GRAMSTEP_BODY void multiply(const float (&staged)[Rows][columns], const Share& mine,
                              Products& products) const {
    GRAMSTEP_UNROLL_BY(1)  // two turns at once do not fit the registers
    for (int c = 4 * mine.slice; c < columns; c += 4 * slices) {
      float left[tile][4];
      GRAMSTEP_UNROLL
      for (int i = 0; i < tile; ++i) load(&staged[mine.i + i][c], left[i]);
      GRAMSTEP_UNROLL
      for (int j = 0; j < tile; ++j) {
        float right[4];
        load(&staged[mine.j + j][c], right);
        GRAMSTEP_UNROLL
        for (int i = 0; i < tile; ++i) {
          GRAMSTEP_UNROLL
          for (int l = 0; l < 4; ++l) products[i][j] = fmaf(left[i][l], right[l], products[i][j]);
        }
      }
    }
  }

  /// Adds the slices of every product to the span's partial, or lets it begin with them; products = 0.
  template <class X>
  GRAMSTEP_BODY void widen(const X& x, const Share& mine, Products& products, double* partial,
                           bool begun) const {
    GRAMSTEP_UNROLL
    for (int i = 0; i < tile; ++i) {
      GRAMSTEP_UNROLL
      for (int j = 0; j < tile; ++j) {
        const double sum = x.template warp_sum<slices>(static_cast<double>(products[i][j]));
        products[i][j] = 0.0f;
        const int row = mine.i + i, column = mine.j + j;
        if (!mine.first || !mine.exists || row > column || column >= a.tasks) continue;
        double& entry = partial[pair_index(row, column, a.tasks)];
        entry = begun ? entry + sum : sum;
      }
    }
  }
};

/// Calls function(body) with the body for K = a.tasks.
template <class Source, class Function>
void with_tiled_body(const GramArguments& a, const Source& source, const Function& function) {
  if (a.tasks <= 8) return function(GramTiledBody<Source, 8>{a, source});
  if (a.tasks <= 16) return function(GramTiledBody<Source, 16>{a, source});
  if (a.tasks <= 32) return function(GramTiledBody<Source, 32>{a, source});
  function(GramTiledBody<Source, 64>{a, source});
}

/// Calls function(body) with the body for K = a.tasks and, where there are any, momenta.
template <class Function>
void with_gram_body(const GramArguments& a, const MomentumSource& momenta,
                    const Function& function) {
  if (a.momenta.rows != nullptr) return with_tiled_body(a, momenta, function);
  if (a.tasks == 1) return function(GramBody<1>{a});
  if (a.tasks == 2) return function(GramBody<2>{a});
  if (a.tasks <= 4) return function(GramBody<4>{a});
  if (a.tasks <= 8) return function(GramBody<8>{a});
  with_tiled_body(a, GradientSource{}, function);
}

}  // namespace gramstep::kernels
