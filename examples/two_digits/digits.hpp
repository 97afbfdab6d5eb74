// Digits: the handwritten digits, and who may be seen when.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace two_digits {

inline constexpr int digit_side = 8;
inline constexpr int classes = 10;

/// One handwritten digit: grey values from 0 to 1, row by row, and what was meant.
struct Digit {
  std::array<float, digit_side * digit_side> pixels;
  int label;
};

/// Reads digits.csv.gz: 64 grey values from 0 to 16 and the class, a line a digit.
/// Throws std::runtime_error that names the file, the line and what is wrong with it.
std::vector<Digit> read_digits(const std::string& path);

/// Indices of the digits for each purpose; no digit is in two of them.
struct Split {
  std::vector<int> train;
  std::vector<int> validation;  ///< learning rates were chosen on these
  std::vector<int> test;        ///< nothing was chosen on these
};

/// Splits `count` digits 60 : 15 : 25 at random, the same way whatever the seed of a run.
Split split_digits(int count);

}  // namespace two_digits
