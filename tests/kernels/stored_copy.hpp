// StoredCopy: a buffer's numbers in memory of another type.
#pragma once

#include <algorithm>
#include <cstdint>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "host/backend.hpp"
#include "tests/support.hpp"

namespace gramstep::test {

/// Rounds numbers to those that a type has.
inline void round_to(DType dtype, std::span<float> numbers) {
  std::vector<std::uint16_t> stored(numbers.size());
  host::narrow(dtype, numbers, stored.data());
  std::ranges::copy(host::widened(dtype, stored.data(), std::ssize(numbers)), numbers.begin());
}

/// 16-bit copies of fp32 numbers, as far from a multiple of 64 bytes in elements as those are.
class StoredCopy {
 public:
  StoredCopy(std::span<const float> numbers, DType dtype)
      : size_(numbers.size()),
        shift_(reinterpret_cast<std::uintptr_t>(numbers.data()) % 64 / sizeof(float)),
        memory_(static_cast<std::uint16_t*>(
            ::operator new((size_ + shift_) * sizeof(std::uint16_t), std::align_val_t{64}))) {
    host::narrow(dtype, numbers, memory_ + shift_);
  }
  StoredCopy(StoredCopy&& from) noexcept
      : size_(from.size_), shift_(from.shift_), memory_(std::exchange(from.memory_, nullptr)) {}
  StoredCopy& operator=(StoredCopy&&) = delete;
  ~StoredCopy() { ::operator delete(memory_, std::align_val_t{64}); }

  std::span<std::uint16_t> span() const { return {memory_ + shift_, size_}; }

 private:
  std::size_t size_, shift_;
  std::uint16_t* memory_;
};

}  // namespace gramstep::test
