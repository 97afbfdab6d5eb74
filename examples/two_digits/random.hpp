// Random: one generator for each purpose, so that no two purposes share their numbers.
#pragma once

#include <cstdint>
#include <random>

namespace two_digits {

enum class Purpose : std::uint32_t { split, pairs, label_noise, parameters, batches };

/// A generator that depends on seed and purpose alone.
inline std::mt19937_64 random_engine(std::uint64_t seed, Purpose purpose) {
  std::seed_seq sequence{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                         static_cast<std::uint32_t>(purpose)};
  return std::mt19937_64(sequence);
}

}  // namespace two_digits
