// The gram stage's inner loop: tiles of pairs in registers over blocks of columns in L1.
//
// A block is `tile_columns` columns of all K rows. Every pair of rows has gram_lanes sums in fp32, which
// are widened after gram_block columns; column c goes to lane c % gram_lanes whatever the vector length.
// Products are added by fma: half the instructions, which are the limit at K >= 16, not memory.
// Processors without one work out the same bits, see fused.hpp.
#pragma once

#include <array>
#include <utility>

#include "host/cpu/fused.hpp"
#include "host/cpu/widen.hpp"

namespace gramstep::host {
namespace {

constexpr int tile_side = GRAMSTEP_GRAM_TILE;

/// Columns that all tiles are taken of in turn: K = 32 rows of them fit in a core's L1. Of reading the
/// rows once, on one Sapphire Rapids core of two: 0.92 at K = 16 and 0.61 at 32; 512 columns 0.85 and
/// 0.59, 128 columns 0.87 and 0.50.
constexpr int tile_columns = 256;
/// How far ahead rows are fetched. Twice as far: 0.87 and 0.62.
constexpr int columns_ahead = tile_columns;

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

/// Most rows that a tile fetches: 4 of K = 4, which is one tile; 3 of K = 8, two of K = 16.
constexpr int rows_fetched = 4;

/// The products of rows i.. (I of them) with rows j.. (J of them); on the diagonal, where the rows are
/// the same, only pairs i <= j.
template <int I, int J, bool Diagonal>
void multiply_tile(const Block& block, int i, int j, Turn turn, float* lanes) {
  const float *left_rows[I], *right_rows[J], *next_rows[rows_fetched];
  for (int a = 0; a < I; ++a) left_rows[a] = block.rows[i + a];
  for (int b = 0; b < J; ++b) right_rows[b] = block.rows[j + b];
  // Rows tile, tile + tiles, ... of the block after next; the first again where there are fewer. One
  // tile alone walks its rows abreast, which the processor's own prefetchers follow better.
  const int ahead = turn.tiles > 1 ? columns_ahead : 0;
  for (int r = 0; r < rows_fetched; ++r) {
    const int row = turn.tile + r * turn.tiles;
    next_rows[r] = block.rows[row < block.tasks ? row : turn.tile % block.tasks] + ahead;
  }
  const auto sums_of = [&](int a, int b) {
    return lanes + (kernels::pair_index(i + a, j, block.tasks) + b) * gram_lanes;
  };
  for (int part = 0; part < gram_lanes; part += vector_lanes) {
    Vector sums[I][J];
    GRAMSTEP_UNROLLED
    for (int a = 0; a < I; ++a) {
      GRAMSTEP_UNROLLED
      for (int b = Diagonal ? a : 0; b < J; ++b) sums[a][b] = load_vector(sums_of(a, b) + part);
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
        for (int b = Diagonal ? a : 0; b < J; ++b)
          sums[a][b] = multiply_add(left[a], right[b], sums[a][b]);
      }
    }
    GRAMSTEP_UNROLLED
    for (int a = 0; a < I; ++a) {
      GRAMSTEP_UNROLLED
      for (int b = Diagonal ? a : 0; b < J; ++b) store_vector(sums[a][b], sums_of(a, b) + part);
    }
  }
}

using MultiplyTile = void (*)(const Block&, int, int, Turn, float*);

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
void multiply_block(const Block& block, float* lanes) {
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
void multiply_remainder(Block block, int count, float* lanes) {
  alignas(64) float staged[max_tasks][gram_lanes] = {};
  for (int k = 0; k < block.tasks; ++k) {
    for (int c = 0; c < count; ++c) staged[k][c] = block.rows[k][c];
    block.rows[k] = staged[k];
  }
  block.columns = gram_lanes;
  multiply_block(block, lanes);
}

/// lanes += sums, which are 0 again; both [pairs, gram_lanes].
void widen(float* __restrict sums, double* __restrict lanes, int count) {
  GRAMSTEP_INDEPENDENT
  for (int e = 0; e < count; ++e) {
    lanes[e] += static_cast<double>(sums[e]);
    sums[e] = 0;
  }
}

/// Columns of K rows in fp32: in place, or copies. Skewed, so that no two rows' begin in the same sets of a
/// cache.
struct StagedColumns {
  alignas(64) float room[max_tasks][tile_columns + gram_lanes];

  /// Makes `count` columns from `at` on the block's.
  void stage(DType dtype, const void* const* rows, std::int64_t at, int count, Block& block) {
    for (int k = 0; k < block.tasks; ++k) {
      if (dtype == DType::float32) {
        block.rows[k] = static_cast<const float*>(rows[k]) + at;
      } else {
        prefetch_run(dtype, element_at(dtype, rows[k], at + columns_ahead));
        widen_run(dtype, rows[k], at, count, room[k]);
        block.rows[k] = room[k];
      }
    }
  }
};

/// Adds a chunk's products; the rows begin at element `origin` of the flat buffer.
void multiply_chunk(DType dtype, const void* const* rows, int tasks, std::int64_t origin,
                    const kernels::Chunk& chunk, const GramSums& sums) {
  const int even = chunk.count - chunk.count % gram_lanes;
  const int entries = kernels::pairs_of(tasks) * gram_lanes;
  Block block{{}, tasks, 0};
  StagedColumns staged;
  for (int c = 0; c < even; c += tile_columns) {
    block.columns = even - c < tile_columns ? even - c : tile_columns;
    staged.stage(dtype, rows, chunk.begin - origin + c, block.columns, block);
    multiply_block(block, sums.fp32);
    if ((c + tile_columns) % gram_block == 0) widen(sums.fp32, sums.lanes, entries);
  }
  if (even != chunk.count) {
    staged.stage(dtype, rows, chunk.begin - origin + even, chunk.count - even, block);
    multiply_remainder(block, chunk.count - even, sums.fp32);
  }
  if (chunk.count % gram_block != 0) widen(sums.fp32, sums.lanes, entries);
}

/// The partial of one span: [pairs_of(tasks)] doubles.
void multiply_span(const kernels::GramArguments& a, std::int64_t span, DType dtype,
                   const void* const* rows, int tasks, std::int64_t origin, const GramSums& sums,
                   double* partial) {
  const int pairs = kernels::pairs_of(tasks);
  for (int e = 0; e < pairs * gram_lanes; ++e) {
    sums.lanes[e] = 0.0;
    sums.fp32[e] = 0.0f;
  }
  for (int c = a.work.spans[span].first; c < a.work.spans[span].last; ++c) {
    const kernels::Chunk& chunk = a.work.chunks[c];
    if (!a.segments[chunk.segment].active) continue;
    multiply_chunk(dtype, rows, tasks, origin, chunk, sums);
  }
  for (int pair = 0; pair < pairs; ++pair) {
    double sum = 0;
    for (int l = 0; l < gram_lanes; ++l) sum += sums.lanes[pair * gram_lanes + l];
    partial[pair] = sum;
  }
}

void gram_leaf(const kernels::GramArguments& a, std::int64_t first, std::int64_t last,
               const GramSums& sums) {
  const int pairs = kernels::pairs_of(a.tasks);
  double* head_partials = a.partials + std::int64_t{a.work.shared_spans} * pairs;
  for (std::int64_t span = first; span < last; ++span) {
    if (span < a.work.shared_spans) {
      multiply_span(a, span, a.row_type, a.rows, a.tasks, 0, sums, a.partials + span * pairs);
    } else {
      multiply_span(a, span, a.head_type, &a.heads, 1, a.work.shared_size, sums,
                    head_partials + (span - a.work.shared_spans));
    }
  }
}

}  // namespace
}  // namespace gramstep::host
