// Random Gram matrices of named kinds, together with the gradients they came from.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/support.hpp"

namespace gramstep::test {

/// What is peculiar about a problem's gradients.
enum class Kind {
  normal,     ///< independent, a little correlated by chance
  strong,     ///< strongly conflicting: the sum of the unit rows is nearly 0
  weak,       ///< weakly conflicting: mostly one common direction
  deficient,  ///< rank K / 2, at least 1
  duplicate,  ///< the second half of the rows repeats the first
  opposite,   ///< the last row is the first one reversed
  zero,       ///< row K / 2 is zero
  spread,     ///< norms over 1e-15 to 1e15
};

inline constexpr Kind all_kinds[] = {Kind::normal,    Kind::strong,   Kind::weak, Kind::deficient,
                                     Kind::duplicate, Kind::opposite, Kind::zero, Kind::spread};
/// Those whose Gram matrix has full rank.
inline constexpr Kind regular_kinds[] = {Kind::normal, Kind::strong, Kind::weak, Kind::spread};
inline constexpr int some_tasks[] = {1, 2, 3, 8, 17, 64};

inline std::string name_of(Kind kind) {
  constexpr const char* names[] = {"normal",    "strong",   "weak", "deficient",
                                   "duplicate", "opposite", "zero", "spread"};
  return names[static_cast<int>(kind)];
}

/// Gradients J, a row a task, and G = J J^T, row-major.
struct Problem {
  std::vector<std::vector<double>> rows;
  std::vector<double> gram;
  std::string name;

  int tasks() const { return static_cast<int>(rows.size()); }
  double at(int i, int j) const {
    return gram[static_cast<std::size_t>(i) * rows.size() + static_cast<std::size_t>(j)];
  }
};

/// G = J J^T, summed by index in double.
inline Problem problem_of(std::vector<std::vector<double>> rows, std::string name = {}) {
  Problem problem{std::move(rows), {}, std::move(name)};
  for (const auto& a : problem.rows) {
    for (const auto& b : problem.rows) {
      double sum = 0;
      for (std::size_t n = 0; n < a.size(); ++n) sum += a[n] * b[n];
      problem.gram.push_back(sum);
    }
  }
  return problem;
}

/// A row of nearly normal numbers.
inline std::vector<double> random_row(int columns, Random& random) {
  std::vector<double> row(static_cast<std::size_t>(columns));
  for (double& g : row) {
    for (int i = 0; i < 6; ++i) g += random.uniform();
    g /= std::sqrt(2.0);
  }
  return row;
}

/// The same problem for the same (kind, tasks, seed), everywhere. Norms differ by up to a factor of
/// 100 where the kind does not spread them further.
inline Problem make_problem(Kind kind, int tasks, std::uint64_t seed) {
  Random random(seed * 1000 + static_cast<std::uint64_t>(kind) * 100 +
                static_cast<std::uint64_t>(tasks));
  const int columns = kind == Kind::deficient ? std::max(1, tasks / 2) : 2 * tasks + 3;
  std::vector<std::vector<double>> rows;
  for (int i = 0; i < tasks; ++i) rows.push_back(random_row(columns, random));

  std::vector<double> shift(static_cast<std::size_t>(columns), 0.0);
  if (kind == Kind::strong) {  // all but 1/20 of the mean row is taken off
    for (const auto& row : rows) {
      for (std::size_t n = 0; n < row.size(); ++n) shift[n] -= 0.95 * row[n] / tasks;
    }
  }
  if (kind == Kind::weak) shift = random_row(columns, random);
  for (auto& row : rows) {
    for (std::size_t n = 0; n < row.size(); ++n) row[n] += shift[n];
  }
  for (int i = 0; i < tasks; ++i) {
    const double norm = kind == Kind::spread && tasks > 1
                            ? std::pow(10.0, -15 + 30.0 * ((i * 7) % tasks) / (tasks - 1))
                            : std::pow(10.0, random.uniform());
    for (double& g : rows[static_cast<std::size_t>(i)]) g *= norm;
  }
  const auto last = static_cast<std::size_t>(tasks - 1);
  const auto half = static_cast<std::size_t>(tasks / 2);
  if (kind == Kind::duplicate) {
    for (std::size_t i = 0; i < half; ++i) rows[last - i] = rows[i];
  }
  if (kind == Kind::opposite && tasks > 1) {
    for (std::size_t n = 0; n < rows[0].size(); ++n) rows[last][n] = -rows[0][n];
  }
  if (kind == Kind::zero) std::fill(rows[half].begin(), rows[half].end(), 0.0);
  return problem_of(std::move(rows), name_of(kind) + " K = " + std::to_string(tasks) + " seed " +
                                         std::to_string(seed));
}

/// The same gradients in another order: row i becomes row order[i] of the original.
inline Problem reordered(const Problem& problem, const std::vector<int>& order) {
  std::vector<std::vector<double>> rows;
  for (const int i : order) rows.push_back(problem.rows[static_cast<std::size_t>(i)]);
  return problem_of(std::move(rows), problem.name + " reordered");
}

/// A random order of the tasks.
inline std::vector<int> random_order(int tasks, Random& random) {
  std::vector<int> order(static_cast<std::size_t>(tasks));
  for (int i = 0; i < tasks; ++i) order[static_cast<std::size_t>(i)] = i;
  for (int i = tasks - 1; i > 0; --i) {
    std::swap(order[static_cast<std::size_t>(i)],
              order[static_cast<std::size_t>(random.bits() % static_cast<unsigned>(i + 1))]);
  }
  return order;
}

/// G w, by index.
inline std::vector<double> times(const std::vector<double>& gram, const std::vector<double>& w) {
  std::vector<double> product(w.size(), 0.0);
  for (std::size_t i = 0; i < w.size(); ++i) {
    for (std::size_t j = 0; j < w.size(); ++j) product[i] += gram[i * w.size() + j] * w[j];
  }
  return product;
}

/// a . b, by index.
inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace gramstep::test
