// Views: a segment of a flat buffer as a named, shaped piece of memory.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "gramstep/layout.hpp"
#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// One segment of somebody's flat buffer: where its elements are and what shape they have. The memory
/// stays its owner's and is on whatever device the buffer is on; a view never outlives it.
template <class T>
struct TensorView {
  T* data = nullptr;      ///< first element
  std::int64_t size = 0;  ///< elements, contiguous
  Shape shape;            ///< as it was given to Layout::add

  /// The elements as a span; to be dereferenced only where `data` can be.
  std::span<T> span() const { return {data, static_cast<std::size_t>(size)}; }
};

/// The view of segment `name` in `buffer`, a flat buffer of layout.size() elements of any type.
/// Throws InvalidArgument for a name that is not there. Touches no memory.
template <class T>
TensorView<T> view(const Layout& layout, T* buffer, std::string_view name) {
  Segment segment = layout.segment(name);
  return {buffer + segment.offset, segment.size, std::move(segment.shape)};
}

/// The view of head `name` in `heads`, a buffer of layout.heads_size() elements such as the heads'
/// gradients, whose first element belongs to element layout.shared_size() of the flat buffer.
/// Throws InvalidArgument for a name that is not there, or not a head's. Touches no memory.
template <class T>
TensorView<T> head_view(const Layout& layout, T* heads, std::string_view name) {
  Segment segment = layout.segment(name);
  expect(segment.task != shared_by_all, name, "is shared by all tasks, expected a head");
  return {heads + (segment.offset - layout.shared_size()), segment.size, std::move(segment.shape)};
}

}  // namespace gramstep::inline v1
