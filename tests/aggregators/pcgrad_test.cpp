// PCGrad and the aggregators that do not look: weights against the classic way, and what is promised.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/aggregators/solve.hpp"
#include "tests/reference/aggregation.hpp"
#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

using reference::Matrix;
using reference::Vector;

/// The weights that `aggregator` gives a Gram matrix.
template <class Aggregator>
Vector weights_of(const Aggregator& aggregator, const Matrix& gram, std::int64_t step = 1) {
  std::vector<double> flat;
  for (const Vector& row : gram) flat.insert(flat.end(), row.begin(), row.end());
  return solve(aggregator, flat, static_cast<int>(gram.size()), {}, step).w;
}

Matrix random_rows(int tasks, int columns, Random& random) {
  Matrix rows(static_cast<std::size_t>(tasks), Vector(static_cast<std::size_t>(columns)));
  for (Vector& row : rows) {
    for (double& g : row) g = random.uniform();
  }
  return rows;
}

/// Largest difference of two vectors relative to the largest entry of the second.
double distance(const Vector& a, const Vector& b) {
  double largest = 0, scale = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(a[i] - b[i]));
    scale = std::max(scale, std::abs(b[i]));
  }
  return largest / scale;
}

/// What double leaves of two ways to the same weights: K projections of K terms each way, with
/// coefficients of a few units. 2^-52 * 64 * 64 is 1e-12; the dot products over N columns add as
/// much.
constexpr double two_ways_in_double = 1e-11;

TEST(Aggregators, ThoseThatDoNotLook) {
  const Matrix gram = reference::gram({{1, 2}, {3, 4}, {5, 6}});
  EXPECT_EQ(weights_of(Sum{}, gram), (Vector{1, 1, 1}));
  EXPECT_EQ(weights_of(Mean{}, gram), Vector(3, 1.0 / 3));
  EXPECT_EQ(weights_of(Constant{{0.5, -2, 0}}, gram), (Vector{0.5, -2, 0}));
}

TEST(Aggregators, ConstantKeepsItsOwnCopyOfUpTo64Values) {
  std::vector<double> values(64);
  std::iota(values.begin(), values.end(), 0.0);
  const TaskValues kept{std::span<const double>(values)};
  std::fill(values.begin(), values.end(), NAN);
  EXPECT_EQ(kept.size(), 64);
  EXPECT_EQ(kept[63], 63.0);
  expect_error<InvalidArgument>(
      [] { TaskValues{std::span<const double>(std::vector<double>(65))}; },
      {"got 65", "expected at most 64"});
}

TEST(Pcgrad, OneMatrixWithKnownWeights) {
  const Vector w = weights_of(PCGrad{}, reference::gram({{-4, 1, 1}, {6, 1, 1}}));
  EXPECT_DOUBLE_EQ(w[0], 1 + 22.0 / 18);
  EXPECT_DOUBLE_EQ(w[1], 1 + 22.0 / 38);
}

/// Weights against gradients projected one by one, for many random matrices of K rows.
void expect_classic(int tasks, int columns, const PCGrad& pcgrad, Random& random) {
  const Matrix rows = random_rows(tasks, columns, random);
  const std::int64_t step = static_cast<std::int64_t>(random.bits() >> 20);
  const auto classic =
      reference::pcgrad(rows, orders_of(pcgrad, tasks, step), pcgrad.reduction == Reduction::mean);
  const Vector weights = weights_of(pcgrad, reference::gram(rows), step);
  EXPECT_LE(distance(weights, classic.weights), two_ways_in_double) << tasks << "x" << columns;
  EXPECT_LE(distance(reference::weighted(rows, weights).combined, classic.combined),
            two_ways_in_double)
      << tasks << "x" << columns;
}

TEST(Pcgrad, EqualsProjectingGradientsTheClassicWay) {
  Random random(1);
  for (const int tasks : {1, 2, 3, 8, 17, 64}) {
    for (const Reduction reduction : {Reduction::sum, Reduction::mean}) {
      for (const PCGradOrder order : {PCGradOrder::fresh, PCGradOrder::fixed}) {
        const PCGrad pcgrad{reduction, order, random.bits()};
        expect_classic(tasks, 300, pcgrad, random);
        // Fewer columns than rows: nearly every pair is far from orthogonal, the rank is below K.
        expect_classic(tasks, 5, pcgrad, random);
      }
    }
  }
}

TEST(Pcgrad, TwoTasksAreNeverOpposed) {
  Random random(2);
  for (int i = 0; i < 1000; ++i) {
    Matrix rows = random_rows(2, 3, random);
    for (double& g : rows[1]) g *= std::exp2(20 * random.uniform());
    const Matrix gram = reference::gram(rows);
    const Vector w = weights_of(PCGrad{}, gram);
    for (std::size_t t = 0; t < 2; ++t) {
      const double along = gram[t][0] * w[0] + gram[t][1] * w[1];
      EXPECT_GE(along, -0x1p-50 * (std::abs(gram[t][0] * w[0]) + std::abs(gram[t][1] * w[1])));
    }
  }
}

TEST(Pcgrad, WithoutConflictIsSum) {
  Random random(3);
  for (const int tasks : {1, 2, 8, 64}) {
    Matrix rows = random_rows(tasks, 20, random);
    for (Vector& row : rows) {
      for (double& g : row) g = std::abs(g);
    }
    const Vector ones(static_cast<std::size_t>(tasks), 1.0);
    EXPECT_EQ(weights_of(PCGrad{}, reference::gram(rows)), ones);
    EXPECT_EQ(weights_of(PCGrad{.reduction = Reduction::mean}, reference::gram(rows))[0],
              1.0 / tasks);
  }
}

TEST(Pcgrad, WeightsAreAtLeastOne) {
  Random random(4);
  for (const int tasks : {2, 3, 8, 17, 64}) {
    double largest = 0;
    for (int i = 0; i < 20; ++i) {
      const Vector w = weights_of(PCGrad{}, reference::gram(random_rows(tasks, 10, random)));
      EXPECT_GE(*std::min_element(w.begin(), w.end()), 1.0);
      largest = std::max(largest, *std::max_element(w.begin(), w.end()));
    }
    EXPECT_GT(largest, 1.0) << "none was in conflict: proves nothing";
  }
}

TEST(Pcgrad, ReorderedTasksGetReorderedWeights) {
  // For two tasks there is only one order. For more, the fixed order changes with the tasks, so
  // rows are reversed and met in reverse by the reference.
  Random random(5);
  const Matrix two = random_rows(2, 3, random);
  const Vector w = weights_of(PCGrad{}, reference::gram(two));
  const Vector swapped = weights_of(PCGrad{}, reference::gram({two[1], two[0]}));
  EXPECT_EQ(w, (Vector{swapped[1], swapped[0]}));

  const int tasks = 8;
  const Matrix rows = random_rows(tasks, 6, random);
  const Matrix reversed(rows.rbegin(), rows.rend());
  reference::Orders backwards = reference::orders_by_index(tasks);
  for (auto& order : backwards) std::reverse(order.begin(), order.end());
  const Vector forward = weights_of(PCGrad{.order = PCGradOrder::fixed}, reference::gram(rows));
  Vector expected = reference::pcgrad(reversed, backwards, false).weights;
  std::reverse(expected.begin(), expected.end());
  EXPECT_LE(distance(forward, expected), two_ways_in_double);
}

TEST(Pcgrad, ScaleDoesNotChangeWeights) {
  Random random(6);
  for (const int tasks : {2, 8, 64}) {
    const Matrix gram = reference::gram(random_rows(tasks, 10, random));
    const Vector w = weights_of(PCGrad{}, gram);
    for (const int exponent : {-100, -50, 50, 100}) {  // of 2; 10^-15 and 10^15 are 2^-50 and 2^50
      Matrix scaled = gram;
      for (Vector& row : scaled) {
        for (double& g : row) g = std::ldexp(g, exponent);
      }
      EXPECT_EQ(weights_of(PCGrad{}, scaled), w) << "s^2 = 2^" << exponent;
    }
  }
}

TEST(Pcgrad, NormsMaySpreadOverThirtyOrdersOfMagnitude) {
  Random random(7);
  Matrix rows = random_rows(8, 6, random);
  for (std::size_t t = 0; t < 8; ++t) {
    for (double& g : rows[t]) g *= std::pow(10.0, -15 + 30.0 * static_cast<double>(t) / 7);
  }
  const PCGrad pcgrad{.order = PCGradOrder::fixed};
  const Vector w = weights_of(pcgrad, reference::gram(rows));
  const Vector classic = reference::pcgrad(rows, reference::orders_by_index(8), false).weights;
  for (std::size_t t = 0; t < 8; ++t) EXPECT_NEAR(w[t] / classic[t], 1, 1e-9) << t;
}

TEST(Pcgrad, ZeroRowsGetWeightOne) {
  const Vector w = weights_of(PCGrad{}, reference::gram({{0, 0}, {1, 0}, {-1, 1}}));
  EXPECT_EQ(w[0], 1.0);
  EXPECT_EQ(weights_of(PCGrad{}, Matrix(3, Vector(3, 0.0))), (Vector{1, 1, 1}));
}

TEST(Pcgrad, OppositeRowsCancel) {
  const Matrix rows{{3, -4}, {-3, 4}};
  const Vector w = weights_of(PCGrad{}, reference::gram(rows));
  EXPECT_EQ(w, (Vector{2, 2}));
  EXPECT_EQ(reference::weighted(rows, w).combined, (Vector{0, 0}));
}

TEST(Pcgrad, DuplicateRowsAreNoSpecialCase) {
  Random random(8);
  Matrix rows = random_rows(3, 4, random);
  rows[2] = rows[0];
  for (double& g : rows[1]) g -= 2;  // in conflict with both
  const PCGrad pcgrad{.order = PCGradOrder::fixed};
  const Vector w = weights_of(pcgrad, reference::gram(rows));
  const Vector classic = reference::pcgrad(rows, reference::orders_by_index(3), false).weights;
  EXPECT_LE(distance(w, classic), two_ways_in_double);
}

}  // namespace
}  // namespace gramstep::test
