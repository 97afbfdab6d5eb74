// The gram stage for K > 8, and for momenta of any K: rows staged through shared memory, 4x4 tiles of
// pairs in registers.
#pragma once

#include "kernels/gram.hpp"

namespace gramstep::kernels {

/// What is staged: the gradients themselves.
struct GradientSource {
  struct Shared {};

  template <class X>
  GRAMSTEP_BODY void prepare(const X&, const GramArguments&, Shared&) const {}

  template <int Width>
  GRAMSTEP_BODY void read(const GramArguments& a, const Shared&, int k, std::int64_t at,
                          float (&to)[Width]) const {
    load(a.rows[k] + at, to);
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

  template <class X>
  GRAMSTEP_BODY void prepare(const X& x, const GramArguments& a, Shared& shared) const {
    momentum_factors(x, aggregator, *a.momenta.state, losses, a.tasks, shared.factors);
    x.sync();
  }

  template <int Width>
  GRAMSTEP_BODY void read(const GramArguments& a, const Shared& shared, int k, std::int64_t at,
                          float (&to)[Width]) const {
    float g[Width];
    load(a.rows[k] + at, g);
    load(a.momenta.before(k, a.tasks) + at, to);
    GRAMSTEP_UNROLL
    for (int l = 0; l < Width; ++l) {
      to[l] = advance_momentum(shared.factors.keep[k], to[l], shared.factors.take[k], g[l]);
    }
    store(to, a.momenta.after(k, a.tasks) + at);
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

/// A block takes a span, 64 columns at a time; each thread owns one tile of the triangle and every
/// slices-th column. fp32 sums cover at most gram_block columns before they are widened.
template <class Source>
struct GramTiledBody {
  static constexpr int threads = gram_threads;
  static constexpr int tile = 4;
  static constexpr int columns = 64;      // staged at a time
  static constexpr int gram_block = 512;  // columns between widenings
  static constexpr int max_tiles = pairs_of(max_tasks / tile);
  GramArguments a;
  Source source;

  struct Shared {
    // Columns are apart by an odd multiple of 4 banks: 128-bit loads stay aligned, and the warp that
    // stages 8 rows of 4 vectors hits a bank twice at most.
    alignas(16) float staged[columns][max_tasks + 4];
    double sums[max_tiles][tile * tile];
    HeadSums head_sums;
    typename Source::Shared source;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    source.prepare(x, a, shared.source);
    over_spans(x, a, shared.head_sums, [&](std::int64_t span) { shared_span(x, shared, span); });
  }

 private:
  /// What a thread computes: a tile of pairs, rows i.. against rows j.., over a slice of the columns.
  struct Share {
    int tile_index, i, j, slice, slices;
  };

  template <class X>
  GRAMSTEP_BODY Share share(const X& x) const {
    const int tile_rows = (a.tasks + tile - 1) / tile;
    const int tiles = pairs_of(tile_rows);
    const int slices = x.threads() / tiles;
    const int tile_index = x.thread() % tiles;
    int i = 0, j = tile_index;
    while (j >= tile_rows - i) j -= tile_rows - i++;
    return {tile_index, i * tile, (i + j) * tile, x.thread() / tiles, slices};
  }

  template <class X>
  GRAMSTEP_BODY void shared_span(const X& x, Shared& shared, std::int64_t span) const {
    const Share mine = share(x);
    double sums[tile * tile] = {};
    for (int c = a.work.spans[span].first; c < a.work.spans[span].last; ++c) {
      const Chunk chunk = a.work.chunks[c];
      if (!a.segments[chunk.segment].active) {
        source.pass_over(x, a, chunk);
        continue;
      }
      for (int block = 0; block < chunk.count; block += gram_block) {
        const int end = block + gram_block < chunk.count ? block + gram_block : chunk.count;
        float block_products[tile * tile] = {};
        for (int first = block; first < end; first += columns) {
          stage(x, shared, chunk.begin + first, end - first);
          x.sync();
          multiply(shared, mine, block_products);
          x.sync();
        }
        GRAMSTEP_UNROLL
        for (int e = 0; e < tile * tile; ++e) sums[e] += static_cast<double>(block_products[e]);
      }
    }
    add_slices(x, shared, mine, sums);
    write_partial(x, shared, span);
  }

  /// Stages columns [at, at + columns) of all rows, zeros beyond `available` columns and K rows.
  template <class X>
  GRAMSTEP_BODY void stage(const X& x, Shared& shared, std::int64_t at, int available) const {
    constexpr int patch_rows = 8, patch_vectors = 4, patches = columns / 4 / patch_vectors;
    const int staged_rows = (a.tasks + patch_rows - 1) / patch_rows * patch_rows;
    for (int e = x.thread(); e < staged_rows * columns / 4; e += x.threads()) {
      const int patch = e / 32, k = patch / patches * patch_rows + e % patch_rows;
      const int c = (patch % patches * patch_vectors + e % 32 / patch_rows) * 4;
      float four[4] = {};
      if (k < a.tasks) {
        if (a.aligned && c + 4 <= available) {
          source.read(a, shared.source, k, at + c, four);
        } else {
          GRAMSTEP_UNROLL
          for (int l = 0; l < 4; ++l) {
            float one[1] = {};
            if (c + l < available) source.read(a, shared.source, k, at + c + l, one);
            four[l] = one[0];
          }
        }
      }
      GRAMSTEP_UNROLL
      for (int l = 0; l < 4; ++l) shared.staged[c + l][k] = four[l];
    }
  }

  GRAMSTEP_BODY void multiply(const Shared& shared, const Share& mine,
                              float (&products)[tile * tile]) const {
    for (int c = mine.slice; c < columns && mine.slice < mine.slices; c += mine.slices) {
      float left[tile], right[tile];
      load(&shared.staged[c][mine.i], left);
      load(&shared.staged[c][mine.j], right);
      GRAMSTEP_UNROLL
      for (int e = 0; e < tile * tile; ++e) {
        products[e] = fmaf(left[e / tile], right[e % tile], products[e]);
      }
    }
  }

  /// Adds up the slices of every tile in their order.
  template <class X>
  GRAMSTEP_BODY void add_slices(const X& x, Shared& shared, const Share& mine,
                                const double (&sums)[tile * tile]) const {
    for (int slice = 0; slice < mine.slices; ++slice) {
      if (slice == mine.slice) {
        GRAMSTEP_UNROLL
        for (int e = 0; e < tile * tile; ++e) {
          double& sum = shared.sums[mine.tile_index][e];
          sum = slice == 0 ? sums[e] : sum + sums[e];
        }
      }
      x.sync();
    }
  }

  template <class X>
  GRAMSTEP_BODY void write_partial(const X& x, const Shared& shared, std::int64_t span) const {
    const int tile_rows = (a.tasks + tile - 1) / tile;
    double* partial = a.partials + span * pairs_of(a.tasks);
    for (int e = x.thread(); e < a.tasks * a.tasks; e += x.threads()) {
      const int i = e / a.tasks, j = e % a.tasks;
      if (i > j) continue;
      const int at = pair_index(i / tile, j / tile, tile_rows);
      partial[pair_index(i, j, a.tasks)] = shared.sums[at][i % tile * tile + j % tile];
    }
  }
};

}  // namespace gramstep::kernels
