// Sums of squares by row and by column of matrices, and what a rule makes of them; see
// kernels/factored.hpp.
#pragma once

#include <algorithm>

#include "host/cpu/update_leaf.hpp"
#include "kernels/factored.hpp"

namespace gramstep::host {
namespace {

/// How far ahead rows are fetched, in elements: beyond a tile's those of its neighbour, which come next.
constexpr int tile_distance = 256;

/// Rows of a tile that add to the same line of sums, and are added up side by side: what they add to a column stays in
/// a register, and what they add up themselves in L1. The pass takes 1.3 to 1.6 of the time of reading alone; 1.5 to
/// 1.8 a row after the other, which has both sums go through memory (Zen 4).
constexpr int line_rows = kernels::tile_height / kernels::tile_lines;

constexpr int strip_columns = 4 * kernels::tile_lanes;
static_assert(run_elements % strip_columns == 0);

/// The sums of a tile, as a GPU's block has them.
struct TileSums {
  alignas(64) float across[line_rows][strip_columns];  // of each row, by column modulo these
  alignas(64) float down[kernels::tile_lines][kernels::tile_width];

  /// Adds the squares of a run of elements scale * rows[r] of `count` rows, from the first column of a strip on.
  void add(float scale, const float* const (&rows)[line_rows], int count, float* own_down,
           int columns) {
    int first = 0;
    if (count == line_rows) {
      for (; columns - first >= cache_line; first += cache_line) {
        add_line(scale, rows, own_down, first);
      }
    }
    for (int c = first; c < columns; ++c) own_down[c] = 0;
    for (int r = 0; r < count; ++r) {
      for (int c = first, end; c < columns; c = end) {
        const int column = c % strip_columns;
        end = std::min(columns, c - column + strip_columns);
        add_row(scale, rows[r] + c, across[r] + column, own_down + c, end - c);
      }
    }
  }

  float of_row(int r) const {
    float lanes[kernels::tile_lanes];
    for (int lane = 0; lane < kernels::tile_lanes; ++lane) {
      const float* four = across[r] + 4 * lane;
      lanes[lane] = (four[0] + four[1]) + (four[2] + four[3]);
    }
    return kernels::sum_by_halves<kernels::tile_lanes>(lanes);
  }

  /// The sums of all columns; what is in `down` is gone then.
  void of_columns(int count, float* __restrict to) {
    for (int half = kernels::tile_lines / 2; half > 0; half /= 2) {
      for (int w = 0; w < half; ++w) {
        GRAMSTEP_INDEPENDENT
        for (int c = 0; c < count; ++c) down[w][c] += down[w + half][c];
      }
    }
    convert_run(down[0], to, count, [](float sum, int) { return sum; });
  }

 private:
  /// A cache line of each row.
  void add_line(float scale, const float* const (&rows)[line_rows], float* own_down, int first) {
    for (int c = first; c < first + cache_line; c += vector_lanes) {
      Vector sum{};
      GRAMSTEP_UNROLLED
      for (int r = 0; r < line_rows; ++r) {
        if (c == first) fetch(rows[r] + c + tile_distance);
        const Vector g = scale * load_vector(rows[r] + c);
        float* own_across = across[r] + c % strip_columns;
        store_vector(load_vector(own_across) + g * g, own_across);
        sum += g * g;
      }
      store_vector(sum, own_down + c);
    }
  }

  /// What is left of a row, or a row of fewer than a line has.
  static void add_row(float scale, const float* __restrict row, float* __restrict own_across,
                      float* __restrict own_down, int count) {
    GRAMSTEP_INDEPENDENT
    for (int c = 0; c < count; ++c) {
      const float g = scale * row[c];
      own_across[c] += g * g;
      own_down[c] += g * g;
    }
  }
};

/// The sums of tiles [first, last).
template <class Update>
void tiles_leaf(const kernels::UpdateArguments& a, const kernels::OneOfT<Aggregator>* by_element,
                std::int64_t first, std::int64_t last) {
  alignas(64) float combined[line_rows][run_elements];
  TileSums sums;
  for (std::int64_t t = first; t < last; ++t) {
    const kernels::Tile& tile = a.matrices.tiles[t];
    const kernels::SegmentState& segment = a.segments[tile.segment];
    if (!segment.active) continue;
    const std::int64_t columns = a.matrices.places[tile.segment].stack.columns;
    for (int w = 0; w < kernels::tile_lines; ++w) {
      for (auto& across : sums.across) {
        for (float& sum : across) sum = 0;
      }
      const int rows_here = (tile.rows - w + kernels::tile_lines - 1) / kernels::tile_lines;
      for_runs(tile.columns, [&](int begin, int end) {
        const float* rows[line_rows];
        float scale = 0;
        for (int r = 0; r < rows_here; ++r) {
          const std::int64_t row = w + r * kernels::tile_lines;
          const kernels::Chunk run{tile.begin + row * columns + begin, end - begin, tile.segment};
          with_gradient(a, by_element, run, segment, combined[r],
                        [&](float its_scale, const float* d, std::int64_t, int) {
                          scale = its_scale;
                          rows[r] = d;
                        });
        }
        sums.add(scale, rows, rows_here, sums.down[w] + begin, end - begin);
      });
      for (int r = 0; r < rows_here; ++r) {
        a.matrices.sums[tile.row_sums + w + r * kernels::tile_lines] = sums.of_row(r);
      }
    }
    sums.of_columns(tile.columns, a.matrices.sums + tile.column_sums);
  }
}

/// One of the bodies that lines [first, last) are brought up to date by.
template <class Body>
void lines_leaf(const kernels::UpdateArguments& a, const kernels::OneOfT<Aggregator>*,
                std::int64_t first, std::int64_t last) {
  const Body body{a};
  typename Body::Shared shared;
  for (std::int64_t i = first; i < last; ++i) body.of_lines(LeafThread{}, i, shared);
}

}  // namespace
}  // namespace gramstep::host
