// Where a rule's state is: its buffers, each segment's part of them, and the work of a rule that treats
// matrices apart.
#pragma once

#include <string_view>
#include <vector>

#include "gramstep/optimizer.hpp"
#include "kernels/step_data.hpp"

namespace gramstep::host {

/// A piece of a segment's state.
struct StatePart {
  std::string_view name;  // empty: workspace
  int buffer;
  std::int64_t offset;  // in that buffer
  Shape shape;

  std::int64_t size() const;
};

/// Buffers are laid out as the flat buffer is, each with the segments that have a part of it, in its order
/// and on its alignment: of a rule that treats all segments alike, they are the flat buffer's own places.
struct Places {
  std::vector<std::vector<StatePart>> parts;  // [segments]
  std::vector<std::int64_t> sizes;            // elements of each buffer
  std::vector<std::string_view> names;        // of all parts, each once
  bool whole;  // whether all segments have the same, so that each buffer is laid out as the parameters
  std::vector<kernels::SegmentPlace> segments;
  std::vector<kernels::Tile> tiles;
  std::vector<kernels::Lines> lines;
  std::int64_t sums = 0;  // doubles that tiles add up
  std::vector<int> orthogonalized;  // segments that are made orthogonal

  Places(const Layout& layout, const Rule& rule);

  /// A segment's part of that name; null where it has none.
  const StatePart* part(int segment, std::string_view name) const;

  kernels::MatrixTable table(const kernels::SegmentPlace* places, const kernels::Tile* tiles_at,
                             const kernels::Lines* lines_at, double* sums_at) const {
    return {places, tiles_at, lines_at, sums_at, std::ssize(tiles), std::ssize(lines)};
  }
};

/// The pieces of state that a rule keeps of a matrix, or of any other segment.
std::span<const StatePiece> state_pieces(const Rule& rule, bool matrix);

/// How many buffers they take.
int state_buffers(const Rule& rule);

/// The names of them all, each once, and of the scalars that it keeps by segment.
std::vector<std::string_view> state_names(const Rule& rule);
std::span<const std::string_view> segment_state_names(const Rule& rule);

}  // namespace gramstep::host
