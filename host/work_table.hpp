// How a layout is cut into chunks and spans.
#pragma once

#include <vector>

#include "gramstep/layout.hpp"
#include "kernels/step_data.hpp"

namespace gramstep::host {

/// The chunks and spans of a layout, owned; see kernels/step_data.hpp.
struct Work {
  std::vector<kernels::Chunk> chunks;
  std::vector<kernels::Span> spans;
  std::int32_t shared_spans = 0;
  std::int64_t shared_size = 0;

  explicit Work(const Layout& layout);

  /// The table over these vectors, or over copies of them at other addresses.
  kernels::WorkTable table(const kernels::Chunk* chunks_at, const kernels::Span* spans_at) const;
  kernels::WorkTable table() const { return table(chunks.data(), spans.data()); }

  std::int32_t head_spans() const { return static_cast<std::int32_t>(spans.size()) - shared_spans; }
  /// Doubles that the gram stage writes for K tasks.
  std::int64_t partials(int tasks) const {
    return std::int64_t{shared_spans} * kernels::pairs_of(tasks) + head_spans();
  }
};

}  // namespace gramstep::host
