// Neighbouring elements of memory, several at one access.
#pragma once

#include <cstdint>

#include "kernels/context.hpp"

namespace gramstep::kernels {

/// Four consecutive elements: one access of 128 bits, or of 64.
template <class T>
struct alignas(4 * sizeof(T)) Four {
  T v[4];
};

/// Width elements from `from`, which is aligned to them.
template <class T, int Width>
GRAMSTEP_BODY void load(const T* from, T (&to)[Width]) {
  if constexpr (Width == 4) {
    const Four<T> four = *reinterpret_cast<const Four<T>*>(from);
    GRAMSTEP_UNROLL
    for (int c = 0; c < 4; ++c) to[c] = four.v[c];
  } else {
    static_assert(Width == 1);
    to[0] = *from;
  }
}

/// Width elements to `to`, which is aligned to them.
template <class T, int Width>
GRAMSTEP_BODY void store(const T (&from)[Width], T* to) {
  if constexpr (Width == 4) {
    *reinterpret_cast<Four<T>*>(to) = {{from[0], from[1], from[2], from[3]}};
  } else {
    static_assert(Width == 1);
    *to = from[0];
  }
}

/// Where four neighbouring elements are that may lie across the alignment of four, or not all be there: `count`
/// of them from element `first` on, which are looked at one by one. What is not there is read as 0.
struct Few {
  std::int64_t first;
  int count;

  GRAMSTEP_BODY Few operator+(std::int64_t distance) const { return {first + distance, count}; }
};

/// The number of the first of neighbouring elements, and how many of Width there are: all, unless they are few.
GRAMSTEP_BODY std::int64_t first_of(std::int64_t at) { return at; }
GRAMSTEP_BODY std::int64_t first_of(const Few& few) { return few.first; }
template <int Width>
GRAMSTEP_BODY int count_of(std::int64_t) {
  return Width;
}
template <int Width>
GRAMSTEP_BODY int count_of(const Few& few) {
  return few.count;
}

/// Neighbouring elements from or to element `at` of memory, which is aligned to them, or a few.
template <class T, int Width>
GRAMSTEP_BODY void load(const T* from, std::int64_t at, T (&to)[Width]) {
  load(from + at, to);
}
template <class T>
GRAMSTEP_BODY void load(const T* from, const Few& few, T (&to)[4]) {
  GRAMSTEP_UNROLL
  for (int c = 0; c < 4; ++c) to[c] = c < few.count ? from[few.first + c] : T{};
}
template <class T, int Width>
GRAMSTEP_BODY void store(const T (&from)[Width], T* to, std::int64_t at) {
  store(from, to + at);
}
template <class T>
GRAMSTEP_BODY void store(const T (&from)[4], T* to, const Few& few) {
  GRAMSTEP_UNROLL
  for (int c = 0; c < 4; ++c) {
    if (c < few.count) to[few.first + c] = from[c];
  }
}

}  // namespace gramstep::kernels
