// An aggregator over many steps, its state handed on from each to the next, and losses to feed it.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/aggregators/solve.hpp"
#include "tests/support.hpp"

namespace gramstep::test {

/// A diagonal Gram matrix of gradients with these norms.
inline std::vector<double> diagonal_gram(const std::vector<double>& norms) {
  std::vector<double> gram(norms.size() * norms.size(), 0.0);
  for (std::size_t i = 0; i < norms.size(); ++i) gram[i * (norms.size() + 1)] = norms[i] * norms[i];
  return gram;
}

/// What the plan would keep of an aggregator between steps. A copy is a checkpoint.
template <class A>
struct Course {
  A aggregator{};
  std::int64_t steps = 0;
  std::vector<double> state{};

  /// The weights of the next step; without norms the Gram matrix is poisoned.
  std::vector<double> step(const std::vector<double>& losses,
                           const std::vector<double>& norms = {}) {
    const int tasks = static_cast<int>(losses.size());
    const std::vector<double> unread(losses.size() * losses.size(), NAN);
    const auto solved = solve(aggregator, norms.empty() ? unread : diagonal_gram(norms), tasks,
                              losses, ++steps, state);
    state = solved.next_state;
    solution = solved.solution;
    return solved.w;
  }

  Solution solution{};  // of the last step
};

/// Losses of K tasks that wander: each by a factor of up to e^(+-0.1) a step, from first values
/// spread over 10^(+-orders).
class Wander {
 public:
  Wander(int tasks, double orders, std::uint64_t seed) : random_(seed) {
    for (int i = 0; i < tasks; ++i) losses_.push_back(std::pow(10.0, orders * random_.uniform()));
  }
  const std::vector<double>& next() {
    for (double& l : losses_) l *= std::exp(0.1 * random_.uniform());
    return losses_;
  }

 private:
  Random random_;
  std::vector<double> losses_;
};

/// Positive numbers over 10^(+-orders).
inline std::vector<double> spread_numbers(int count, double orders, Random& random) {
  std::vector<double> numbers;
  for (int i = 0; i < count; ++i) numbers.push_back(std::pow(10.0, orders * random.uniform()));
  return numbers;
}

/// Largest difference of two vectors, each entry relative to the second's.
inline double relative_distance(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = a.size() == b.size() ? 0 : infinity;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    if (!(difference == 0)) largest = std::fmax(largest, difference / std::abs(b[i]));
    if (std::isnan(difference)) return infinity;
  }
  return largest;
}

}  // namespace gramstep::test
