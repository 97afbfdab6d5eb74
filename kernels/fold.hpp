// Between gram and plan, on a GPU: many partials become few. One block reads some 50 GB/s, and the plan of one
// projection is one block.
#pragma once

#include "kernels/gram.hpp"

namespace gramstep::kernels {

/// Partials of one Gram matrix, [spans, pairs]. Of every `fold` of them the first has the sum.
struct Partials {
  const double* first;
  std::int32_t spans;
  std::int32_t fold;
};

/// How many partials a launch of its own makes one of: 1 where that is none. 2^15 doubles took a block 10 us
/// of an H100, K = 8 at 10^7 parameters; a launch takes 1.
GRAMSTEP_BOTH std::int32_t fold_of(const WorkTable& work, int tasks) {
  const bool many = std::int64_t{work.shared_spans} * pairs_of(tasks) >= 1 << 15;
  return work.projections == 1 && many ? 32 : 1;
}

/// Adds up the partials of every fold in its first: a block some pairs of one fold. Traffic: a read of every
/// partial, mostly from the second-level cache.
struct FoldBody {
  static constexpr int threads = 256;
  double* partials;  // [spans, pairs]
  std::int32_t spans;
  std::int32_t pairs;
  std::int32_t fold;

  struct Shared {};

  GRAMSTEP_BOTH std::int32_t blocks_a_fold() const { return (pairs + threads - 1) / threads; }
  GRAMSTEP_BOTH std::int64_t blocks() const {
    return std::int64_t{(spans + fold - 1) / fold} * blocks_a_fold();
  }

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared&) const {
    for (std::int64_t block = x.block(); block < blocks(); block += x.blocks()) {
      const auto b = static_cast<std::int32_t>(block);
      const std::int32_t first = b / blocks_a_fold() * fold;
      const std::int32_t pair = b % blocks_a_fold() * threads + x.thread();
      const std::int32_t count = spans - first < fold ? spans - first : fold;
      if (pair >= pairs) continue;
      double* at = partials + std::int64_t{first} * pairs + pair;
      double sum = 0;
      GRAMSTEP_UNROLL_BY(16)  // loads on their way
      for (int i = 0; i < count; ++i) sum += at[std::int64_t{i} * pairs];
      *at = sum;
    }
  }
};

}  // namespace gramstep::kernels
