#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "results.hpp"

namespace two_digits {
namespace {

using Row = std::vector<std::string>;

std::string fixed(double value, int digits) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(digits) << value;
  return text.str();
}

std::string percent(const Spread& share) {
  return fixed(100 * share.mean, 1) + " ± " + fixed(100 * share.deviation, 1);
}

/// Characters, not bytes, of UTF-8.
std::size_t length(const std::string& text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

Row row_of(const MethodResult& method) {
  Row row{method.rule, method.aggregator};
  for (const Spread& accuracy : method.accuracy) row.push_back(percent(accuracy));
  row.push_back(percent(method.conflict_rate));
  row.push_back(fixed(method.fused_us, 0));
  row.push_back(method.unfused_us ? fixed(*method.unfused_us, 0) : "-");
  row.push_back(method.unfused_us ? fixed(*method.unfused_us / method.fused_us, 1) + "x" : "-");
  return row;
}

}  // namespace

void print_table(std::ostream& out, std::span<const MethodResult> methods) {
  std::vector<Row> rows{{"rule", "aggregator", "left digit %", "right digit %", "conflict %",
                         "fused µs", "unfused µs", "ratio"}};
  std::ranges::transform(methods, std::back_inserter(rows), row_of);
  for (const Row& row : rows) {
    for (std::size_t column = 0; column < row.size(); ++column) {
      std::size_t width = 0;
      for (const Row& other : rows) width = std::max(width, length(other[column]));
      const std::string padding(width - length(row[column]), ' ');
      const bool text = column < 2;
      out << (column > 0 ? "  " : "") << (text ? row[column] + padding : padding + row[column]);
    }
    out << '\n';
  }
}

}  // namespace two_digits
