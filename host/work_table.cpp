#include "host/work_table.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <span>

#include "gramstep/error.hpp"
#include "kernels/gram.hpp"

namespace gramstep::host {
namespace {

std::int32_t projection_at(const std::vector<kernels::Chunk>& chunks,
                           const std::vector<std::int32_t>& projection_of, std::int32_t chunk) {
  const std::int32_t segment = chunks[static_cast<std::size_t>(chunk)].segment;
  return projection_of[static_cast<std::size_t>(segment)];
}

/// A chunk's elements, rounded up to what a block takes in one sweep: a thread's fp32 sum grows by every
/// sweep, however few of its elements a small chunk has.
std::int64_t swept(const kernels::Chunk& chunk) {
  constexpr std::int64_t sweep = kernels::gram_threads * 4;
  return (chunk.count + sweep - 1) / sweep * sweep;
}

/// Elements a span of that many chunks aims for: enough spans to fill a device, few enough to sum quickly. Of more
/// than eight rows a device has more blocks at a time, and the last ones would leave more of it idle.
std::int64_t span_elements(std::span<const kernels::Chunk> chunks, std::int64_t chunk_elements,
                           int tasks) {
  const std::int64_t most = kernels::max_span_elements / (tasks > 8 ? 2 : 1);
  const std::int64_t preferred = kernels::preferred_spans * (tasks > 8 ? 2 : 1);
  std::int64_t all = 0, elements = chunk_elements;
  for (const kernels::Chunk& chunk : chunks) all += swept(chunk);
  while (elements < most && elements * preferred < all) elements *= 2;
  return elements;
}

/// Appends the spans of chunks [first, end). A span has one projection.
void append_spans(const std::vector<kernels::Chunk>& chunks, std::int32_t first,
                  std::int64_t chunk_elements, int tasks,
                  const std::vector<std::int32_t>& projection_of,
                  std::vector<kernels::Span>& spans) {
  const std::int64_t most = span_elements(
      std::span(chunks).subspan(static_cast<std::size_t>(first)), chunk_elements, tasks);
  const auto end = static_cast<std::int32_t>(chunks.size());
  std::int64_t elements = 0;
  std::int32_t projection = 0;
  for (std::int32_t c = first; c < end; ++c) {
    const std::int64_t count = swept(chunks[static_cast<std::size_t>(c)]);
    const std::int32_t own = projection_at(chunks, projection_of, c);
    if (elements == 0 || elements + count > most || own != projection) {
      spans.push_back({c, c});
      elements = 0;
      projection = own;
    }
    spans.back().last = c + 1;
    elements += count;
  }
}

void append_chunks(const Segment& segment, std::int32_t index, std::int64_t most,
                   std::vector<kernels::Chunk>& chunks) {
  for (std::int64_t at = 0; at < segment.size; at += most) {
    const std::int64_t count = std::min(most, segment.size - at);
    chunks.push_back({segment.offset + at, static_cast<std::int32_t>(count), index});
  }
}

/// Chunk indices are 32-bit: 2^31 of them are 2^43 parameters or, badly cut, 2^31 tiny segments.
void check_chunk_count(const Layout& layout, std::int64_t chunk_elements) {
  std::int64_t count = layout.segments() + layout.size() / chunk_elements;
  if (count > std::numeric_limits<std::int32_t>::max()) {
    throw InvalidArgument("Optimizer: layout: got about " + std::to_string(count) +
                          " chunks of work, expected fewer than 2^31");
  }
}

}  // namespace

std::vector<std::int32_t> projections(const Layout& layout, Projection projection) {
  std::vector<std::int32_t> result(static_cast<std::size_t>(layout.segments()), 0);
  if (projection == Projection::model) return result;
  std::map<int, std::int32_t> number_of;  // by group or segment
  for (int s = 0; s < layout.segments(); ++s) {
    const Segment segment = layout.segment(s);
    if (segment.task != shared_by_all) continue;
    const int key = projection == Projection::group ? segment.group : s;
    const auto next = static_cast<std::int32_t>(number_of.size());
    result[static_cast<std::size_t>(s)] = number_of.try_emplace(key, next).first->second;
  }
  return result;
}

std::int64_t chunk_elements_of(const Layout& layout) {
  std::int64_t elements = kernels::chunk_elements;
  while (elements > kernels::least_chunk_elements &&
         elements * kernels::preferred_spans > layout.size()) {
    elements /= 2;
  }
  return elements;
}

Work::Work(const Layout& layout, const std::vector<std::int32_t>& projection_of,
           std::int64_t chunk_elements, int tasks)
    : segment_chunks(2 * static_cast<std::size_t>(layout.segments())),
      shared_size(layout.shared_size()) {
  check_chunk_count(layout, chunk_elements);
  for (const bool heads : {false, true}) {
    const auto first = static_cast<std::int32_t>(chunks.size());
    for (int s = 0; s < layout.segments(); ++s) {
      const Segment segment = layout.segment(s);
      if ((segment.task != shared_by_all) != heads) continue;
      auto* own = segment_chunks.data() + 2 * s;
      own[0] = static_cast<std::int32_t>(chunks.size());
      append_chunks(segment, s, chunk_elements, chunks);
      own[1] = static_cast<std::int32_t>(chunks.size());
    }
    append_spans(chunks, first, chunk_elements, heads ? 1 : tasks, projection_of, spans);
    if (!heads) shared_spans = static_cast<std::int32_t>(spans.size());
  }
  // A projection's spans one after another, by offset among themselves.
  const auto of = [&](const kernels::Span& span) {
    return projection_at(chunks, projection_of, span.first);
  };
  const auto shared_end = spans.begin() + shared_spans;
  std::ranges::stable_sort(spans.begin(), shared_end, {}, of);
  const auto last = std::ranges::max_element(projection_of);
  const std::int32_t count = last == projection_of.end() ? 1 : *last + 1;
  for (std::int32_t p = 0; p <= count; ++p) {
    const auto begin = std::ranges::lower_bound(spans.begin(), shared_end, p, {}, of);
    projection_spans.push_back(static_cast<std::int32_t>(begin - spans.begin()));
  }
}

kernels::WorkTable Work::table(const kernels::Chunk* chunks_at, const kernels::Span* spans_at,
                               const std::int32_t* projection_spans_at,
                               const std::int32_t* segment_chunks_at) const {
  return {chunks_at,
          spans_at,
          projection_spans_at,
          segment_chunks_at,
          static_cast<std::int32_t>(chunks.size()),
          shared_spans,
          head_spans(),
          projections(),
          shared_size};
}

}  // namespace gramstep::host
