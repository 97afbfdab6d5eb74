// Philox: random numbers as a pure function of a key and a counter.
#pragma once

#include <cstdint>

#include "gramstep/export.hpp"

namespace gramstep::inline v1 {

/// Four 32-bit words: a counter, or the random bits that belong to it.
struct PhiloxWords {
  std::uint32_t word[4];
};

/// Philox4x32-10: 128 random bits for every (key, counter), the same on every device.
/// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 4.3.
///
/// key: the seed. counter: whatever identifies the draw, such as (step, task, number of the draw).
/// Deterministic, stateless, touches no memory.
GRAMSTEP_BODY PhiloxWords philox(std::uint64_t key, PhiloxWords counter) {
  std::uint32_t key0 = static_cast<std::uint32_t>(key);
  std::uint32_t key1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53} * counter.word[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * counter.word[2];
    counter = {{static_cast<std::uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0,
                static_cast<std::uint32_t>(product1),
                static_cast<std::uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1,
                static_cast<std::uint32_t>(product0)}};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

}  // namespace gramstep::inline v1
