#include "tests/reference/aggregation.hpp"

#include <cstddef>
#include <numeric>

namespace gramstep::reference {

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t e = 0; e < a.size(); ++e) sum += a[e] * b[e];
  return sum;
}

Matrix gram(const Matrix& rows) {
  Matrix result(rows.size(), Vector(rows.size()));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = 0; j < rows.size(); ++j) result[i][j] = dot(rows[i], rows[j]);
  }
  return result;
}

namespace {

void add(Vector& to, double factor, const Vector& what) {
  for (std::size_t e = 0; e < to.size(); ++e) to[e] += factor * what[e];
}

}  // namespace

Combination weighted(const Matrix& rows, const Vector& weights) {
  Vector combined(rows[0].size());
  for (std::size_t k = 0; k < rows.size(); ++k) add(combined, weights[k], rows[k]);
  return {combined, weights};
}

Combination pcgrad(const Matrix& rows, const Orders& orders, bool mean) {
  const std::size_t tasks = rows.size();
  const double share = mean ? 1.0 / static_cast<double>(tasks) : 1.0;
  Vector combined(rows[0].size());
  Vector weights(tasks, share);
  for (std::size_t i = 0; i < tasks; ++i) {
    Vector projected = rows[i];
    for (const int met : orders[i]) {
      const auto j = static_cast<std::size_t>(met);
      if (j == i) continue;
      const double along = dot(projected, rows[j]);
      if (along >= 0) continue;
      const double amount = along / dot(rows[j], rows[j]);
      add(projected, -amount, rows[j]);
      weights[j] -= share * amount;
    }
    add(combined, share, projected);
  }
  return {combined, weights};
}

Combination combine(Aggregation aggregation, const Matrix& rows, const Vector& constants,
                    const Orders& orders) {
  const std::size_t tasks = rows.size();
  switch (aggregation) {
    case Aggregation::sum: return weighted(rows, Vector(tasks, 1.0));
    case Aggregation::mean: return weighted(rows, Vector(tasks, 1.0 / static_cast<double>(tasks)));
    case Aggregation::constant: return weighted(rows, constants);
    case Aggregation::pcgrad: return pcgrad(rows, orders, false);
    case Aggregation::pcgrad_mean: return pcgrad(rows, orders, true);
  }
  return {};
}

Orders orders_by_index(int tasks) {
  std::vector<int> all(static_cast<std::size_t>(tasks));
  std::iota(all.begin(), all.end(), 0);
  return Orders(static_cast<std::size_t>(tasks), all);
}

}  // namespace gramstep::reference
