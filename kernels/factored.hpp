// Sums of squares by row and by column, for rules that keep second moments of matrices so: before the
// update stage's passes, one over the gradients of all matrices, and one over what it added up.
//
// Traffic: the K gradients are read once more, 4 K bytes an element of a matrix; the sums are a double for
// every 512 elements of a row and every 64 of a column. Accuracy: fp32 adds at most 16 squares of a row and
// 8 of a column, then it is double. Which terms meet in which order is the same on every device.
#pragma once

#include "kernels/measure.hpp"

namespace gramstep::kernels {

/// Lanes that a row of a tile is dealt out to, four neighbouring columns at a time, and rows of it that are
/// added up side by side: on a GPU a warp's threads, and a block's warps.
inline constexpr int tile_lanes = 32;
inline constexpr int tile_lines = update_threads / tile_lanes;
static_assert(tile_width == 16 * tile_lanes && tile_height == 8 * tile_lines, "see above");

/// Blocks take tiles.
template <class Update, class Combination>
struct TileBody {
  static constexpr int threads = update_threads;
  UpdateArguments a;
  Combination combination;

  struct Shared {
    float rows[tile_height][tile_lanes + 1];  // one more: no two rows begin in the same bank
    float columns[tile_lines][tile_width];
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    if (a.plan->skip) return;
    for (std::int64_t t = x.block(); t < a.matrices.tile_count; t += x.blocks()) {
      const Tile tile = a.matrices.tiles[t];
      if (!a.segments[tile.segment].active) continue;
      const std::int64_t columns = a.matrices.places[tile.segment].stack.columns;
      if (a.aligned && columns % 4 == 0) {
        add_rows<true>(x, tile, columns, shared);
      } else {
        add_rows<false>(x, tile, columns, shared);
      }
      x.sync();
      write_sums(x, tile, columns, shared);
      x.sync();
    }
  }

 private:
  /// The gradients of four neighbouring columns from `column` on; 0 beyond the tile.
  template <bool Vectors>
  GRAMSTEP_BODY void load_four(const Tile& tile, std::int64_t row, int column,
                               float (&g)[4]) const {
    const SegmentState& segment = a.segments[tile.segment];
    const std::int64_t at = tile.begin + row + column;
    if constexpr (Vectors) {
      if (column < tile.columns) gradient(a, combination, segment, at, g);
    } else {
      gradient(a, combination, segment, Few{at, tile.columns - column}, g);
    }
  }

  /// Adds up this warp's rows of a tile.
  template <bool Vectors, class X>
  GRAMSTEP_BODY void add_rows(const X& x, const Tile& tile, std::int64_t columns,
                              Shared& shared) const {
    constexpr int sweeps = tile_width / (4 * tile_lanes);
    float down[sweeps][4] = {};
    for (int row = x.warp(); row < tile.rows; row += tile_lines) {
      float across[4] = {};
      GRAMSTEP_UNROLL
      for (int i = 0; i < sweeps; ++i) {
        float g[4] = {};
        load_four<Vectors>(tile, row * columns, 4 * (x.lane() + tile_lanes * i), g);
        GRAMSTEP_UNROLL
        for (int c = 0; c < 4; ++c) {
          const float square = g[c] * g[c];
          across[c] += square;
          down[i][c] += square;
        }
      }
      shared.rows[row][x.lane()] = (across[0] + across[1]) + (across[2] + across[3]);
    }
    GRAMSTEP_UNROLL
    for (int i = 0; i < sweeps; ++i) {
      store(down[i], shared.columns[x.warp()] + 4 * (x.lane() + tile_lanes * i));
    }
  }

  /// The sums over lanes, and over the rows that were added up side by side.
  template <class X>
  GRAMSTEP_BODY void write_sums(const X& x, const Tile& tile, std::int64_t columns,
                                const Shared& shared) const {
    const std::int64_t pieces = (columns + tile_width - 1) / tile_width;
    for (int row = x.thread(); row < tile.rows; row += threads) {
      double sum = 0;
      for (int lane = 0; lane < tile_lanes; ++lane) {
        sum += static_cast<double>(shared.rows[row][lane]);
      }
      a.matrices.sums[tile.row_sums + row * pieces] = sum;
    }
    for (int c = x.thread(); c < tile.columns; c += threads) {
      double sum = 0;
      for (int w = 0; w < tile_lines; ++w) sum += static_cast<double>(shared.columns[w][c]);
      a.matrices.sums[tile.column_sums + c] = sum;
    }
  }
};

/// Blocks take lines: what each keeps moves toward the mean of its squares, and gives the factor that its
/// elements are handed.
template <class Update>
struct LinesBody {
  static constexpr int threads = measure_lanes;
  UpdateArguments a;

  struct Shared {
    MeasureRoom room;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    if (a.plan->skip) return;
    for (std::int64_t i = x.block(); i < a.matrices.lines_count; i += x.blocks()) {
      of_lines(x, i, shared);
    }
  }

  template <class X>
  GRAMSTEP_BODY void of_lines(const X& x, std::int64_t index, Shared& shared) const {
    const Lines lines = a.matrices.lines[index];
    const SegmentState& segment = a.segments[lines.segment];
    if (!segment.active) return;
    const auto scalars = segment.template get<typename Update::Scalars>();
    const SegmentPlace& place = a.matrices.places[lines.segment];
    if (lines.columns) {
      float* factors = state(place, lines, Update::column_factors);
      for (std::int64_t i = x.thread(); i < lines.count; i += x.threads()) {
        factors[i] = Update::column_factor(move(scalars, lines, place, Update::column, i));
      }
      return;
    }
    const int lanes = lanes_of(lines.count);
    for (int lane = x.thread(); lane < lanes; lane += x.threads()) {
      double total = 0;
      for (std::int64_t i = lane; i < lines.count; i += lanes) {
        total += static_cast<double>(move(scalars, lines, place, Update::row, i));
      }
      shared.room[lane][0] = total;
      shared.room[lane][1] = 0;
    }
    add_lanes(x, lanes, shared.room);
    const auto mean = static_cast<float>(shared.room[0][0] / static_cast<double>(lines.count));
    const float* rows = state(place, lines, Update::row);
    float* factors = state(place, lines, Update::row_factors);
    for (std::int64_t i = x.thread(); i < lines.count; i += x.threads()) {
      factors[i] = Update::row_factor(scalars, rows[i], mean);
    }
    x.sync();
  }

 private:
  GRAMSTEP_BODY float* state(const SegmentPlace& place, const Lines& lines, int buffer) const {
    return static_cast<float*>(a.states[buffer]) + place.states[buffer] + lines.first;
  }

  /// Moves what line i keeps, and returns it.
  GRAMSTEP_BODY float move(const typename Update::Scalars& scalars, const Lines& lines,
                           const SegmentPlace& place, int buffer, std::int64_t i) const {
    // Sums of one line are `apart` from each other, those of neighbouring lines `between`.
    const std::int64_t apart = lines.columns ? place.stack.columns : 1;
    const std::int64_t between = lines.columns ? 1 : lines.pieces;
    const std::int64_t elements = lines.columns ? place.stack.rows : place.stack.columns;
    const double* sums = a.matrices.sums + lines.sums + i * between;
    double sum = 0;
    for (int piece = 0; piece < lines.pieces; ++piece) sum += sums[piece * apart];
    float& kept = state(place, lines, buffer)[i];
    kept = Update::squares(scalars, kept, static_cast<float>(sum / static_cast<double>(elements)));
    return kept;
  }
};

}  // namespace gramstep::kernels
