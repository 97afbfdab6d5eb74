#include "bench/solves.hpp"

#include <random>

#include "gramstep/text.hpp"
#include "gramstep/error.hpp"

namespace gramstep::bench {
namespace {

/// J J^T of K rows of K + 16 numbers, every second one leaning against a common direction: conflicts,
/// and full rank.
void append_gram(std::vector<double>& gram, int tasks, std::mt19937& random) {
  std::normal_distribution<double> normal;
  const auto columns = static_cast<std::size_t>(tasks) + 16;
  std::vector<double> common(columns);
  for (double& g : common) g = normal(random);
  std::vector<std::vector<double>> rows;
  for (int k = 0; k < tasks; ++k) {
    std::vector<double>& row = rows.emplace_back(columns);
    for (std::size_t c = 0; c < columns; ++c) {
      row[c] = normal(random) + (k % 2 == 0 ? 0.5 : -0.25) * common[c];
    }
  }
  for (const auto& a : rows) {
    for (const auto& b : rows) {
      double sum = 0;
      for (std::size_t c = 0; c < columns; ++c) sum += a[c] * b[c];
      gram.push_back(sum);
    }
  }
}

/// Whether an aggregation takes it: it chooses weights, and K tasks are enough for its defaults.
bool usable(const Solve& solve) {
  try {
    Aggregation made(solve.options(cpu(1)));
    return true;
  } catch (const InvalidArgument&) {
    return false;
  }
}

}  // namespace

std::string Solve::name(const std::string& prefix) const {
  const auto own = std::visit([](const auto& held) { return held.name; }, aggregator);
  return prefix + "/" + std::string(own) + "/K:" + std::to_string(tasks) +
         (batch > 1 ? "/batch:" + std::to_string(batch) : "");
}

std::vector<Solve> solves(bool quick) {
  std::vector<Solve> all;
  const auto add = [&](Solve solve) {
    if (!usable(solve)) return;
    std::mt19937 random(5);
    for (std::int64_t b = 0; b < solve.batch; ++b) append_gram(solve.gram, solve.tasks, random);
    for (int k = 0; k < solve.tasks; ++k)
      solve.losses.push_back(0.5f + 0.1f * static_cast<float>(k));
    all.push_back(std::move(solve));
  };
  const std::vector<int> tasks = quick ? std::vector{2, 8} : std::vector{2, 4, 8, 16, 32, 64};
  for (const std::string_view name : aggregator_names()) {
    for (const int k : tasks) add({aggregator_of(name), k});
    if (!quick) add({aggregator_of(name), 8, 256});
  }
  return all;
}

}  // namespace gramstep::bench
