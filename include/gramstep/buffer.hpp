// Buffers: somebody's memory with the type of its elements, and rows of pointers to such.
#pragma once

#include <cstdint>
#include <iterator>
#include <ranges>
#include <span>
#include <type_traits>

#include "gramstep/precision.hpp"

namespace gramstep::inline v1 {

/// A flat buffer of any storage type, on whatever device: a vector, a span or another contiguous range of
/// float, bfloat16 or float16 converts to one. The memory stays its owner's. Void is `void`, or `const void`
/// for memory that is only read.
template <class Void>
struct BasicBuffer {
  Void* data = nullptr;
  std::int64_t size = 0;  ///< elements
  DType dtype = DType::float32;

  BasicBuffer() = default;
  BasicBuffer(Void* its_data, std::int64_t its_size, DType its_dtype)
      : data(its_data), size(its_size), dtype(its_dtype) {}
  template <std::ranges::contiguous_range Range>
    requires Element<std::ranges::range_value_t<Range>> &&
                 std::is_convertible_v<decltype(std::ranges::data(std::declval<Range&>())), Void*>
  BasicBuffer(Range&& range)
      : data(std::ranges::data(range)),
        size(static_cast<std::int64_t>(std::ranges::size(range))),
        dtype(*dtype_of<std::ranges::range_value_t<Range>>) {}
  /// From a buffer that may be written to one that is read.
  template <class Other>
    requires(std::is_const_v<Void> && std::is_same_v<Other, void>)
  BasicBuffer(const BasicBuffer<Other>& other)
      : data(other.data), size(other.size), dtype(other.dtype) {}

  /// Its elements, which are of that type.
  template <Element T>
  auto as() const {
    using Value = std::conditional_t<std::is_const_v<Void>, const T, T>;
    return std::span<Value>(static_cast<Value*>(data), static_cast<std::size_t>(size));
  }
  /// Its elements from `first` on.
  BasicBuffer from(std::int64_t first) const {
    using Byte = std::conditional_t<std::is_const_v<Void>, const char, char>;
    return {static_cast<Byte*>(data) + first * size_of(dtype), size - first, dtype};
  }
};
using Buffer = BasicBuffer<void>;
using ConstBuffer = BasicBuffer<const void>;

/// Pointers to rows of one storage type: a vector, a span or another contiguous range of `const float*`,
/// `const bfloat16*`, … converts to it. The array of pointers is host memory, and its owner's.
struct Rows {
  const void* pointers = nullptr;  ///< an array of pointers
  std::int64_t count = 0;
  DType dtype = DType::float32;

  Rows() = default;
  Rows(const void* const* its_pointers, std::int64_t its_count, DType its_dtype)
      : pointers(its_pointers), count(its_count), dtype(its_dtype) {}
  template <std::ranges::contiguous_range Range>
    requires std::is_pointer_v<std::ranges::range_value_t<Range>> &&
                 Element<std::remove_pointer_t<std::ranges::range_value_t<Range>>>
  Rows(const Range& range)
      : pointers(std::ranges::data(range)),
        count(static_cast<std::int64_t>(std::ranges::size(range))),
        dtype(
            *dtype_of<std::remove_cv_t<std::remove_pointer_t<std::ranges::range_value_t<Range>>>>) {
  }

  /// Row k.
  const void* operator[](std::int64_t k) const {
    const void* row;
    __builtin_memcpy(&row, static_cast<const char*>(pointers) + k * std::int64_t{sizeof(row)},
                     sizeof(row));
    return row;
  }
  /// Row k, whose elements are of that type.
  template <Element T>
  const T* row(std::int64_t k) const {
    return static_cast<const T*>((*this)[k]);
  }
};

}  // namespace gramstep::inline v1
