// State of 8 bits: its code, and steps that keep it so.
#include <algorithm>
#include <cmath>

#include "kernels/dynamic8.hpp"
#include "tests/narrow_rig.hpp"

namespace gramstep::test {
namespace {

using kernels::Dynamic8;

/// The values of a code by its definition, rank by rank: band by band from the smallest, half as many codes
/// from one to the next, each in the middle of its part of the band.
std::vector<double> values(int top) {
  std::vector<double> all{0};
  for (int level = 0; level <= top; ++level) {
    const double end = std::pow(16.0, level - top);
    for (int j = 0; j < 1 << level; ++j) {
      all.push_back(end * (0.0625 + 0.9375 * (j + 0.5) / (1 << level)));
    }
  }
  return all;
}

TEST(Dynamic8, CodesAreWhatTheirDefinitionSays) {
  const std::vector<double> with_sign = values(6), without = values(7);
  ASSERT_EQ(with_sign.size(), 128u);
  ASSERT_EQ(without.size(), 256u);
  for (int code = 0; code < 256; ++code) {
    const auto byte = static_cast<std::uint8_t>(code);
    const double magnitude = with_sign[static_cast<std::size_t>(code % 128)];
    const float signed_value = Dynamic8<true>::widen(byte), value = Dynamic8<false>::widen(byte);
    // A product and two sums in fp32.
    EXPECT_NEAR(std::fabs(signed_value), magnitude, magnitude * 0x1p-22) << code;
    EXPECT_EQ(std::signbit(signed_value), code >= 128) << code;
    EXPECT_NEAR(value, without[static_cast<std::size_t>(code)],
                without[static_cast<std::size_t>(code)] * 0x1p-22);
    EXPECT_EQ(Dynamic8<true>::nearest(signed_value), code);
    EXPECT_EQ(Dynamic8<false>::nearest(value), code);
  }
}

/// No code is nearer, but for numbers between the last code of a band and the first of the next, whose part
/// of the way is another.
TEST(Dynamic8, ANumberHasTheNearestCodeOfItsBand) {
  const std::vector<double> all = values(7);
  Random random(3);
  for (int i = 0; i < 100'000; ++i) {
    const auto part = static_cast<float>(std::pow(16.0, 4.5 * (random.uniform() - 1)));
    const double got = all[Dynamic8<false>::nearest(part)], x = part;
    const auto above = std::ranges::lower_bound(all, x);
    const double high = above == all.end() ? all.back() : *above;
    const double low = above == all.begin() ? 0 : *(above - 1);
    if (x < all[1]) {
      EXPECT_EQ(got, all[1]) << "what is not 0 does not become 0";
      continue;
    }
    EXPECT_TRUE(got == low || got == high) << part;
    const double distance = std::min(x - low, std::fabs(high - x));
    const bool border = std::floor(std::log2(low) / 4) != std::floor(std::log2(high) / 4);
    if (border) continue;
    EXPECT_LE(std::fabs(got - x), distance + x * 0x1p-22) << part;
  }
  EXPECT_EQ(Dynamic8<true>::nearest(1e-9f), 0);
  EXPECT_EQ(Dynamic8<true>::nearest(-1.0f), 0xff);
  EXPECT_EQ(Dynamic8<false>::nearest(0.0f), 0);
  EXPECT_EQ(Dynamic8<false>::nearest(std::nextafter(1.0f, 2.0f)), 0xff) << "what rounding may make";
}

/// Of the 2^16 random numbers so many round up that the mean is the number itself: to one of them, and what
/// fp32 rounds.
template <bool Signed>
void expect_unbiased(float part) {
  double sum = 0, low = 2, high = -2;
  for (std::uint32_t random = 0; random < 0x10000; ++random) {
    const double value = Dynamic8<Signed>::widen(Dynamic8<Signed>::stochastic(part, random));
    sum += value;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  EXPECT_NEAR(sum / 0x10000, part, (high - low) * 0x1p-16 + std::fabs(part) * 0x1p-20) << part;
}

TEST(Dynamic8, StochasticRoundingIsUnbiased) {
  Random random(9);
  for (int i = 0; i < 50; ++i) {
    const auto part = static_cast<float>(std::pow(16.0, 3 * (random.uniform() - 1)) * 0.99);
    expect_unbiased<true>(i % 2 == 0 ? part : -part);
    expect_unbiased<false>(part);
  }
  // Between 0 and the first code; what cannot be negative does not become 0.
  EXPECT_EQ(Dynamic8<true>::stochastic(1e-9f, 0xffff), 0);
  EXPECT_EQ(Dynamic8<true>::stochastic(1e-9f, 0), 1);
  EXPECT_EQ(Dynamic8<false>::stochastic(1e-10f, 0xffff), 1);
  EXPECT_EQ(Dynamic8<false>::stochastic(0.0f, 0), 0);
}

/// Or what is largest would lose a little in every step.
TEST(Dynamic8, ABlocksLargestNumberStaysWhatItIs) {
  for (const bool has_sign : {true, false}) {
    for (const float magnitude : {1.0f, 0.3f, 7e-20f}) {
      const float inverse = kernels::inverse_of(has_sign, magnitude);
      const float scale = kernels::scale_of(has_sign, magnitude);
      const float back =
          kernels::decoded(has_sign, kernels::encoded(has_sign, magnitude, inverse), scale);
      EXPECT_NEAR(back, magnitude, magnitude * 0x1p-22);
    }
  }
}

/// What a state's blocks stand for.
std::vector<float> decoded(NarrowRig& rig, const std::string& name, bool has_sign) {
  std::vector<float> numbers = rig.state(name);
  const std::vector<float> scales = rig.state(name + "_scale");
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto code = static_cast<std::uint8_t>(numbers[i]);
    numbers[i] = kernels::decoded(has_sign, code, scales[i / kernels::block8]);
  }
  return numbers;
}

Layout layout_of() {
  Layout layout;
  layout.add("weight", {64, 70});
  layout.add("bias", {256});
  return layout;
}

TEST(Dynamic8, AStepIsTheFp32StepAndItsStateIsEncoded) {
  for (const Rule& rule : {Rule(SGD{.lr = 0.1, .momentum = 0.9}), Rule(AdamW{}), Rule(Lion{}),
                           Rule(Adagrad{.initial_accumulator_value = 0.3}), Rule(AdEMAMix{})}) {
    OptimizerOptions options{.rule = rule, .tasks = 2};
    NarrowRig wide(layout_of(), options);
    options.precision.states = DType::dynamic8;
    NarrowRig narrow(layout_of(), options);
    const std::vector<std::string_view> names = wide.optimizer.state_names();
    for (int step = 0; step < 3; ++step) {
      narrow.draw();
      for (std::size_t k = 0; k < 2; ++k) wide.rows[k].set(narrow.rows[k].numbers());
      wide.params.set(narrow.params.numbers());
      for (const std::string_view name : names) {
        const std::string own(name);
        const bool has_sign = !rules::never_negative(name);
        const std::vector<float> before = decoded(narrow, own, has_sign);
        if (step == 0) {
          const std::vector<float> fresh = wide.state(name);
          for (std::size_t i = 0; i < before.size(); ++i) {
            ASSERT_NEAR(before[i], fresh[i], std::fabs(fresh[i]) * 0x1p-23) << own << " is fresh";
          }
        }
        wide.set_state(name, before);
      }
      wide.step();
      narrow.step();
      EXPECT_TRUE(same_bits(narrow.params.numbers(), wide.params.numbers())) << text_of(rule);
      for (const std::string_view name : names) {
        const std::string own(name);
        const bool has_sign = !rules::never_negative(name);
        const std::vector<float> exact = wide.state(name), codes = narrow.state(name);
        const std::vector<float> scales = narrow.state(own + "_scale");
        std::vector<float> largest_of;
        for (std::size_t block = 0; block < scales.size(); ++block) {
          float largest = 0;
          for (std::size_t i = 128 * block; i < 128 * (block + 1); ++i) {
            largest = std::max(largest, std::fabs(exact[i]));
          }
          largest_of.push_back(largest);
          ASSERT_EQ(scales[block], kernels::scale_of(has_sign, largest))
              << text_of(rule) << ": " << own << ", block " << block;
        }
        for (std::size_t i = 0; i < exact.size(); ++i) {
          ASSERT_EQ(static_cast<int>(codes[i]),
                    kernels::encoded(has_sign, exact[i],
                                     kernels::inverse_of(has_sign, largest_of[i / 128])))
              << text_of(rule) << ": " << own << " at " << i;
        }
      }
    }
  }
}

TEST(Dynamic8, ABlockWithANumberThatIsNotFiniteIsNotFinite) {
  NarrowRig rig(layout_of(),
                {.rule = SGD{.momentum = 0.9}, .precision = {.states = DType::dynamic8}});
  std::vector<float> row = rig.rows[0].numbers();
  row[130] = std::nanf("");
  row[300] = static_cast<float>(infinity);
  rig.rows[0].set(row);
  rig.step();
  const std::vector<float> state = decoded(rig, "momentum_buffer", true);
  for (std::size_t i = 0; i < 512; ++i) {
    EXPECT_EQ(std::isfinite(state[i]), i < 128 || i >= 384) << i;
  }
}

}  // namespace
}  // namespace gramstep::test
