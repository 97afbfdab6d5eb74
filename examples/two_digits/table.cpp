#include <algorithm>
#include <cmath>

#include "results.hpp"
#include "text.hpp"

namespace two_digits {
namespace {

using Row = std::vector<std::string>;

/// One seed has no spread.
std::string percent(const Spread& share, std::size_t seeds) {
  const std::string mean = fixed(100 * share.mean, 1);
  return seeds < 2 ? mean : mean + " ± " + fixed(100 * share.deviation, 1);
}

/// The mean weight of each task.
std::string weights(const std::array<Spread, tasks>& weights) {
  if (std::isnan(weights[0].mean)) return "by element";
  std::string text;
  for (const Spread& weight : weights) {
    text += (text.empty() ? "" : " ") + significant(weight.mean, 3);
  }
  return text;
}

Row row_of(const MethodResult& method) {
  Row row{method.rule, significant(method.lr, 3), method.aggregator};
  for (const Spread& accuracy : method.accuracy) row.push_back(percent(accuracy, method.seeds));
  row.push_back(percent(method.conflict_rate, method.seeds) + (method.on_momenta ? " m" : ""));
  row.push_back(weights(method.weights));
  row.push_back(method.promise_kept ? fixed(100 * *method.promise_kept, 1) : "-");
  row.push_back(fixed(method.step_us, 0));
  const bool by_hand = method.unfused_us.has_value();
  row.push_back(by_hand ? fixed(*method.fused_us, 0) : "-");
  row.push_back(by_hand ? fixed(*method.unfused_us, 0) : "-");
  row.push_back(by_hand ? fixed(*method.unfused_us / *method.fused_us, 1) + "x" : "-");
  return row;
}

}  // namespace

void print_table(std::ostream& out, std::span<const MethodResult> methods) {
  std::vector<Row> rows{{"rule", "lr", "aggregator", "left digit %", "right digit %", "conflict %",
                         "weights", "kept %", "step µs", "fused µs", "unfused µs", "ratio"}};
  std::ranges::transform(methods, std::back_inserter(rows), row_of);
  for (const Row& row : rows) {
    for (std::size_t column = 0; column < row.size(); ++column) {
      std::size_t width = 0;
      for (const Row& other : rows) width = std::max(width, length(other[column]));
      const std::string padding(width - length(row[column]), ' ');
      const bool text = column == 0 || column == 2;
      out << (column > 0 ? "  " : "") << (text ? row[column] + padding : padding + row[column]);
    }
    out << '\n';
  }
  if (std::ranges::any_of(methods, &MethodResult::on_momenta)) {
    out << "m: conflict of the momenta, which is what the aggregator looks at\n";
  }
}

void print_findings(std::ostream& out, std::span<const Finding> findings) {
  for (const auto& [topic, text] : findings) {
    out << '\n' << wrapped(topic + ": " + text, 100, 2) << '\n';
  }
}

}  // namespace two_digits
