// The gram stage's inner loop: tiles of pairs in registers over blocks of columns in L1.
//
// A block is `gram_block` columns of all K rows. Every pair of rows has gram_lanes sums; column c of a
// block goes to lane c % gram_lanes whatever the vector length. Multiply, then add: without an fma the
// bits are those of processors that have none, and where multiplication and addition have pipes of
// their own it is no slower.
#pragma once

#include <array>
#include <utility>

#include "host/cpu/leaves.hpp"
#include "host/cpu/vector.hpp"

namespace gramstep::host {
namespace {

constexpr int tile_side = GRAMSTEP_GRAM_TILE;

/// K rows of one block of columns.
struct Block {
  const float* rows[max_tasks];
  int tasks;
  int columns;  // a multiple of gram_lanes
};

/// Where a tile stands among the tiles of its block: every tile fetches its share of the
/// block after next.
struct Turn {
  int tile, tiles;
};

/// wide [vector_lanes] += sums
[[gnu::always_inline]] inline void widen(Vector sums, double* wide) {
  HalfVector halves[2];
  __builtin_memcpy(halves, &sums, sizeof sums);
  LooseWideVector* to = reinterpret_cast<LooseWideVector*>(wide);  // auto would drop the alignment
  to[0] += __builtin_convertvector(halves[0], WideVector);
  to[1] += __builtin_convertvector(halves[1], WideVector);
}

/// Most rows that a tile fetches: 4 of K = 4, which is one tile; 3 of K = 8, two of K = 16.
constexpr int rows_fetched = 4;

/// The products of rows i.. (I of them) with rows j.. (J of them); on the diagonal, where the rows are
/// the same, only pairs i <= j.
template <int I, int J, bool Diagonal>
void multiply_tile(const Block& block, int i, int j, Turn turn, double* lanes) {
  const float *left_rows[I], *right_rows[J], *next_rows[rows_fetched];
  for (int a = 0; a < I; ++a) left_rows[a] = block.rows[i + a];
  for (int b = 0; b < J; ++b) right_rows[b] = block.rows[j + b];
  // Rows tile, tile + tiles, ... of the block after next; the first again where there are fewer. One
  // tile alone walks its rows abreast, which the processor's own prefetchers follow better.
  const int ahead = turn.tiles > 1 ? 2 * gram_block : 0;
  for (int r = 0; r < rows_fetched; ++r) {
    const int row = turn.tile + r * turn.tiles;
    next_rows[r] = block.rows[row < block.tasks ? row : turn.tile % block.tasks] + ahead;
  }
  for (int part = 0; part < gram_lanes; part += vector_lanes) {
    Vector sums[I][J];
    GRAMSTEP_UNROLLED
    for (int a = 0; a < I; ++a) {
      GRAMSTEP_UNROLLED
      for (int b = 0; b < J; ++b) sums[a][b] = Vector{};
    }
    for (int c = part; c < block.columns; c += gram_lanes) {
      GRAMSTEP_UNROLLED
      for (int r = 0; r < rows_fetched; ++r) fetch(next_rows[r] + c);
      Vector left[I], right[J];
      GRAMSTEP_UNROLLED
      for (int a = 0; a < I; ++a) left[a] = load_vector(left_rows[a] + c);
      GRAMSTEP_UNROLLED
      for (int b = 0; b < J; ++b) right[b] = Diagonal ? left[b] : load_vector(right_rows[b] + c);
      GRAMSTEP_UNROLLED
      for (int a = 0; a < I; ++a) {
        GRAMSTEP_UNROLLED
        for (int b = Diagonal ? a : 0; b < J; ++b) sums[a][b] += left[a] * right[b];
      }
    }
    GRAMSTEP_UNROLLED
    for (int a = 0; a < I; ++a) {
      double* wide = lanes + kernels::pair_index(i + a, j, block.tasks) * gram_lanes + part;
      GRAMSTEP_UNROLLED
      for (int b = Diagonal ? a : 0; b < J; ++b) widen(sums[a][b], wide + b * gram_lanes);
    }
  }
}

using MultiplyTile = void (*)(const Block&, int, int, Turn, double*);

/// Tiles by height and width less one; `Diagonal` tiles are square.
template <bool Diagonal, std::size_t... Index>
constexpr auto tile_functions(std::index_sequence<Index...>) {
  return std::array<MultiplyTile, sizeof...(Index)>{
      multiply_tile<(Index / tile_side + 1),
                    (Diagonal ? Index / tile_side + 1 : Index % tile_side + 1), Diagonal>...};
}
constexpr auto tile_count = std::make_index_sequence<tile_side * tile_side>{};
constexpr auto square_tiles = tile_functions<false>(tile_count);
constexpr auto diagonal_tiles = tile_functions<true>(tile_count);

/// All pairs of one block, added to lanes [pairs, gram_lanes].
void multiply_block(const Block& block, double* lanes) {
  const int sides = (block.tasks + tile_side - 1) / tile_side;
  const int tiles = kernels::pairs_of(sides);
  int tile = 0;
  for (int i = 0; i < block.tasks; i += tile_side) {
    const int height = block.tasks - i < tile_side ? block.tasks - i : tile_side;
    for (int j = i; j < block.tasks; j += tile_side) {
      const int width = block.tasks - j < tile_side ? block.tasks - j : tile_side;
      const int which = (height - 1) * tile_side + (width - 1);
      (i == j ? diagonal_tiles : square_tiles)[static_cast<std::size_t>(which)](
          block, i, j, Turn{tile++, tiles}, lanes);
    }
  }
}

/// A chunk's columns that do not fill the lanes, copied and filled up with zeros.
void multiply_remainder(Block block, int count, double* lanes) {
  alignas(64) float staged[max_tasks][gram_lanes] = {};
  for (int k = 0; k < block.tasks; ++k) {
    for (int c = 0; c < count; ++c) staged[k][c] = block.rows[k][c];
    block.rows[k] = staged[k];
  }
  block.columns = gram_lanes;
  multiply_block(block, lanes);
}

/// to = keep * from + take * g
void advance_row(float keep, const float* __restrict from, float take, const float* __restrict g,
                 float* __restrict to, int count) {
  GRAMSTEP_INDEPENDENT
  for (int i = 0; i < count; ++i) {
    to[i] = kernels::advance_momentum(keep, from[i], take, g[i]);
  }
}

/// Brings the momenta of a chunk up to date: they are still in L2 when their products are taken. A
/// segment without gradient keeps its own.
void advance_momenta(const kernels::GramArguments& a, const kernels::MomentumFactors& factors,
                     const kernels::Chunk& chunk, bool active) {
  for (int k = 0; k < a.tasks; ++k) {
    const float* from = a.momenta.before(k, a.tasks) + chunk.begin;
    float* to = a.momenta.after(k, a.tasks) + chunk.begin;
    if (active) {
      advance_row(factors.keep[k], from, factors.take[k], a.rows[k] + chunk.begin, to, chunk.count);
    } else {
      __builtin_memcpy(to, from, static_cast<std::size_t>(chunk.count) * sizeof(float));
    }
  }
}

/// Adds a chunk's products; the rows begin at element `origin` of the flat buffer.
void multiply_chunk(const float* const* rows, int tasks, std::int64_t origin,
                    const kernels::Chunk& chunk, double* lanes) {
  const int even = chunk.count - chunk.count % gram_lanes;
  Block block{{}, tasks, 0};
  const auto point_at = [&](int column) {
    for (int k = 0; k < tasks; ++k) block.rows[k] = rows[k] + (chunk.begin - origin) + column;
  };
  for (int c = 0; c < even; c += gram_block) {
    point_at(c);
    block.columns = even - c < gram_block ? even - c : gram_block;
    multiply_block(block, lanes);
  }
  if (even == chunk.count) return;
  point_at(even);
  multiply_remainder(block, chunk.count - even, lanes);
}

/// The rows whose products are summed, where they begin in the flat buffer, and the factors of their
/// momenta or null.
struct Operands {
  const float* const* rows;
  int tasks;
  std::int64_t origin;
  const kernels::MomentumFactors* momentum;
};

/// The partial of one span: [pairs_of(tasks)] doubles.
void multiply_span(const kernels::GramArguments& a, std::int64_t span, const Operands& of,
                   double* lanes, double* partial) {
  const int pairs = kernels::pairs_of(of.tasks);
  for (int e = 0; e < pairs * gram_lanes; ++e) lanes[e] = 0.0;
  for (int c = a.work.spans[span].first; c < a.work.spans[span].last; ++c) {
    const kernels::Chunk& chunk = a.work.chunks[c];
    const bool active = a.segments[chunk.segment].active;
    if (of.momentum != nullptr) advance_momenta(a, *of.momentum, chunk, active);
    if (active) multiply_chunk(of.rows, of.tasks, of.origin, chunk, lanes);
  }
  for (int pair = 0; pair < pairs; ++pair) {
    double sum = 0;
    for (int l = 0; l < gram_lanes; ++l) sum += lanes[pair * gram_lanes + l];
    partial[pair] = sum;
  }
}

void gram_leaf(const kernels::GramArguments& a, const kernels::MomentumFactors* momentum,
               std::int64_t first, std::int64_t last, double* lanes) {
  const float* rows[max_tasks];
  for (int k = 0; k < a.tasks; ++k) {
    rows[k] = momentum != nullptr ? a.momenta.after(k, a.tasks) : a.rows[k];
  }
  const Operands shared{rows, a.tasks, 0, momentum},
      heads{&a.heads, 1, a.work.shared_size, nullptr};
  const int pairs = kernels::pairs_of(a.tasks);
  double* head_partials = a.partials + std::int64_t{a.work.shared_spans} * pairs;
  for (std::int64_t span = first; span < last; ++span) {
    if (span < a.work.shared_spans) {
      multiply_span(a, span, shared, lanes, a.partials + span * pairs);
    } else {
      multiply_span(a, span, heads, lanes, head_partials + (span - a.work.shared_spans));
    }
  }
}

}  // namespace
}  // namespace gramstep::host
