// Sums of squares by row and by column of matrices, and what a rule makes of them; see
// kernels/factored.hpp.
#pragma once

#include "host/cpu/update_leaf.hpp"
#include "kernels/factored.hpp"

namespace gramstep::host {
namespace {

constexpr int widened_rows = 8;  // of a column in one fp32 sum, as on a GPU

/// Adds the squares of at most run_elements elements scale * d to their columns' sums; their own sum. The
/// same lanes on every instruction set: the same bits, at most 16 terms in an fp32 sum.
inline double add_squares(float scale, const float* __restrict d, float* __restrict columns,
                          int count) {
  float squares[run_elements] = {}, lanes[gram_lanes] = {};
  GRAMSTEP_INDEPENDENT
  for (int i = 0; i < count; ++i) {
    const float g = scale * d[i];
    squares[i] = g * g;
    columns[i] += squares[i];
  }
  for (int i = 0; i < run_elements; i += gram_lanes) {
    for (int l = 0; l < gram_lanes; ++l) lanes[l] += squares[i + l];
  }
  double sum = 0;
  for (const float lane : lanes) sum += static_cast<double>(lane);
  return sum;
}

/// The sums of tiles [first, last).
template <class Update>
void tiles_leaf(const kernels::UpdateArguments& a, const kernels::OneOfT<Aggregator>* by_element,
                std::int64_t first, std::int64_t last) {
  alignas(64) float combined[kernels::chunk_elements];
  for (std::int64_t t = first; t < last; ++t) {
    const kernels::Tile& tile = a.matrices.tiles[t];
    const kernels::SegmentState& segment = a.segments[tile.segment];
    if (!segment.active) continue;
    const std::int64_t columns = a.matrices.places[tile.segment].stack.columns;
    const std::int64_t pieces = (columns + kernels::tile_columns - 1) / kernels::tile_columns;
    float down[kernels::tile_columns] = {};
    double* sums = a.matrices.sums + tile.column_sums;
    for (int c = 0; c < tile.columns; ++c) sums[c] = 0;
    for (int row = 0; row < tile.rows; ++row) {
      const kernels::Chunk line{tile.begin + row * columns, tile.columns, tile.segment};
      double across = 0;
      with_gradient(a, by_element, line, segment, combined,
                    [&](float scale, const float* d, std::int64_t at, int count) {
                      float* own = down + (at - line.begin);
                      for_runs(count, [&](int begin, int end) {
                        across += add_squares(scale, d + begin, own + begin, end - begin);
                      });
                    });
      a.matrices.sums[tile.row_sums + row * pieces] = across;
      if (row % widened_rows != widened_rows - 1 && row + 1 < tile.rows) continue;
      for (int c = 0; c < tile.columns; ++c) {
        sums[c] += static_cast<double>(down[c]);
        down[c] = 0;
      }
    }
  }
}

/// Brings lines [first, last) up to date.
template <class Update>
void lines_leaf(const kernels::UpdateArguments& a, const kernels::OneOfT<Aggregator>*,
                std::int64_t first, std::int64_t last) {
  for (std::int64_t i = first; i < last; ++i) {
    const kernels::Lines& lines = a.matrices.lines[i];
    if (!a.segments[lines.segment].active) continue;
    const kernels::LinesOf<Update> of(a, lines);
    const kernels::SingleThread one;
    const double total = of.move(one);
    if (!lines.columns) of.write_factors(one, total);
  }
}

}  // namespace
}  // namespace gramstep::host
