// State of 8 bits: a block of it has a scale, and codes that say what part of it each element is.
//
// The code is dynamic (Dettmers, "8-bit approximations for parallelism in deep learning", ICLR 2016, and
// "8-bit optimizers via block-wise quantization", ICLR 2022): a band of numbers that is sixteen times smaller
// has half as many codes, evenly spread. Powers of sixteen, where Dettmers has powers of ten: no device
// needs a table, nor a division.
#pragma once

#include "gramstep/layout.hpp"
#include "kernels/numbers.hpp"

namespace gramstep::kernels {

/// Elements that share a scale: on a GPU those of a warp. No two segments share one. The root of the mean
/// square error of normal numbers is 1.13 % of theirs, of their squares 0.71 %; with blocks of 256 1.20 and
/// 0.78 %, of 2048 1.40 and 0.99 %.
inline constexpr int block8 = 128;
static_assert(segment_alignment % block8 == 0);

/// A code for numbers of both signs, or for numbers >= 0. Its ranks are magnitudes in ascending order: rank 0
/// is 0, and those of a band, [16^(level - top - 1), 16^(level - top)), are 2^level from 2^level on.
template <bool Signed>
struct Dynamic8 {
  static constexpr int top = Signed ? 6 : 7;

  /// The largest code, as a part of the scale: a block's largest number is exactly that, or it would lose a
  /// little in every step.
  static constexpr float largest = Signed ? 1.0f - 0.9375f / 128 : 1.0f - 0.9375f / 256;

  /// What part of the scale a code is.
  GRAMSTEP_BODY static float widen(std::uint8_t code) {
    const std::uint32_t sign = Signed ? (code & 0x80u) << 24 : 0;
    return float_of(sign | bits_of(magnitude_of(Signed ? code & 0x7f : code)));
  }

  /// The code of a part of the scale, at most 1 in magnitude but for rounding: the nearest of its band. What
  /// cannot be negative and is not 0 never becomes 0: it divides.
  GRAMSTEP_BODY static std::uint8_t nearest(float part) {
    return code_of(part, rank_of(magnitude_of(part)));
  }

  /// One of the two codes it lies between, by 16 random bits: on average it is the number itself.
  GRAMSTEP_BODY static std::uint8_t stochastic(float part, std::uint32_t random) {
    const float x = magnitude_of(part);
    const int near = rank_of(x);
    int rank = magnitude_of(near) <= x ? near : near - 1;
    const float low = magnitude_of(rank), step = magnitude_of(rank + 1) - low;
    const float drawn = static_cast<float>(static_cast<int>(random)) * 0x1p-16f;
    rank = rank < last && drawn * step < x - low ? rank + 1 : rank;
    return code_of(part, rank);
  }

 private:
  GRAMSTEP_BODY static float magnitude_of(float part) {
    const std::uint32_t magnitude = bits_of(part) & ~sign_bit;
    return float_of(magnitude < below_1 ? magnitude : below_1);
  }

  GRAMSTEP_BODY static float magnitude_of(int rank) {
    const std::uint32_t bits = bits_of(static_cast<float>(rank));
    const int level = static_cast<int>(bits >> 23) - 127;
    const float place = float_of((bits & 0x7fffff) | 0x3f800000) - 1.0f;  // in the band, of 1
    const float half = power_of_two(-1 - level);                          // between two codes
    const float magnitude =
        power_of_two(4 * (level - top)) * (begin + (1 - begin) * (place + half));
    return rank <= 0 ? 0.0f : magnitude;
  }

  GRAMSTEP_BODY static int rank_of(float x) {
    const int sixteenths = (126 - static_cast<int>(bits_of(x) >> 23)) >> 2;
    const int level = sixteenths > top ? 0 : top - sixteenths;
    const float codes = power_of_two(level);
    const float of_band = x * power_of_two(4 * (top - level));  // of its end
    // Below all bands the sum is less than 1; what rounding lifts out of one is the first code of the next.
    const int rank = static_cast<int>(codes + (of_band - begin) * (1 / (1 - begin)) * codes);
    return rank < last ? rank : last;
  }

  GRAMSTEP_BODY static std::uint8_t code_of(float part, int rank) {
    const std::uint32_t bits = bits_of(part);
    if (Signed) return static_cast<std::uint8_t>(rank | static_cast<int>(bits >> 24 & 0x80));
    return static_cast<std::uint8_t>(rank < 1 && bits << 1 != 0 ? 1 : rank);
  }

  GRAMSTEP_BODY static float power_of_two(int exponent) {
    return float_of(static_cast<std::uint32_t>(127 + exponent) << 23);
  }

  static constexpr float begin = 0.0625f;  // of a band, of its end
  static constexpr int last = Signed ? 127 : 255;
  static constexpr std::uint32_t below_1 = 0x3f7fffff;
};

/// The scale of a block whose largest magnitude that is; and what numbers are multiplied by to be parts of it.
GRAMSTEP_BODY float scale_of(bool has_sign, float magnitude) {
  return magnitude / (has_sign ? Dynamic8<true>::largest : Dynamic8<false>::largest);
}
GRAMSTEP_BODY float inverse_of(bool has_sign, float magnitude) {
  return (has_sign ? Dynamic8<true>::largest : Dynamic8<false>::largest) / magnitude;
}

/// A number of a block, and the code of one. A block with a number that is not finite has
/// a scale that is not, and nothing finite is left of it.
template <bool Signed>
GRAMSTEP_BODY float decoded(std::uint8_t code, float scale) {
  return Dynamic8<Signed>::widen(code) * scale;
}
GRAMSTEP_BODY float decoded(bool has_sign, std::uint8_t code, float scale) {
  return has_sign ? decoded<true>(code, scale) : decoded<false>(code, scale);
}
GRAMSTEP_BODY std::uint8_t encoded(bool has_sign, float x, float inverse) {
  return has_sign ? Dynamic8<true>::nearest(x * inverse) : Dynamic8<false>::nearest(x * inverse);
}
GRAMSTEP_BODY std::uint8_t encoded(bool has_sign, float x, float inverse, std::uint32_t random) {
  return has_sign ? Dynamic8<true>::stochastic(x * inverse, random)
                  : Dynamic8<false>::stochastic(x * inverse, random);
}

}  // namespace gramstep::kernels
