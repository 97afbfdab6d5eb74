#include "statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

namespace two_digits {

Spread spread_of(std::span<const double> values) {
  const auto count = static_cast<double>(values.size());
  Spread spread{.mean = std::reduce(values.begin(), values.end()) / count};
  if (values.size() < 2) return spread;
  for (const double value : values) spread.deviation += std::pow(value - spread.mean, 2);
  spread.deviation = std::sqrt(spread.deviation / (count - 1));
  return spread;
}

// Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.3 and 26.7.4: a finite sum for
// whole degrees of freedom.
double student_p(double t, int freedom) {
  const double angle = std::atan(std::abs(t) / std::sqrt(static_cast<double>(freedom)));
  const double squared = std::pow(std::cos(angle), 2);
  const bool odd = freedom % 2 == 1;
  double term = odd ? std::cos(angle) : 1.0, sum = 0;
  for (int i = odd ? 3 : 2; i <= freedom; i += 2) {
    sum += term;
    term *= squared * (i - 1) / i;
  }
  const double within =
      odd ? (angle + std::sin(angle) * sum) * 2 / std::numbers::pi : std::sin(angle) * sum;
  return std::clamp(1 - within, 0.0, 1.0);
}

double student_quantile(double p, int freedom) {
  double low = 0, high = 1;
  while (student_p(high, freedom) > p) high *= 2;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (student_p(middle, freedom) > p ? low : high) = middle;
  }
  return high;
}

Difference paired_difference(std::span<const double> a, std::span<const double> b) {
  std::vector<double> differences(a.size());
  std::ranges::transform(a, b, differences.begin(), std::minus<>());
  const auto [mean, deviation] = spread_of(differences);
  if (a.size() < 2) return {mean, std::numeric_limits<double>::infinity(), 1};
  const int freedom = static_cast<int>(a.size()) - 1;
  const double error = deviation / std::sqrt(static_cast<double>(a.size()));
  return {mean, error * student_quantile(0.05, freedom),
          error == 0 ? 1.0 : student_p(mean / error, freedom)};
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return p[i]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (std::size_t rank = 0; rank < p.size(); ++rank) {
    const double raised = p[order[rank]] * static_cast<double>(p.size() - rank);
    largest = std::max(largest, std::min(raised, 1.0));
    adjusted[order[rank]] = largest;
  }
  return adjusted;
}

}  // namespace two_digits
