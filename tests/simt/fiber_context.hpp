// The execution context that kernel bodies get in tests, and the launch of a body.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "runtime.hpp"

namespace gramstep::simt {

/// A CUDA thread's view of its place in the grid and of its neighbours. Grids have one dimension.
class FiberContext {
 public:
  FiberContext(Thread& self, const Place& place) : self_(self), place_(place) {}

  int thread() const { return place_.thread; }
  int threads() const { return place_.threads; }
  std::int64_t block() const { return place_.block; }
  std::int64_t blocks() const { return place_.blocks; }
  int lane() const { return place_.thread % warp_size; }
  int warp() const { return place_.thread / warp_size; }

  /// Barrier of the block. Threads that meet must have called it from the same line.
  void sync(Site site = Site::here()) const { wait_for_block(self_, site); }

  /// Barrier of the warp. Its lanes must have called it from the same line.
  void warp_sync(Site site = Site::here()) const { wait_for_warp(self_, site); }

  /// Reads, so that a sanitizer sees an address that is none; what is there others may write meanwhile.
  __attribute__((noinline, no_sanitize("thread"))) void prefetch(const void* from) const {
    [[maybe_unused]] const char there = *static_cast<const volatile char*>(from);
  }

  std::uint64_t read_early(const void* from) const {
    std::uint64_t value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }

  /// The value of the lane `offset` above, the caller's own where there is none. Full warps only.
  template <class T>
  T shuffle_down(T value, int offset, Site site = Site::here()) const {
    const Exchanged* values = exchange_in_warp(self_, {to_bits(value)}, "shuffle_down", site);
    const int source = lane() + offset;
    return from_bits<T>(values[0 <= source && source < warp_size ? source : lane()][0]);
  }

  /// 16 bytes from global to shared memory, made no earlier than a wait demands: whoever reads too
  /// early reads what was there before.
  void copy_async(void* to, const void* from) const { queue_copy(self_, to, from); }
  void commit_copies() const { simt::commit_copies(self_); }
  template <int Pending>
  void wait_for_copies() const {
    simt::wait_for_copies(self_, Pending);
  }

  /// Sum over each group of `Lanes` lanes in its first one, the very bits that shuffle_down by
  /// Lanes / 2, .., 2 and 1 would give; garbage in the other lanes. One meeting instead of five:
  /// most of a test's time is switches.
  template <int Lanes = warp_size, class T>
  T warp_sum(T value, Site site = Site::here()) const {
    static_assert(warp_size % Lanes == 0);
    const Exchanged* values = exchange_in_warp(self_, {to_bits(value)}, "warp_sum", site);
    if (lane() % Lanes != 0) return from_bits<T>(~std::uint64_t{0});
    T sums[Lanes];
    for (int i = 0; i < Lanes; ++i) sums[i] = from_bits<T>(values[lane() + i][0]);
    for (int half = Lanes / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) sums[i] = static_cast<T>(sums[i] + sums[i + half]);
    }
    return sums[0];
  }

  /// The largest of all lanes' numbers.
  std::uint32_t warp_max(std::uint32_t value, Site site = Site::here()) const {
    const Exchanged* values = exchange_in_warp(self_, {to_bits(value)}, "warp_max", site);
    std::uint64_t largest = 0;
    for (int i = 0; i < warp_size; ++i) largest = std::max(largest, values[i][0]);
    return static_cast<std::uint32_t>(largest);
  }

  /// As inexact as a device may be: see cut_sum.
  template <class Type>
  void multiply_add(float (&sums)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                    Site site = Site::here()) const {
    const int row = lane() / 4 * 4, column = lane() % 4 * 8;  // the first lanes that have them
    const auto pair = [](std::uint32_t low, std::uint32_t high) {
      return std::uint64_t{high} << 32 | low;
    };
    const Exchanged* values = exchange_in_warp(
        self_, {pair(a[0], a[1]), pair(a[2], a[3]), pair(b[0], b[1])}, "multiply_add", site);
    std::uint64_t left[2][4], right[2][4];  // halves of A's columns; columns of B
    for (int i = 0; i < 4; ++i) {
      for (int half = 0; half < 2; ++half) {
        left[half][i] = values[row + i][static_cast<std::size_t>(half)];
        right[half][i] = values[column + 4 * half + i][2];
      }
    }
    for (int c = 0; c < 4; ++c) {
      for (int half = 0; half < 2; ++half) {
        double products[4 * in_word<Type>];
        for (int k = 0; k < 4 * in_word<Type>; ++k) {
          const int of_word = k % in_word<Type>;
          const float of_a = number<Type>(left[half][k / in_word<Type>], c / 2, of_word);
          const float of_b = number<Type>(right[c % 2][k / in_word<Type>], half, of_word);
          products[k] = static_cast<double>(of_a) * static_cast<double>(of_b);
        }
        sums[c] = cut_sum(static_cast<double>(sums[c]), products);
      }
    }
  }

 private:
  /// Numbers in a word: two of 16 bits, or one of fp32.
  template <class Type>
  static constexpr int in_word = requires { Type::widen(std::uint16_t{}); } ? 2 : 1;

  /// One of the numbers in the first or second of a lane's two words; 11 bits of fp32.
  template <class Type>
  static float number(std::uint64_t words, int second, int of_word) {
    const auto word = static_cast<std::uint32_t>(words >> 32 * second);
    if constexpr (in_word<Type> == 2) {
      return Type::widen(static_cast<std::uint16_t>(word >> 16 * of_word));
    } else {
      return from_bits<float>(word & ~((1u << 13) - 1));
    }
  }

  /// The sum of what there was and the products, each cut off 24 bits from the largest one's first, as the sum is
  /// from its own.
  template <int Count>
  static float cut_sum(double sum, const double (&products)[Count]) {
    double largest = std::fabs(sum), uncut = sum;
    for (const double product : products) {
      largest = std::max(largest, std::fabs(product));
      uncut += product;
    }
    if (!std::isfinite(uncut) || largest == 0) return static_cast<float>(uncut);
    const Cut cut(largest);
    double total = cut(sum);
    for (const double product : products) total += cut(product);
    return static_cast<float>(total == 0 ? total : Cut(total)(total));
  }

  /// Cuts numbers off 24 bits from the first one of a number that is not 0.
  class Cut {
   public:
    explicit Cut(double largest) : exponent_(to_bits(largest) & 0x7ff0'0000'0000'0000) {}
    double operator()(double value) const {
      const auto units = static_cast<std::int64_t>(value * (inverse_ * 0x1p23));
      return static_cast<double>(units) * (power_ * 0x1p-23);
    }

   private:
    std::uint64_t exponent_;
    double power_ = from_bits<double>(exponent_);
    double inverse_ = from_bits<double>(0x7fe0'0000'0000'0000 - exponent_);
  };

  template <class T>
  static std::uint64_t to_bits(const T& value) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
  }

  template <class T>
  static T from_bits(std::uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }

  Thread& self_;
  Place place_;
};

/// Most shared memory a CUDA block can declare.
inline constexpr std::size_t max_shared_bytes = 48 * 1024;

/// Runs a kernel body over a grid. Shared memory is filled with 0xff, hence NaN, before each block.
template <class Body>
void run(const Launch& launch, const Body& body) {
  using Shared = typename Body::Shared;
  static_assert(std::is_trivially_copyable_v<Body>, "a kernel's arguments are copied bit by bit");
  static_assert(std::is_trivial_v<Shared>, "nobody constructs shared memory");
  static_assert(sizeof(Shared) <= max_shared_bytes);
  run_grid(launch, {&body, sizeof(Shared), alignof(Shared),
                    [](const void* erased, void* shared, Thread& self, const Place& place) {
                      const auto& typed = *static_cast<const Body*>(erased);
                      const FiberContext x(self, place);
                      auto& own = *static_cast<Shared*>(shared);
                      if constexpr (requires { typed.prefetch(x); }) typed.prefetch(x);
                      if constexpr (requires { typed.ahead(x, own); }) typed.ahead(x, own);
                      typed(x, own);
                    }});
}

}  // namespace gramstep::simt
