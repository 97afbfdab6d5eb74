// What the tests of the runner share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <vector>

#include "fiber_context.hpp"

namespace gramstep::simt {

/// Built with AddressSanitizer and UndefinedBehaviorSanitizer.
inline constexpr bool address_build = std::string_view(GRAMSTEP_SANITIZE) == "address";
/// Built with ThreadSanitizer.
inline constexpr bool thread_build = std::string_view(GRAMSTEP_SANITIZE) == "thread";

inline constexpr Order all_orders[] = {Order::forward, Order::reverse, Order::random};

struct NoShared {};

/// A kernel with a bug has the barrier in question left out.
enum class Barrier { present, missing };

template <Barrier barrier, class X>
void sync_if(const X& x, Site site = Site::here()) {
  if constexpr (barrier == Barrier::present) x.sync(site);
}

/// out[block] = sum of in[0, size) over what the block's threads visit, as any reduction does it.
template <Barrier barrier = Barrier::present>
struct BlockSum {
  const double* in;
  std::int64_t size;
  double* out;

  struct Shared {
    double of_warp[warp_size];
  };

  template <class X>
  void operator()(const X& x, Shared& shared) const {
    double sum = 0;
    const std::int64_t first = x.block() * x.threads() + x.thread();
    for (std::int64_t i = first; i < size; i += x.blocks() * x.threads()) sum += in[i];
    sum = x.warp_sum(sum);
    if (x.lane() == 0) shared.of_warp[x.warp()] = sum;
    sync_if<barrier>(x);
    if (x.warp() > 0) return;
    sum = x.warp_sum(x.lane() < x.threads() / warp_size ? shared.of_warp[x.lane()] : 0.0);
    if (x.lane() == 0) out[x.block()] = sum;
  }
};

inline std::vector<double> one_two_three(std::size_t count) {
  std::vector<double> values(count);
  std::iota(values.begin(), values.end(), 1.0);
  return values;
}

}  // namespace gramstep::simt
