// Sums of squares by row and by column, for rules that keep second moments of matrices so: before the
// update stage's passes, one over the gradients of all matrices, and two over what it added up.
//
// Traffic: the K gradients are read once more, 4 K bytes an element of a matrix; the sums are 4 bytes for
// every 512 elements of a row and every 64 of a column, written and read once: 9.4 MB beside 268 of an
// 8192 x 8192 matrix. No pass can go: every element is multiplied by what all of its row and column add up
// to, and the step's length is cut by the norm of the products.
// Accuracy: all terms are positive, so every addition in fp32 costs at most a half unit of the sum. A sum in
// fp32 has at most 11 roundings of 2^-24, the squares' own included: of a row's 512 terms 4 one after the
// other, then by halves; of a column's 64 terms 8 and by halves. From there on it is double. Which terms meet
// in which order is the same on every device.
#pragma once

#include "kernels/measure.hpp"

namespace gramstep::kernels {

/// Lanes that a row of a tile is dealt out to, four neighbouring columns at a time, and rows of it that are
/// added up side by side: on a GPU a warp's threads, and a block's warps.
inline constexpr int tile_lanes = 32;
inline constexpr int tile_lines = update_threads / tile_lanes;
static_assert(tile_width == 16 * tile_lanes && tile_height == 8 * tile_lines, "see above");

/// The sum of the first Terms of an array, a power of two, by halves.
template <int Terms, int Count>
GRAMSTEP_BODY float sum_by_halves(float (&terms)[Count]) {
  if constexpr (Terms == 1) {
    return terms[0];
  } else {
    GRAMSTEP_UNROLL
    for (int i = 0; i < Terms / 2; ++i) terms[i] += terms[i + Terms / 2];
    return sum_by_halves<Terms / 2>(terms);
  }
}

/// Blocks take tiles.
template <class Update, class Combination>
struct TileBody {
  static constexpr int threads = update_threads;
  static constexpr int resident =
      factored_blocks<Update, Combination>;  // of one row 64 KiB on their way
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
      const SegmentState& segment = a.segments[tile.segment];
      if (!segment.active) continue;
      const MatrixStack& stack = a.matrices.places[tile.segment].stack;
      const GradientOf<Combination> gradient(a, combination, segment, tile.begin);
      if (a.aligned && stack.columns % 4 == 0) {
        add_rows<true>(x, tile, stack.columns, gradient, shared);
      } else {
        add_rows<false>(x, tile, stack.columns, gradient, shared);
      }
      x.sync();
      write_sums(x, tile, shared);
      x.sync();
    }
  }

 private:
  /// Adds up this warp's rows of a tile.
  template <bool Vectors, class X>
  GRAMSTEP_BODY void add_rows(const X& x, const Tile& tile, std::int64_t columns,
                              const GradientOf<Combination>& gradient, Shared& shared) const {
    constexpr int sweeps = tile_width / (4 * tile_lanes);
    float down[sweeps][4] = {};
    for (int row = x.warp(); row < tile.rows; row += tile_lines) {
      float g[sweeps][4] = {}, across[4] = {};
      GRAMSTEP_UNROLL
      for (int i = 0; i < sweeps; ++i) {
        const int column = 4 * (x.lane() + tile_lanes * i);
        const std::int64_t at = tile.begin + row * columns + column;
        if constexpr (Vectors) {
          if (column < tile.columns) gradient(at, g[i]);
        } else {
          gradient(Few{at, tile.columns - column}, g[i]);
        }
      }
      GRAMSTEP_UNROLL
      for (int i = 0; i < sweeps; ++i) {
        GRAMSTEP_UNROLL
        for (int c = 0; c < 4; ++c) {
          const float square = g[i][c] * g[i][c];
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
  GRAMSTEP_BODY void write_sums(const X& x, const Tile& tile, const Shared& shared) const {
    for (int row = x.thread(); row < tile.rows; row += threads) {
      float lanes[tile_lanes];
      GRAMSTEP_UNROLL
      for (int lane = 0; lane < tile_lanes; ++lane) lanes[lane] = shared.rows[row][lane];
      a.matrices.sums[tile.row_sums + row] = sum_by_halves<tile_lanes>(lanes);
    }
    for (int c = x.thread(); c < tile.columns; c += threads) {
      float lines[tile_lines];
      GRAMSTEP_UNROLL
      for (int w = 0; w < tile_lines; ++w) lines[w] = shared.columns[w][c];
      a.matrices.sums[tile.column_sums + c] = sum_by_halves<tile_lines>(lines);
    }
  }
};

/// Where lines keep a state of their own.
GRAMSTEP_BODY float* state_of(const UpdateArguments& a, const Lines& lines, int buffer) {
  const std::int64_t begin = a.matrices.places[lines.segment].states[buffer];
  return static_cast<float*>(a.states[buffer]) + begin + lines.first;
}

/// Calls function(index) for the lines that this block takes.
template <class X, class Function>
GRAMSTEP_BODY void over_lines(const X& x, const UpdateArguments& a, const Function& function) {
  if (a.plan->skip) return;
  for (std::int64_t i = x.block(); i < a.matrices.lines_count; i += x.blocks()) function(i);
}

/// Neighbouring lines whose pieces a thread adds up side by side: one that is alone vectorises, and has of every cache
/// line what is in it.
template <class X>
inline constexpr int lines_abreast = std::is_base_of_v<SingleThread, X> ? 32 : 1;

/// Blocks take lines: what each keeps moves toward the mean of its squares. Columns are done with it; for rows the
/// mean over their matrix is still to be known.
template <class Update>
struct LinesBody {
  static constexpr int threads = block_lines;
  UpdateArguments a;

  struct Shared {
    double sums[threads];  // of the pieces that one way of a line took
    MeasureRoom room;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    over_lines(x, a, [&](std::int64_t index) { of_lines(x, index, shared); });
  }

  template <class X>
  GRAMSTEP_BODY void of_lines(const X& x, std::int64_t index, Shared& shared) const {
    const Lines lines = a.matrices.lines[index];
    if (!a.segments[lines.segment].active) return;
    const int width = threads / ways_of(lines.pieces);
    for (int i = x.thread(); i < width; i += x.threads()) {
      shared.room[i][0] = shared.room[i][1] = 0;
    }
    for (std::int64_t first = 0; first < lines.count; first += width) {
      const std::int64_t left = lines.count - first;
      const int here = left < width ? static_cast<int>(left) : width;
      add_pieces(x, lines, first, here, shared);
      x.sync();
      move(x, lines, first, here, shared);
      x.sync();
    }
    if (lines.columns) return;
    add_lanes(x, width, shared.room);
    if (x.thread() == 0) {
      a.matrices.sums[lines.parts + lines.part] = static_cast<float>(shared.room[0][0]);
    }
    x.sync();
  }

 private:
  /// Adds up the pieces of `here` lines, neighbours side by side: each way those that are its turn.
  template <class X>
  GRAMSTEP_BODY void add_pieces(const X& x, const Lines& lines, std::int64_t first, int here,
                                Shared& shared) const {
    const MatrixStack& stack = a.matrices.places[lines.segment].stack;
    const std::int64_t apart = lines.columns ? stack.columns : stack.rows;
    const int ways = ways_of(lines.pieces), width = threads / ways;
    constexpr int abreast = lines_abreast<X>;
    static_assert(threads / ways_of(threads) % abreast == 0,
                  "lines that are added up have one way");
    for (int i = abreast * x.thread(); i < threads; i += abreast * x.threads()) {
      const int way = i * ways / threads, line = i - way * width, left = here - line;
      if (left <= 0) continue;
      const int count = abreast == 1 || left > abreast ? abreast : left;
      const float* sums = a.matrices.sums + lines.sums + first + line;
      double sum[abreast] = {};
      GRAMSTEP_UNROLL_BY(8)  // on their way together
      for (int piece = way; piece < lines.pieces; piece += ways) {
        for (int c = 0; c < count; ++c) sum[c] += static_cast<double>(sums[piece * apart + c]);
      }
      for (int c = 0; c < count; ++c) shared.sums[i + c] = sum[c];
    }
  }

  /// Moves what `here` lines keep.
  template <class X>
  GRAMSTEP_BODY void move(const X& x, const Lines& lines, std::int64_t first, int here,
                          Shared& shared) const {
    const MatrixStack& stack = a.matrices.places[lines.segment].stack;
    const auto elements = static_cast<double>(lines.columns ? stack.rows : stack.columns);
    const auto scalars = a.segments[lines.segment].template get<typename Update::Scalars>();
    float* kept = state_of(a, lines, lines.columns ? Update::column : Update::row) + first;
    const int ways = ways_of(lines.pieces), width = threads / ways;
    for (int line = x.thread(); line < here; line += x.threads()) {
      double sum = 0;
      for (int way = 0; way < ways; ++way) sum += shared.sums[way * width + line];
      const auto mean = static_cast<float>(sum / elements);
      const float moved = Update::squares(scalars, kept[line], mean);
      kept[line] = moved;
      shared.room[line][0] += static_cast<double>(moved);
      if (lines.columns) {
        state_of(a, lines, Update::column_factors)[first + line] = Update::column_factor(moved);
      }
    }
  }
};

/// After it, what its rows' elements are handed. Blocks take lines; each adds up for itself what all rows of the
/// matrix keep, of as many sums as a block has threads: one launch more would cost as much.
template <class Update>
struct RowFactorsBody {
  static constexpr int threads = measure_lanes;
  UpdateArguments a;

  struct Shared {
    MeasureRoom room;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    over_lines(x, a, [&](std::int64_t index) { of_lines(x, index, shared); });
  }

  template <class X>
  GRAMSTEP_BODY void of_lines(const X& x, std::int64_t index, Shared& shared) const {
    const Lines lines = a.matrices.lines[index];
    const SegmentState& segment = a.segments[lines.segment];
    if (lines.columns || !segment.active) return;
    const int lanes = lanes_of(lines.part_count);
    for (int lane = x.thread(); lane < lanes; lane += x.threads()) {
      const bool there = lane < lines.part_count;
      shared.room[lane][0] = there ? static_cast<double>(a.matrices.sums[lines.parts + lane]) : 0.0;
      shared.room[lane][1] = 0;
    }
    add_lanes(x, lanes, shared.room);
    const auto all = static_cast<double>(a.matrices.places[lines.segment].stack.rows);
    const auto mean = static_cast<float>(shared.room[0][0] / all);
    const auto scalars = segment.template get<typename Update::Scalars>();
    const float* rows = state_of(a, lines, Update::row);
    float* factors = state_of(a, lines, Update::row_factors);
    for (std::int64_t i = x.thread(); i < lines.count; i += x.threads()) {
      factors[i] = Update::row_factor(scalars, rows[i], mean);
    }
    x.sync();
  }
};

}  // namespace gramstep::kernels
