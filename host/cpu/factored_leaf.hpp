// Sums of squares by row and by column of matrices, and what a rule makes of them; see
// kernels/factored.hpp.
#pragma once

#include "host/cpu/update_leaf.hpp"
#include "kernels/factored.hpp"

namespace gramstep::host {
namespace {

constexpr int strip_columns = 4 * kernels::tile_lanes;
static_assert(run_elements % strip_columns == 0);

/// How far ahead a tile is fetched, in elements of it: rows below, where no prefetcher looks. The pass takes 0.49 to
/// 0.53 of the time of reading 12 bytes an element here, 0.58 to 0.74 at 512, 0.52 to 0.58 at 2048 (Zen 4).
constexpr int tile_distance = 1024;

/// The sums of a tile, as a GPU's block has them.
struct TileSums {
  alignas(64) float across[strip_columns];  // of a row, by column modulo these
  alignas(64) float down[kernels::tile_lines][kernels::tile_width];

  /// Adds the squares of at most strip_columns elements scale * d, from the first column of a strip on.
  void add(float scale, const float* __restrict d, float* __restrict own_down, int count) {
    float* __restrict own_across = across;
    GRAMSTEP_INDEPENDENT
    for (int i = 0; i < count; ++i) {
      const float g = scale * d[i];
      own_across[i] += g * g;
      own_down[i] += g * g;
    }
  }

  float of_row() const {
    float lanes[kernels::tile_lanes];
    for (int lane = 0; lane < kernels::tile_lanes; ++lane) {
      const float* four = across + 4 * lane;
      lanes[lane] = (four[0] + four[1]) + (four[2] + four[3]);
    }
    return kernels::sum_by_halves<kernels::tile_lanes>(lanes);
  }

  float of_column(int column) const {
    float lines[kernels::tile_lines];
    for (int w = 0; w < kernels::tile_lines; ++w) lines[w] = down[w][column];
    return kernels::sum_by_halves<kernels::tile_lines>(lines);
  }
};

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
    const std::int64_t ahead = columns * ((tile_distance + tile.columns - 1) / tile.columns);
    TileSums sums{};
    for (int row = 0; row < tile.rows; ++row) {
      const kernels::Chunk line{tile.begin + row * columns, tile.columns, tile.segment};
      for (float& column : sums.across) column = 0;
      const auto add = [&](float scale, const float* d, std::int64_t at, int count) {
        float* down = sums.down[row % kernels::tile_lines] + (at - line.begin);
        for_runs(count, [&](int begin, int end) {
          prefetch_run(d + begin + ahead);
          for (int strip = begin; strip < end; strip += strip_columns) {
            const int rest = end - strip;
            sums.add(scale, d + strip, down + strip, rest < strip_columns ? rest : strip_columns);
          }
        });
      };
      with_gradient(a, by_element, line, segment, combined, add);
      a.matrices.sums[tile.row_sums + row] = sums.of_row();
    }
    for (int c = 0; c < tile.columns; ++c) {
      a.matrices.sums[tile.column_sums + c] = sums.of_column(c);
    }
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
