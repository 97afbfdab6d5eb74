#include "digits.hpp"

#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string_view>

#include "random.hpp"

namespace two_digits {
namespace {

constexpr int white = 16;

Digit parse_digit(std::string_view line, const std::string& where) {
  std::array<int, digit_side * digit_side + 1> values{};
  const char* next = line.data();
  const char* const end = line.data() + line.size();
  bool valid = true;
  for (int& value : values) {
    const bool last = &value == &values.back();
    const auto [stop, error] = std::from_chars(next, end, value);
    valid = valid && error == std::errc() && value >= 0 && value <= (last ? classes - 1 : white) &&
            (last ? stop == end : stop != end && *stop == ',');
    if (!valid) break;
    next = stop + 1;
  }
  if (!valid) {
    throw std::runtime_error(where + ": expected " + std::to_string(values.size() - 1) +
                             " grey values from 0 to 16 and a class from 0 to 9, got '" +
                             std::string(line) + "'");
  }
  Digit digit{};
  for (std::size_t i = 0; i < digit.pixels.size(); ++i) {
    digit.pixels[i] = static_cast<float>(values[i]) / white;
  }
  digit.label = values.back();
  return digit;
}

}  // namespace

std::vector<Digit> read_digits(const std::string& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  std::vector<Digit> digits;
  std::array<char, 1024> line{};
  while (gzgets(file.get(), line.data(), static_cast<int>(line.size()))) {
    std::string text = line.data();
    if (text.ends_with('\n')) text.pop_back();
    digits.push_back(parse_digit(text, path + ":" + std::to_string(digits.size() + 1)));
  }
  if (digits.empty()) throw std::runtime_error(path + ": expected digits, got an empty file");
  return digits;
}

Split split_digits(int count) {
  std::vector<int> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random_engine(0, Purpose::split));
  const auto validation = order.begin() + count * 60 / 100;
  const auto test = order.begin() + count * 75 / 100;
  return {{order.begin(), validation}, {validation, test}, {test, order.end()}};
}

}  // namespace two_digits
