// Sums of squares by row and by column, for rules that keep second moments of matrices so: before the
// update stage's passes, one over the gradients of all matrices, and one over what it added up.
//
// Traffic: the K gradients are read once more, 4 K bytes an element of a matrix; the sums are a double for
// every 512 elements of a row and every 64 of a column. Accuracy: fp32 adds at most 16 squares of a row and
// 8 of a column, then it is double.
#pragma once

#include "kernels/update.hpp"

namespace gramstep::kernels {

/// Blocks take tiles: a warp a row at a time, a lane its columns.
template <class Update, class Combination>
struct TileBody {
  static constexpr int threads = update_threads;
  static constexpr int warps = threads / 32;
  static constexpr int lane_columns = tile_columns / 32;
  UpdateArguments a;
  Combination combination;

  struct Shared {
    float columns[warps][tile_columns];
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    if (a.plan->skip) return;
    for (std::int64_t t = x.block(); t < a.matrices.tile_count; t += x.blocks()) {
      const Tile tile = a.matrices.tiles[t];
      if (!a.segments[tile.segment].active) continue;
      const std::int64_t columns = a.matrices.places[tile.segment].stack.columns;
      if (a.aligned && columns % 4 == 0) {
        add_rows<4>(x, tile, columns, shared);
      } else {
        add_rows<1>(x, tile, columns, shared);
      }
      x.sync();
      for (int c = x.thread(); c < tile.columns; c += threads) {
        double sum = 0;
        for (int w = 0; w < warps; ++w) sum += static_cast<double>(shared.columns[w][c]);
        a.matrices.sums[tile.column_sums + c] = sum;
      }
      x.sync();
    }
  }

 private:
  /// Adds up this warp's rows of a tile, Width neighbouring columns at a time.
  template <int Width, class X>
  GRAMSTEP_BODY void add_rows(const X& x, const Tile& tile, std::int64_t columns,
                              Shared& shared) const {
    constexpr int sweeps = lane_columns / Width;
    const SegmentState& segment = a.segments[tile.segment];
    const std::int64_t pieces = (columns + tile_columns - 1) / tile_columns;
    float sums[sweeps][Width] = {};
    for (int row = x.warp(); row < tile.rows; row += warps) {
      float across = 0;
      GRAMSTEP_UNROLL
      for (int i = 0; i < sweeps; ++i) {
        const int column = Width * (x.lane() + 32 * i);
        if (column >= tile.columns) continue;
        float g[Width];
        gradient(a, combination, segment, tile.begin + row * columns + column, g);
        GRAMSTEP_UNROLL
        for (int c = 0; c < Width; ++c) {
          const float square = g[c] * g[c];
          across += square;
          sums[i][c] += square;
        }
      }
      const double sum = x.warp_sum(static_cast<double>(across));
      if (x.lane() == 0) a.matrices.sums[tile.row_sums + row * pieces] = sum;
    }
    GRAMSTEP_UNROLL
    for (int i = 0; i < sweeps; ++i) {
      const int column = Width * (x.lane() + 32 * i);
      GRAMSTEP_UNROLL
      for (int c = 0; c < Width; ++c) shared.columns[x.warp()][column + c] = sums[i][c];
    }
  }
};

/// Lines of one matrix, brought up to date by the threads of a block.
template <class Update>
struct LinesOf {
  const UpdateArguments& a;
  const Lines& lines;
  const SegmentPlace& place;
  typename Update::Scalars scalars;

  GRAMSTEP_BODY LinesOf(const UpdateArguments& arguments, const Lines& its_lines)
      : a(arguments),
        lines(its_lines),
        place(a.matrices.places[lines.segment]),
        scalars(a.segments[lines.segment].template get<typename Update::Scalars>()) {}

  /// Moves what this thread's lines keep toward the means of their squares; the sum of it all.
  template <class X>
  GRAMSTEP_BODY double move(const X& x) const {
    // Sums of one line are `apart` from each other, those of neighbouring lines `between`.
    const std::int64_t apart = lines.columns ? place.stack.columns : 1;
    const std::int64_t between = lines.columns ? 1 : lines.pieces;
    const auto elements =
        static_cast<double>(lines.columns ? place.stack.rows : place.stack.columns);
    float* kept = lines.columns ? state(Update::column) : state(Update::row);
    double total = 0;
    for (std::int64_t i = x.thread(); i < lines.count; i += x.threads()) {
      const double* sums = a.matrices.sums + lines.sums + i * between;
      double sum = 0;
      for (int piece = 0; piece < lines.pieces; ++piece) sum += sums[piece * apart];
      kept[i] = Update::squares(scalars, kept[i], static_cast<float>(sum / elements));
      total += static_cast<double>(kept[i]);
    }
    return total;
  }

  /// What a matrix' elements are told of their rows; total: what its rows keep, all together.
  template <class X>
  GRAMSTEP_BODY void write_factors(const X& x, double total) const {
    const float mean = static_cast<float>(total / static_cast<double>(lines.count));
    const float* rows = state(Update::row);
    float* factors = state(Update::row_factor);
    for (std::int64_t i = x.thread(); i < lines.count; i += x.threads()) {
      factors[i] = Update::factor(scalars, rows[i], mean);
    }
  }

 private:
  GRAMSTEP_BODY float* state(int buffer) const {
    return a.states[buffer] + place.states[buffer] + lines.first;
  }
};

/// Blocks take lines.
template <class Update>
struct LinesBody {
  static constexpr int threads = update_threads;
  UpdateArguments a;

  struct Shared {
    double room[update_threads / 32][1];
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    if (a.plan->skip) return;
    for (std::int64_t i = x.block(); i < a.matrices.lines_count; i += x.blocks()) {
      const Lines lines = a.matrices.lines[i];
      if (!a.segments[lines.segment].active) continue;
      const LinesOf<Update> of(a, lines);
      const double total[1] = {of.move(x)};
      if (lines.columns) continue;
      block_sums(x, total, shared.room, [&](int, double sum) { shared.room[0][0] = sum; });
      x.sync();
      of.write_factors(x, shared.room[0][0]);
      x.sync();
    }
  }
};

}  // namespace gramstep::kernels
