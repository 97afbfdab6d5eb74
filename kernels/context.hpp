// The execution context of a kernel body, and the context whose block is one thread.
//
// A kernel body is a callable with a nested type Shared and
//   template <class X> void operator()(const X& x, Shared& shared) const;
// and, where it is worth it, one that runs before all launches ahead of it have ended:
//   template <class X> void prefetch(const X& x) const;
//   template <class X> void ahead(const X& x, Shared& shared) const;
// of which the second writes shared memory alone, and reads with read_early what those launches may change.
// X is who runs it: nvcc's device context (device_context.cuh), the single thread below (the CPU
// backend's plan), or the tests' fibers. Its vocabulary is that of cooperative groups:
//
//   int thread(), threads()             rank in the block, block size (a multiple of 32, or 1)
//   std::int64_t block(), blocks()      rank in the grid, grid size
//   int lane(), warp()                  rank in the warp, rank of the warp in the block
//   void sync()                         barrier of the block
//   void warp_sync()                    barrier of a full warp
//   T warp_sum<Lanes = 32>(T)           sum over each group of that many lanes, in its first one;
//                                       all lanes of the warp call
//   std::uint32_t warp_max(std::uint32_t)  the largest of all lanes' numbers, in all of them; all call
//   void prefetch(from)                 memory that will soon be read comes nearer; what is there then is
//                                       read later, and may change until then
//   std::uint64_t read_early(from)      8 bytes, aligned to them, that a launch which has not ended may change:
//                                       as they are now, and whoever reads them later sees them as they are then
//   void multiply_add<Type>(float (&sums)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2])
//                                       the warp adds A B to 16 x 8 sums; all lanes call, lane 4 g + t
//                                       with words t, t, t + 4 and t + 4 of rows g, g + 8, g and g + 8 of
//                                       A, words t and t + 4 of column g of B, and of the sums (g, 2 t),
//                                       (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1). A word is two
//                                       neighbours of 16 bits, or 11 bits of one of fp32
//   void copy_async(to, from)           16 bytes from global to shared memory, both aligned to them
//   void commit_copies()                makes the copies since the last commit, if any, one group
//   void wait_for_copies<Pending>()     until no more than that many of the caller's groups are on
//                                       their way; sync() then shows them to the others
#pragma once

#include <cstdint>

#include "gramstep/export.hpp"

// Unrolls the loop that follows on the device, where registers cannot be indexed at run time.
#if defined(__CUDACC__)
#define GRAMSTEP_PRAGMA(text) _Pragma(#text)
#define GRAMSTEP_UNROLL GRAMSTEP_PRAGMA(unroll)
#define GRAMSTEP_UNROLL_BY(n) GRAMSTEP_PRAGMA(unroll n)
#else
#define GRAMSTEP_UNROLL
#define GRAMSTEP_UNROLL_BY(n)
#endif

namespace gramstep::kernels {

/// Prefetches `bytes` from `from` on, which may be null: a block, 128 bytes a thread.
template <class X>
GRAMSTEP_BODY void prefetch(const X& x, const void* from, std::int64_t bytes) {
  constexpr std::int64_t line = 128;
  if (from == nullptr) return;
  for (std::int64_t at = line * x.thread(); at < bytes; at += line * x.threads()) {
    x.prefetch(static_cast<const char*>(from) + at);
  }
}

/// A grid of one block of one thread: plain sequential code.
struct SingleThread {
  GRAMSTEP_BODY int thread() const { return 0; }
  GRAMSTEP_BODY int threads() const { return 1; }
  GRAMSTEP_BODY std::int64_t block() const { return 0; }
  GRAMSTEP_BODY std::int64_t blocks() const { return 1; }
  GRAMSTEP_BODY int warp() const { return 0; }
  GRAMSTEP_BODY void sync() const {}
  GRAMSTEP_BODY void warp_sync() const {}
  template <class T>
  GRAMSTEP_BODY T warp_sum(T value) const {
    return value;
  }
};

}  // namespace gramstep::kernels
