#include "search.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

namespace gs = gramstep;

namespace two_digits {
namespace {

constexpr int rates_either_side = 2;
constexpr double as_good = 0.002;  // a difference in accuracy that two seeds cannot tell

/// Where rules train this network, if that is not near the library's default.
constexpr std::array<std::pair<std::string_view, double>, 2> usual_rates{{
    {"SGD", 0.1},
    {"Adafactor", 0.1},
}};

double usual_rate(const gs::Rule& rule) {
  const std::string_view name = std::visit([](const auto& r) { return r.name; }, rule);
  for (const auto& [known, rate] : usual_rates) {
    if (known == name) return rate;
  }
  return std::visit([]<class R>(const R&) { return R{}.lr; }, rule);
}

/// The series 1, 3, 10, 30, ... at `half_decades` from 1.
double series(int half_decades) {
  const int decades = static_cast<int>(std::floor(half_decades / 2.0));
  const double digit = half_decades % 2 == 0 ? 1 : 3;
  return decades < 0 ? digit / std::pow(10.0, -decades) : digit * std::pow(10.0, decades);
}

}  // namespace

std::vector<double> rates_to_try(const gs::Rule& rule) {
  const int middle = static_cast<int>(std::lround(2 * std::log10(usual_rate(rule))));
  std::vector<double> rates;
  for (int i = -rates_either_side; i <= rates_either_side; ++i) {
    rates.push_back(series(middle + i));
  }
  return rates;
}

std::size_t best_of(std::span<const double> accuracies) {
  const double best = std::ranges::max(accuracies);
  const auto first =
      std::ranges::find_if(accuracies, [&](double a) { return a >= best - as_good; });
  return static_cast<std::size_t>(first - accuracies.begin());
}

std::string RateSearch::edge() const {
  if (chosen == 0) return "smallest";
  return chosen + 1 == rates.size() ? "largest" : "";
}

RateSearch search_rate(const NamedRule& rule, int seeds, const Trial& trial) {
  RateSearch search{rule.name, rates_to_try(rule.rule), {}};
  for (const double rate : search.rates) {
    double sum = 0;
    for (int seed = 1; seed <= seeds; ++seed) {
      sum += trial(with_lr(rule.rule, rate), static_cast<std::uint64_t>(seed));
    }
    search.accuracies.push_back(sum / seeds);
  }
  search.chosen = best_of(search.accuracies);
  return search;
}

}  // namespace two_digits
