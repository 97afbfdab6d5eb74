// What the tests share: memory with poison in it, random numbers, comparisons of bits.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <new>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gramstep/gramstep.hpp"

namespace gramstep::test {

/// A signalling NaN, which no computation leaves as it is: what is never to be read or written.
inline constexpr std::uint32_t poison_bits = 0x7fa0dead;
inline const float poison = std::bit_cast<float>(poison_bits);

/// Poisoned memory of exactly `size` floats, `shift` floats beyond a multiple of 64 bytes.
class Floats {
 public:
  explicit Floats(std::int64_t size = 0, int shift = 0)
      : size_(static_cast<std::size_t>(size)),
        shift_(static_cast<std::size_t>(shift)),
        memory_(static_cast<float*>(
            ::operator new ((size_ + shift_) * sizeof(float), std::align_val_t{64}))) {
    for (std::size_t i = 0; i < size_ + shift_; ++i) memory_[i] = poison;
  }
  Floats(Floats&& from) noexcept
      : size_(from.size_), shift_(from.shift_), memory_(std::exchange(from.memory_, nullptr)) {}
  Floats& operator=(Floats&&) = delete;
  ~Floats() { ::operator delete (memory_, std::align_val_t{64}); }

  float* data() const { return memory_ + shift_; }
  std::span<float> span() const { return {data(), size_}; }
  float& operator[](std::int64_t i) const { return data()[i]; }

 private:
  std::size_t size_, shift_;
  float* memory_;
};

/// Random numbers that are the same everywhere, which the standard's distributions are not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t bits() { return engine_(); }
  /// In [-1, 1).
  double uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-52 - 1; }
  /// A multiple of 1/16 in [-4, 4): sums of thousands of products of such are exact in fp32, so
  /// that the Gram matrix has no rounding in it.
  float exact() { return (static_cast<float>(engine_() >> 57) - 64) / 16; }

 private:
  std::mt19937_64 engine_;
};

/// Whether both have the same bits; says where they do not.
inline ::testing::AssertionResult same_bits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) {
    return ::testing::AssertionFailure() << a.size() << " elements against " << b.size();
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) {
      return ::testing::AssertionFailure()
             << "element " << i << ": " << a[i] << " against " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

inline ::testing::AssertionResult same_bits(const std::vector<double>& a,
                                            const std::vector<double>& b) {
  if (a.size() != b.size()) {
    return ::testing::AssertionFailure() << a.size() << " elements against " << b.size();
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<std::uint64_t>(a[i]) != std::bit_cast<std::uint64_t>(b[i])) {
      return ::testing::AssertionFailure()
             << "element " << i << ": " << a[i] << " against " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

/// Runs `action` and returns the message of the Exception it throws; fails where it throws none.
/// Every one of `words` must be in the message.
template <class Exception, class Action>
void expect_error(const Action& action, const std::vector<std::string>& words) {
  try {
    action();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Exception& error) {
    const std::string message = error.what();
    for (const std::string& word : words) {
      EXPECT_NE(message.find(word), std::string::npos) << "no '" << word << "' in: " << message;
    }
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another exception was thrown: " << error.what();
  }
}

/// Notes in the test's XML how much of a bound was used up, 1 being all of it.
inline void record_share(double share) {
  ::testing::Test::RecordProperty("largest_share_of_bound", std::to_string(share));
}

/// Lengths around the ends of vectors, segments and chunks.
inline constexpr std::int64_t edge_sizes[] = {0, 1, 127, 128, 129, 4095, 4096, 4097, 7'001};
/// Fewer of them, for tests whose reference takes K^2 N.
inline constexpr std::int64_t few_edge_sizes[] = {0, 1, 127, 129, 4097};

}  // namespace gramstep::test
