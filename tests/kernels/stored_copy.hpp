// StoredCopy: a buffer's numbers in memory of another type.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
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

/// Copies of fp32 numbers in a type of 16 bits or less, as far from a multiple of 64 bytes in elements as those
/// are, but for codes of 8 bits, which are the optimizer's own. Those are drawn by the numbers, each a multiple of 1/255.
class StoredCopy {
 public:
  StoredCopy(std::span<const float> numbers, DType dtype)
      : size_(numbers.size()),
        shift_(dtype == DType::dynamic8
                   ? 0
                   : reinterpret_cast<std::uintptr_t>(numbers.data()) % 64 / sizeof(float)),
        item_(static_cast<std::size_t>(size_of(dtype))),
        memory_(
            static_cast<char*>(::operator new((size_ + shift_) * item_, std::align_val_t{64}))) {
    std::vector<float> stored(numbers.begin(), numbers.end());
    for (float& each : stored) {
      if (dtype == DType::dynamic8) each = std::isnan(each) ? 0x77 : std::floor(each * 255.0f);
    }
    host::narrow(dtype, stored, data());
  }
  StoredCopy(StoredCopy&& from) noexcept
      : size_(from.size_),
        shift_(from.shift_),
        item_(from.item_),
        memory_(std::exchange(from.memory_, nullptr)) {}
  StoredCopy& operator=(StoredCopy&&) = delete;
  ~StoredCopy() { ::operator delete(memory_, std::align_val_t{64}); }

  void* data() const { return memory_ + shift_ * item_; }
  /// The bits of every element.
  std::vector<std::uint32_t> bits() const {
    std::vector<std::uint32_t> found(size_);
    for (std::size_t i = 0; i < size_; ++i) {
      std::memcpy(&found[i], memory_ + (shift_ + i) * item_, item_);
    }
    return found;
  }

 private:
  std::size_t size_, shift_, item_;
  char* memory_;
};

}  // namespace gramstep::test
