// Vectors of the instruction set that this translation unit is compiled for. Included by the leaves'
// sources only: everything here has internal linkage, so that no other set's code can be linked in its
// place.
#pragma once

#include <cstdint>

#include "kernels/context.hpp"

#if defined(__AVX512F__)
#define GRAMSTEP_VECTOR_BYTES 64
#define GRAMSTEP_GRAM_TILE 4  // 16 sums and 8 values in 32 registers
#elif defined(__AVX__)
#define GRAMSTEP_VECTOR_BYTES 32
#define GRAMSTEP_GRAM_TILE 3  // 9 sums and 4 values in 16 registers
#else
#define GRAMSTEP_VECTOR_BYTES 16
#define GRAMSTEP_GRAM_TILE 3
#endif

// The next loop's iterations touch different memory. Not `omp simd`: g++ turns the locals of such a
// loop into arrays before it inlines the rule, and then vectorises nothing.
// UNROLLED: before the compiler decides what lives in registers, or g++ keeps a tile on the stack.
#if defined(__clang__)
#define GRAMSTEP_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#define GRAMSTEP_UNROLLED _Pragma("clang loop unroll(full)")
#else
#define GRAMSTEP_INDEPENDENT _Pragma("GCC ivdep")
#define GRAMSTEP_UNROLLED _Pragma("GCC unroll 16")
#endif

namespace gramstep::host {
namespace {

typedef float Vector __attribute__((vector_size(GRAMSTEP_VECTOR_BYTES)));
typedef float LooseVector
    __attribute__((vector_size(GRAMSTEP_VECTOR_BYTES), aligned(4), may_alias));
typedef float HalfVector __attribute__((vector_size(GRAMSTEP_VECTOR_BYTES / 2)));
typedef double WideVector __attribute__((vector_size(GRAMSTEP_VECTOR_BYTES)));
constexpr int vector_lanes = GRAMSTEP_VECTOR_BYTES / 4;

[[gnu::always_inline]] inline Vector load_vector(const float* from) {
  return *reinterpret_cast<const LooseVector*>(from);
}

[[gnu::always_inline]] inline void store_vector(Vector from, float* to) {
  *reinterpret_cast<LooseVector*>(to) = from;
}

/// Who runs a kernel body here.
struct LeafThread : kernels::SingleThread {};

constexpr int cache_line = 16;  // floats

/// Asks for a cache line, into L2: it cannot fault, wherever it points. Into L1 it took twice the time
/// of none at all on a Zen 4 from four streams on, where every miss of L1 holds up the next. Whoever does nothing else
/// has to be inlined by force too: g++ takes it for a function without effect, and drops its calls.
[[gnu::always_inline]] inline void fetch(const float* line) {
  __builtin_prefetch(line, 0 /* read */, 2 /* L2 */);
}

}  // namespace
}  // namespace gramstep::host
