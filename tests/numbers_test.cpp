// Numbers of 16 bits against the definition of their formats, in double.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/numbers.hpp"
#include "tests/support.hpp"

namespace gramstep::test {
namespace {

using kernels::Bfloat16, kernels::Float16, kernels::Split;

/// A format: sign, exponent and mantissa of so many bits.
struct Format {
  int exponent_bits, mantissa_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }

  /// What a pattern of 16 bits stands for.
  double value(std::uint16_t bits) const {
    const int exponent = (bits & 0x7fff) >> mantissa_bits;
    const int mantissa = bits & ((1 << mantissa_bits) - 1);
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1) {
      return mantissa == 0 ? sign * infinity : std::nan("");
    }
    const double fraction = mantissa + (exponent > 0 ? 1 << mantissa_bits : 0);
    return sign * std::ldexp(fraction, std::max(exponent, 1) - bias() - mantissa_bits);
  }

  /// The two neighbours of a finite number in magnitude: the pattern below or at it, and the next one.
  std::pair<std::uint16_t, std::uint16_t> neighbours(double x) const {
    std::uint16_t low = 0,
                  high = static_cast<std::uint16_t>(((1 << exponent_bits) - 1) << mantissa_bits);
    while (high - low > 1) {
      const auto middle = static_cast<std::uint16_t>((low + high) / 2);
      (value(middle) <= std::fabs(x) ? low : high) = middle;
    }
    return {low, high};
  }

  /// Nearest, ties to even; what the next number beyond the largest would be is infinity.
  std::uint16_t nearest(double x) const {
    const auto [low, high] = neighbours(x);
    const double above = 2 * value(low) - value(static_cast<std::uint16_t>(low - 1));
    const double next = std::isinf(value(high)) ? above : value(high);
    const double to_low = std::fabs(x) - value(low), to_high = next - std::fabs(x);
    const bool up = to_high < to_low || (to_high == to_low && low % 2 == 1);
    return static_cast<std::uint16_t>((up ? high : low) | (std::signbit(x) ? 0x8000 : 0));
  }
};

constexpr Format bf16{8, 7}, fp16{5, 10};

/// Numbers all over fp32 and close to where a format rounds from one to another.
template <class Visit>
void over_numbers(const Format& format, const Visit& visit) {
  Random random(5);
  for (int i = 0; i < 200'000; ++i) {
    const auto bits = static_cast<std::uint32_t>(random.bits());
    const float number = std::bit_cast<float>(bits);
    if (std::isfinite(number)) visit(number);
  }
  for (int pattern = 0; pattern < 0x7c00; ++pattern) {
    const double at = format.value(static_cast<std::uint16_t>(pattern));
    const double next = format.value(static_cast<std::uint16_t>(pattern + 1));
    if (!std::isfinite(next)) break;
    const auto middle = static_cast<float>((at + next) / 2);
    for (const float each : {middle, std::nextafter(middle, 0.0f),
                             std::nextafter(middle, std::numeric_limits<float>::infinity())}) {
      visit(each);
      visit(-each);
    }
  }
  for (const float each :
       {0.0f, -0.0f, 65'504.0f, 65'519.0f, 65'520.0f, 65'536.0f, 0x1p-24f, 0x1p-25f,
        std::nextafter(0x1p-25f, 1.0f), 0x1.fep-15f, std::numeric_limits<float>::max()}) {
    visit(each);
    visit(-each);
  }
}

bool is_nan(const Format& format, std::uint16_t bits) { return std::isnan(format.value(bits)); }

template <class Half>
void expect_every_pattern_comes_back(const Format& format) {
  for (int pattern = 0; pattern < 0x10000; ++pattern) {
    const auto bits = static_cast<std::uint16_t>(pattern);
    const float wide = Half::widen(bits);
    if (is_nan(format, bits)) {
      EXPECT_TRUE(std::isnan(wide)) << pattern;
      EXPECT_TRUE(is_nan(format, Half::nearest(wide))) << pattern;
      EXPECT_TRUE(is_nan(format, Half::stochastic(wide, 0xffff))) << pattern;
      continue;
    }
    ASSERT_EQ(static_cast<double>(wide), format.value(bits)) << pattern;
    ASSERT_EQ(std::signbit(wide), pattern >= 0x8000) << pattern;
    ASSERT_EQ(Half::nearest(wide), bits);
    // What is a number of the format stays one, whatever the bits.
    ASSERT_EQ(Half::stochastic(wide, 0), bits);
    ASSERT_EQ(Half::stochastic(wide, 0xffff), bits);
  }
}

TEST(Numbers, EveryPatternComesBack) {
  expect_every_pattern_comes_back<Bfloat16>(bf16);
  expect_every_pattern_comes_back<Float16>(fp16);
}

TEST(Numbers, RoundToNearestEven) {
  over_numbers(bf16, [](float number) {
    ASSERT_EQ(Bfloat16::nearest(number), bf16.nearest(number)) << number;
  });
  over_numbers(fp16, [](float number) {
    ASSERT_EQ(Float16::nearest(number), fp16.nearest(number)) << number;
  });
}

TEST(Numbers, NanAndInfinityStayWhatTheyAre) {
  for (const std::uint32_t nan : {0x7f800001u, 0x7fffffffu, 0xff800001u, 0xffffffffu}) {
    const float number = std::bit_cast<float>(nan);
    for (const std::uint32_t random : {0u, 0xffffu}) {
      EXPECT_TRUE(is_nan(bf16, Bfloat16::stochastic(number, random)));
      EXPECT_TRUE(is_nan(fp16, Float16::stochastic(number, random)));
    }
    EXPECT_TRUE(is_nan(bf16, Bfloat16::nearest(number)));
    EXPECT_TRUE(is_nan(fp16, Float16::nearest(number)));
    EXPECT_TRUE(is_nan(bf16, Split::of(number).upper));
  }
  constexpr float inf = std::numeric_limits<float>::infinity();
  for (const std::uint32_t random : {0u, 0xffffu}) {
    EXPECT_EQ(Bfloat16::stochastic(-inf, random), 0xff80);
    EXPECT_EQ(Float16::stochastic(inf, random), 0x7c00);
  }
}

/// Of the 2^16 random numbers so many round up as there are parts of the way to the upper neighbour: the
/// mean is the number itself, to a part.
template <class Half>
void expect_unbiased(const Format& format, float number, double part) {
  const auto [low, high] = format.neighbours(number);
  std::int64_t up = 0;
  for (std::uint32_t random = 0; random < 0x10000; ++random) {
    const auto rounded = static_cast<std::uint16_t>(Half::stochastic(number, random) & 0x7fff);
    ASSERT_TRUE(rounded == low || rounded == high) << number;
    up += rounded == high;
  }
  const double step = format.value(high) - format.value(low);
  const double expected = (std::fabs(static_cast<double>(number)) - format.value(low)) / step;
  EXPECT_NEAR(static_cast<double>(up) / 0x10000, expected, part) << number;
}

TEST(Numbers, StochasticRoundingIsUnbiased) {
  Random random(7);
  for (int i = 0; i < 40; ++i) {
    const double number = random.uniform() * std::ldexp(1.0, i - 30);
    expect_unbiased<Bfloat16>(bf16, static_cast<float>(number), 0);
    if (std::fabs(number) > 0x1p-39) {
      // A subnormal's place may have more bits than are drawn: a part of 2^16 of it is lost at most.
      expect_unbiased<Float16>(fp16, static_cast<float>(number),
                               std::fabs(number) < 0x1p-14 ? 0x1p-16 : 0);
    }
  }
  EXPECT_EQ(Float16::stochastic(0x1p-41f, 0xffff), 0) << "below what 16 bits can tell";
}

TEST(Numbers, ASplitNumberIsWholeAgain) {
  over_numbers(bf16, [](float number) {
    const Split split = Split::of(number);
    const float whole = Split::join(Bfloat16::widen(split.upper), split.remainder);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(whole), std::bit_cast<std::uint32_t>(number)) << number;
    // The nearest, or of two as near the greater.
    const double error = std::fabs(bf16.value(split.upper) - static_cast<double>(number));
    const double least = std::fabs(bf16.value(bf16.nearest(number)) - static_cast<double>(number));
    if (std::isfinite(error)) {
      ASSERT_EQ(error, least) << number;
    }
  });
}

TEST(Numbers, EveryElementHasBitsOfItsOwn) {
  for (const std::int64_t step : {std::int64_t{1}, std::int64_t{1} << 40}) {
    std::vector<PhiloxWords> counters;
    for (const std::int64_t eight : {std::int64_t{0}, std::int64_t{1}, std::int64_t{1} << 35}) {
      for (std::uint32_t draw = 0; draw < 4; ++draw) {
        counters.push_back(kernels::draw_counter(step, draw, eight));
        counters.push_back(kernels::draw_counter(step + 1, draw, eight));
      }
    }
    for (std::size_t i = 0; i < counters.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        EXPECT_FALSE(std::ranges::equal(counters[i].word, counters[j].word)) << i << " " << j;
      }
    }
  }
  const PhiloxWords drawn{{0x22221111, 0x44443333, 0x66665555, 0x88887777}};
  for (int place = 0; place < kernels::elements_a_draw; ++place) {
    EXPECT_EQ(kernels::random_bits(drawn, place), 0x1111u * static_cast<unsigned>(place + 1));
  }
}

}  // namespace
}  // namespace gramstep::test
