// How a layout is cut into chunks and spans.
#pragma once

#include <vector>

#include "gramstep/optimizer.hpp"
#include "kernels/step_data.hpp"

namespace gramstep::host {

/// Which projection each segment belongs to, [segments]; heads count as of the first. Projections are
/// numbered by their first shared segment.
std::vector<std::int32_t> projections(const Layout& layout, Projection projection);

/// Elements of a layout's chunks: enough chunks to fill a device, and no longer than what a block takes best.
std::int64_t chunk_elements_of(const Layout& layout);

/// The chunks and spans of a layout, owned; see kernels/step_data.hpp.
struct Work {
  std::vector<kernels::Chunk> chunks;
  std::vector<kernels::Span> spans;
  std::vector<std::int32_t> projection_spans;  // [projections + 1]
  std::vector<std::int32_t> segment_chunks;    // [segments, 2]
  std::int32_t shared_spans = 0;
  std::int64_t shared_size = 0;

  /// `projection_of` [segments]: 0 to P - 1 for shared segments, see projections. Chunks are of at most
  /// `chunk_elements`: kernels::chunk_elements or a half or quarter of it. Spans of many tasks are shorter.
  Work(const Layout& layout, const std::vector<std::int32_t>& projection_of,
       std::int64_t chunk_elements, int tasks = 1);
  Work(const Layout& layout, const std::vector<std::int32_t>& projection_of)
      : Work(layout, projection_of, chunk_elements_of(layout)) {}

  std::int32_t projections() const {
    return static_cast<std::int32_t>(projection_spans.size()) - 1;
  }

  /// The table over these vectors, or over copies of them at other addresses.
  kernels::WorkTable table(const kernels::Chunk* chunks_at, const kernels::Span* spans_at,
                           const std::int32_t* projection_spans_at,
                           const std::int32_t* segment_chunks_at) const;
  kernels::WorkTable table() const {
    return table(chunks.data(), spans.data(), projection_spans.data(), segment_chunks.data());
  }

  std::int32_t head_spans() const { return static_cast<std::int32_t>(spans.size()) - shared_spans; }
  /// Doubles that the gram stage writes for K tasks.
  std::int64_t partials(int tasks) const {
    return std::int64_t{shared_spans} * kernels::pairs_of(tasks) + head_spans();
  }
};

}  // namespace gramstep::host
