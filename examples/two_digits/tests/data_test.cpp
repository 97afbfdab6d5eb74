// The data: what the file holds, that no digit is in two splits, and that pairs are what they say.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "digits.hpp"
#include "pairs.hpp"

namespace two_digits {
namespace {

const std::vector<Digit>& digits() {
  static const std::vector<Digit> all = read_digits(TWO_DIGITS_DATA);
  return all;
}

std::vector<Digit> read_text(const std::string& text) {
  const auto path = std::filesystem::path(testing::TempDir()) / "digits.csv";
  std::ofstream(path) << text;
  return read_digits(path.string());
}

std::string message_of(const std::string& text) {
  try {
    read_text(text);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

std::string line_of(int values, const std::string& value, const std::string& label) {
  std::string line;
  for (int i = 0; i < values; ++i) line += value + ',';
  return line + label + '\n';
}

using Image = std::array<float, digit_side * digit_side>;

std::set<Image> images(const std::vector<int>& indices) {
  std::set<Image> result;
  for (const int i : indices) result.insert(digits()[static_cast<std::size_t>(i)].pixels);
  return result;
}

TEST(Digits, AreThoseOfTheUciTestSet) {
  ASSERT_EQ(digits().size(), 1797u);
  const std::array<int, classes> expected{178, 182, 177, 183, 181, 182, 181, 179, 174, 180};
  for (int label = 0; label < classes; ++label) {
    EXPECT_EQ(std::ranges::count(digits(), label, &Digit::label),
              expected[static_cast<std::size_t>(label)]);
  }
  for (const Digit& digit : digits()) {
    EXPECT_GE(std::ranges::min(digit.pixels), 0.0f);
    EXPECT_LE(std::ranges::max(digit.pixels), 1.0f);
  }
  EXPECT_EQ(digits()[0].pixels[2], 5.0f / 16);  // the file's first line begins 0,0,5
}

TEST(Digits, ReadsWhatIsWellFormed) {
  const auto read = read_text(line_of(64, "16", "7"));
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(read[0].label, 7);
  EXPECT_EQ(read[0].pixels[63], 1.0f);
}

TEST(Digits, NamesFileLineAndFault) {
  const std::string good = line_of(64, "3", "1");
  for (const std::string& bad :
       {line_of(63, "3", "1"), line_of(65, "3", "1"), line_of(64, "17", "1"),
        line_of(64, "-1", "1"), line_of(64, "3", "10"), line_of(64, "x", "1"), std::string("\n")}) {
    EXPECT_NE(message_of(good + bad).find("digits.csv:2: expected 64 grey values"),
              std::string::npos)
        << message_of(good + bad);
  }
  EXPECT_NE(message_of("").find("empty"), std::string::npos);
  EXPECT_THROW(read_digits("/nowhere/digits.csv.gz"), std::runtime_error);
}

TEST(Split, CoversAllDigitsOnce) {
  const Split split = split_digits(1797);
  std::vector<int> all = split.train;
  all.insert(all.end(), split.validation.begin(), split.validation.end());
  all.insert(all.end(), split.test.begin(), split.test.end());
  std::ranges::sort(all);
  ASSERT_EQ(all.size(), 1797u);
  for (int i = 0; i < 1797; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)], i);
  EXPECT_EQ(split.train.size(), 1078u);
  EXPECT_EQ(split.test.size(), 450u);
}

TEST(Split, SharesNoImage) {
  const Split split = split_digits(1797);
  std::set<Image> seen = images(split.train);
  const std::size_t trained = seen.size();
  seen.merge(images(split.validation));
  EXPECT_EQ(seen.size(), trained + images(split.validation).size());
  const std::size_t chosen = seen.size();
  seen.merge(images(split.test));
  EXPECT_EQ(seen.size(), chosen + images(split.test).size());
}

TEST(Pairs, AreComposedOfTheirSources) {
  const Split split = split_digits(1797);
  const Pairs pairs = compose(digits(), split.test, 300, 5);
  ASSERT_EQ(pairs.size(), 300);
  for (std::size_t i = 0; i < 300; ++i) {
    const Digit& left = digits()[static_cast<std::size_t>(pairs.sources[0][i])];
    const Digit& right = digits()[static_cast<std::size_t>(pairs.sources[1][i])];
    EXPECT_TRUE(std::ranges::count(split.test, pairs.sources[0][i]));
    EXPECT_TRUE(std::ranges::count(split.test, pairs.sources[1][i]));
    EXPECT_EQ(pairs.labels[0][i], left.label);
    EXPECT_EQ(pairs.labels[1][i], right.label);
    const auto pixel = [](const Digit& digit, int y, int x) {
      const bool inside = y >= 0 && y < digit_side && x >= 0 && x < digit_side;
      return inside ? digit.pixels[static_cast<std::size_t>(y * digit_side + x)] : 0.0f;
    };
    for (int y = 0; y < canvas_side; ++y) {
      for (int x = 0; x < canvas_side; ++x) {
        const auto at = i * canvas_pixels + static_cast<std::size_t>(y * canvas_side + x);
        ASSERT_EQ(pairs.images[at], std::max(pixel(left, y, x), pixel(right, y - 4, x - 4)));
      }
    }
  }
}

TEST(Pairs, DependOnTheSeedAlone) {
  const Split split = split_digits(1797);
  const Pairs pairs = compose(digits(), split.train, 50, 1);
  EXPECT_EQ(pairs.sources, compose(digits(), split.train, 50, 1).sources);
  EXPECT_NE(pairs.sources, compose(digits(), split.train, 50, 2).sources);
}

TEST(Pairs, AreSelectedWhole) {
  const Pairs pairs = compose(digits(), split_digits(1797).train, 20, 1);
  const std::array<std::int64_t, 2> chosen{17, 3};
  const Pairs selected = select(pairs, chosen);
  ASSERT_EQ(selected.size(), 2);
  EXPECT_EQ(selected.labels[1][0], pairs.labels[1][17]);
  EXPECT_EQ(selected.sources[0][1], pairs.sources[0][3]);
  EXPECT_TRUE(
      std::ranges::equal(std::span(selected.images).last(canvas_pixels),
                         std::span(pairs.images).subspan(3 * canvas_pixels, canvas_pixels)));
}

TEST(LabelNoise, ReplacesTheShareAskedFor) {
  constexpr int count = 10'000;
  constexpr double share = 0.3;
  const std::vector<int> labels(count, 4);
  std::vector<int> noisy = labels;
  add_label_noise(noisy, share, 1);
  const double wrong = static_cast<double>(count - std::ranges::count(noisy, 4));
  const double expected = share * (classes - 1) / classes;  // one in ten is right by chance
  const double five_sigma = 5 * std::sqrt(count * expected * (1 - expected));
  EXPECT_NEAR(wrong, count * expected, five_sigma);

  noisy = labels;
  add_label_noise(noisy, 0, 1);
  EXPECT_EQ(noisy, labels);
}

}  // namespace
}  // namespace two_digits
