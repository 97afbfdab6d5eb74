// Numbers of 16 bits, from and to fp32: in integers, so that every device and every vector has the same
// bits, subnormals of binary16 too, which flushing would lose.
#pragma once

#include <cstdint>

#include "gramstep/philox.hpp"
#include "gramstep/precision.hpp"
#include "kernels/context.hpp"

namespace gramstep::kernels {

GRAMSTEP_BODY std::uint32_t bits_of(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

GRAMSTEP_BODY float float_of(std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

inline constexpr std::uint32_t sign_bit = 0x80000000, infinity_bits = 0x7f800000;

/// A bfloat16. `random`: 16 bits that decide between its neighbours, or what rounds to nearest even.
struct Bfloat16 {
  GRAMSTEP_BODY static float widen(std::uint16_t stored) {
    return float_of(std::uint32_t{stored} << 16);
  }
  GRAMSTEP_BODY static std::uint32_t half_way(std::uint32_t bits) {
    return 0x7fff + (bits >> 16 & 1);
  }
  GRAMSTEP_BODY static std::uint16_t nearest(float value) {
    const std::uint32_t bits = bits_of(value);
    return rounded(bits, half_way(bits));
  }
  GRAMSTEP_BODY static std::uint16_t stochastic(float value, std::uint32_t random) {
    return rounded(bits_of(value), random);
  }

 private:
  GRAMSTEP_BODY static std::uint16_t rounded(std::uint32_t bits, std::uint32_t added) {
    const bool nan = (bits & ~sign_bit) > infinity_bits;
    return static_cast<std::uint16_t>(nan ? bits >> 16 | 0x40 : (bits + added) >> 16);
  }
};

/// An IEEE binary16.
struct Float16 {
  static constexpr std::uint32_t bias = std::uint32_t{127 - 15} << 23;
  static constexpr std::uint32_t smallest_normal = std::uint32_t{127 - 14}
                                                   << 23;                 // 2^-14, fp32's bits
  static constexpr std::uint32_t beyond = std::uint32_t{127 + 16} << 23;  // 65536

  GRAMSTEP_BODY static float widen(std::uint16_t stored) {
    const std::uint32_t sign = (std::uint32_t{stored} & 0x8000) << 16;
    const std::uint32_t magnitude = std::uint32_t{stored} & 0x7fff;
    // Shifted into fp32's place a subnormal would be one there too, and flushed.
    const std::uint32_t tiny = bits_of(static_cast<float>(static_cast<int>(magnitude)) * 0x1p-24f);
    const std::uint32_t normal = (magnitude << 13) + (magnitude >= 0x7c00 ? 2 * bias : bias);
    return float_of(sign | (magnitude < 0x400 ? tiny : normal));
  }
  GRAMSTEP_BODY static std::uint16_t nearest(float value) {
    const std::uint32_t magnitude = bits_of(value) & ~sign_bit;
    const std::uint32_t normal = (magnitude - bias + 0xfff + (magnitude >> 13 & 1)) >> 13;
    // 0.5's last bit is 2^-24, a subnormal's: the sum rounds as it has to.
    const std::uint32_t tiny = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
    return chosen(value, normal, tiny);
  }
  /// `random`: 16 bits; of a normal number 13 are used. Below 2^-40 the rest of a subnormal's place has
  /// more bits than they, and is 0.
  GRAMSTEP_BODY static std::uint16_t stochastic(float value, std::uint32_t random) {
    const std::uint32_t magnitude = bits_of(value) & ~sign_bit;
    const std::uint32_t normal = (magnitude - bias + (random >> 3)) >> 13;
    const float small = float_of(magnitude < smallest_normal ? magnitude : smallest_normal);
    const auto places = static_cast<std::uint32_t>(static_cast<int>(small * 0x1p40f));
    return chosen(value, normal, (places + random) >> 16);
  }

 private:
  GRAMSTEP_BODY static std::uint16_t chosen(float value, std::uint32_t normal, std::uint32_t tiny) {
    const std::uint32_t bits = bits_of(value), magnitude = bits & ~sign_bit;
    const std::uint32_t large = magnitude > infinity_bits ? 0x7e00 : 0x7c00;
    const std::uint32_t finite = magnitude < smallest_normal ? tiny : normal;
    return static_cast<std::uint16_t>((bits & sign_bit) >> 16 |
                                      (magnitude < beyond ? finite : large));
  }
};

/// An fp32 number as the nearest bfloat16, ties away from zero, and the bits by which it differs from that.
struct Split {
  std::uint16_t upper;
  std::uint16_t remainder;  // an int16

  GRAMSTEP_BODY static Split of(float value) {
    const std::uint32_t bits = bits_of(value);
    if ((bits & ~sign_bit) > infinity_bits) {
      return {static_cast<std::uint16_t>(bits >> 16 | 0x40), 0};  // or it could carry into the sign
    }
    return {static_cast<std::uint16_t>((bits + 0x8000) >> 16), static_cast<std::uint16_t>(bits)};
  }
  /// The number again, `upper` widened.
  GRAMSTEP_BODY static float join(float upper, std::uint16_t remainder) {
    const std::int32_t difference = static_cast<std::int16_t>(remainder);
    return float_of(bits_of(upper) + static_cast<std::uint32_t>(difference));
  }
};

/// What random numbers of a step are drawn for: parameters, or, from that number on, the rule's states.
inline constexpr std::uint32_t params_draw = 0, states_draw = 1;

/// Elements that have their random bits of one draw, 16 bits each in the order of the words.
inline constexpr int elements_a_draw = 8;

/// The counter of the draw for elements [8 * eight, 8 * eight + 8) of the flat buffer, with the seed for its
/// key. Places and steps are below 2^48.
GRAMSTEP_BODY PhiloxWords draw_counter(std::int64_t step, std::uint32_t draw, std::int64_t eight) {
  return {{static_cast<std::uint32_t>(eight),
           static_cast<std::uint32_t>(eight >> 32) | static_cast<std::uint32_t>(step >> 32) << 16,
           static_cast<std::uint32_t>(step), 0x726f756e + draw}};
}

/// The bits of the element at that place among eight. Chosen, not indexed: registers cannot be.
GRAMSTEP_BODY std::uint32_t random_bits(const PhiloxWords& drawn, int place) {
  const std::uint32_t* word = drawn.word;
  const std::uint32_t lower = place < 2 ? word[0] : word[1];
  const std::uint32_t upper = place < 6 ? word[2] : word[3];
  return (place < 4 ? lower : upper) >> (16 * (place % 2)) & 0xffff;
}

}  // namespace gramstep::kernels
