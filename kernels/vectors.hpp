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

}  // namespace gramstep::kernels
