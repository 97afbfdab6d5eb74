// Where a rule's state is: its buffers, each segment's part of them, and the work of a rule that treats
// matrices apart.
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "gramstep/optimizer.hpp"
#include "kernels/step_data.hpp"

namespace gramstep::host {

/// A piece of a segment's state.
struct StatePart {
  std::string_view name;
  int buffer;
  std::int64_t offset;  // in that buffer
  Shape shape;

  std::int64_t size() const;
};

/// Matrices of one shape that are made orthogonal, `stride` elements apart in a buffer of workspace.
struct MatrixBatch {
  std::int64_t rows, columns;
  std::int64_t begin;  // of the first, in the buffer
  std::int64_t stride;
  std::vector<int> segments;
};

/// Buffers are laid out as the flat buffer is, each with the segments that have a part of it, in its order
/// and on its alignment: of a rule that treats all segments alike, they are the flat buffer's own places.
/// A buffer of what is made orthogonal is laid out shape by shape.
struct Places {
  std::vector<std::vector<StatePart>> parts;  // [segments], what has a name
  std::vector<std::int64_t> sizes;            // elements of each buffer
  std::vector<DType> types;                   // and their type
  std::array<bool, 2> kinds{};  // whether there are segments that are no matrix, and matrices
  bool whole;                   // whether all are treated alike: buffers are as the parameters
  std::vector<kernels::SegmentPlace> segments;
  std::vector<kernels::Tile> tiles;
  std::vector<kernels::Lines> lines;
  std::int64_t sums = 0;             // that tiles add up, and parts of rows
  std::vector<MatrixBatch> batches;  // that are made orthogonal
  std::size_t orthogonalized = 0;    // the buffer they are in
  int rule_buffers;                  // the first of the buffers; the others are the parameters'
  int params_buffer =
      -1;               // what is kept beside them: master, remainders or compensations; -1: none
  int ema_buffer = -1;  // their mean
  int scale_buffers = -1;  // the first of those with the scales of states of 8 bits, a buffer each
  std::vector<std::string_view> params_states;  // the names of all of these

  Places(const Layout& layout, const OptimizerOptions& options);

  int buffers() const { return static_cast<int>(sizes.size()); }
  /// The buffer of that name which is laid out as the parameters whatever the rule, a number an element or a
  /// number a block; -1 for none.
  int params_state(std::string_view name) const;

  /// A segment's part of that name; null where it has none.
  const StatePart* part(int segment, std::string_view name) const;

  kernels::MatrixTable table(const kernels::SegmentPlace* places, const kernels::Tile* tiles_at,
                             const kernels::Lines* lines_at, float* sums_at) const {
    return {places, tiles_at, lines_at, sums_at, std::ssize(tiles), std::ssize(lines)};
  }

 private:
  void place(const Rule& rule, int segment, const Segment& its);
  void place_batches();
  int add_params_state(const Layout& layout, std::string_view name, DType type,
                       std::int64_t block = 1);
};

/// The pieces of state that a rule keeps of a matrix, or of any other segment.
std::span<const StatePiece> state_pieces(const Rule& rule, bool matrix);

/// How the rule makes matrices orthogonal; no steps where it does not.
NewtonSchulz newton_schulz(const Rule& rule);

/// Which of a rule's states are never negative, as bits of their numbers.
std::uint32_t never_negative(const Rule& rule);

/// How many buffers they take.
int state_buffers(const Rule& rule);

/// What is kept beside the parameters; of no name for nothing.
struct ParamsState {
  std::string_view name;
  DType type;
};
ParamsState beside_params(const Precision& precision);

/// The names of them all, each once, and of the scalars that it keeps by segment.
std::vector<std::string_view> state_names(const Rule& rule);
std::span<const std::string_view> segment_state_names(const Rule& rule);

}  // namespace gramstep::host
