// MGDA, CAGrad, DualProj and UPGrad: known outcomes, searches over all active sets, and the
// conditions that make an answer the optimum.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/aggregators/problems.hpp"
#include "tests/aggregators/solve.hpp"
#include "tests/reference/quadratic.hpp"

namespace gramstep::test {
namespace {

using List = std::vector<double>;

/// The ridge on the cosine matrix: it bends every condition by at most this, in cosine scale.
constexpr double ridge = 1e-8;
/// By how much it moves weights of a problem of full rank: ridge / smallest eigenvalue of C, which
/// is above 1e-3 for the kinds that this is used with.
constexpr double ridge_in_weights = 1e-5;
/// Rounding of a K = 64 solve with a condition of at most 1e4 / K: 2^-52 * 64 * 1e4 is 1.4e-10.
constexpr double rounding = 1e-9;

const Problem one_matrix = problem_of({{-4, 1, 1}, {6, 1, 1}});

Eigen::MatrixXd matrix(const Problem& problem) {
  return Eigen::Map<const Eigen::MatrixXd>(problem.gram.data(), problem.tasks(), problem.tasks());
}

List norms(const Problem& problem) {
  List n;
  for (int i = 0; i < problem.tasks(); ++i) n.push_back(std::sqrt(problem.at(i, i)));
  return n;
}

/// Largest difference relative to the largest entry of the second.
double distance(const List& a, const List& b) {
  double largest = 0, scale = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(a[i] - b[i]));
    scale = std::max(scale, std::abs(b[i]));
  }
  return largest / scale;
}

/// Calls check(problem) for several problems of every kind and number of tasks.
template <class Check>
void for_all_problems(const Check& check) {
  for (const Kind kind : all_kinds) {
    for (const int tasks : some_tasks) {
      for (std::uint64_t seed = 0; seed < 5; ++seed) {
        const Problem problem = make_problem(kind, tasks, seed);
        SCOPED_TRACE(problem.name);
        check(problem);
      }
    }
  }
}

template <class A>
void expect_equivariant(const A& aggregator, double tolerance) {
  gramstep::test::Random random(11);
  for (const Kind kind : regular_kinds) {
    for (const int tasks : {2, 3, 8, 64}) {
      const Problem problem = make_problem(kind, tasks, 3);
      const std::vector<int> order = random_order(tasks, random);
      const List w = solve(aggregator, problem.gram, tasks).w;
      const List other = solve(aggregator, reordered(problem, order).gram, tasks).w;
      for (std::size_t i = 0; i < w.size(); ++i) {
        const double expected = w[static_cast<std::size_t>(order[i])];
        EXPECT_NEAR(other[i], expected, tolerance * std::max(1.0, expected)) << problem.name;
      }
    }
  }
}

/// Powers of 2 near 1e-15 and 1e15 leave the bits alone.
template <class A>
void expect_same_at_any_scale(const A& aggregator) {
  for (const Kind kind : all_kinds) {
    const Problem problem = make_problem(kind, 8, 4);
    const List w = solve(aggregator, problem.gram, 8).w;
    for (const int exponent : {-100, 100}) {
      List scaled = problem.gram;
      for (double& g : scaled) g = std::ldexp(g, exponent);
      EXPECT_TRUE(same_bits(solve(aggregator, scaled, 8).w, w)) << problem.name;
    }
  }
}

TEST(Quadratic, OneMatrix) {
  const auto expect_weights = [](const auto& aggregator, double first, double second) {
    const List w = solve(aggregator, one_matrix.gram, 2).w;
    EXPECT_NEAR(w[0], first, 5e-5);
    EXPECT_NEAR(w[1], second, 5e-5);
  };
  expect_weights(MGDA{}, 0.6, 0.4);
  expect_weights(CAGrad{.c = 0.5}, 0.7041, 0.5);
  expect_weights(DualProj{}, 0.6109, 0.5);
  expect_weights(UPGrad{}, 1.1109, 0.7894);
}

TEST(Quadratic, OneTaskIsNotLookedAt) {
  const List unknown{NAN};
  EXPECT_EQ(solve(MGDA{}, unknown, 1).w, List{1});
  EXPECT_EQ(solve(CAGrad{.c = 0.5}, unknown, 1).w, List{1.5});
  EXPECT_EQ(solve(CAGrad{.c = 0.5, .rescale = CAGradRescale::one_plus_c}, unknown, 1).w, List{1});
  EXPECT_EQ(solve(DualProj{}, unknown, 1).w, List{1});
  EXPECT_EQ(solve(UPGrad{.preference = {3}}, unknown, 1).w, List{3});
}

TEST(Quadratic, ReorderedTasksGetReorderedWeights) {
  expect_equivariant(MGDA{}, ridge_in_weights);
  expect_equivariant(CAGrad{}, ridge_in_weights);
  expect_equivariant(DualProj{}, rounding);
  expect_equivariant(UPGrad{}, rounding);
}

TEST(Quadratic, ScaleDoesNotChangeWeights) {
  expect_same_at_any_scale(MGDA{});
  expect_same_at_any_scale(CAGrad{});
  expect_same_at_any_scale(CAGrad{.c = 1.5});
  expect_same_at_any_scale(DualProj{});
  expect_same_at_any_scale(UPGrad{});
}

TEST(Quadratic, OptionsOutOfRange) {
  expect_error<InvalidArgument>([] { CAGrad{.c = -1}.validate(2); }, {"CAGrad.c"});
  expect_error<InvalidArgument>([] { CAGrad{.c = NAN}.validate(2); }, {"CAGrad.c"});
  expect_error<InvalidArgument>([] { DualProj{.epsilon = -1}.validate(2); }, {"DualProj.epsilon"});
  expect_error<InvalidArgument>([] { UPGrad{.epsilon = INFINITY}.validate(2); },
                                {"UPGrad.epsilon"});
  expect_error<InvalidArgument>([] { UPGrad{.preference = {1}}.validate(2); },
                                {"UPGrad.preference"});
  expect_error<InvalidArgument>([] { DualProj{.preference = {1, 0}}.validate(2); },
                                {"DualProj.preference"});
  CAGrad{.c = 0}.validate(2);
  UPGrad{.preference = {1, 2}}.validate(2);
}

TEST(Mgda, IsTheShortestOfAllFaces) {
  for (const Kind kind : {Kind::normal, Kind::weak}) {
    for (const int tasks : {2, 3, 8}) {
      for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const Problem problem = make_problem(kind, tasks, seed);
        EXPECT_LE(distance(solve(MGDA{}, problem.gram, tasks).w,
                           reference::shortest_in_hull(matrix(problem))),
                  ridge_in_weights)
            << problem.name;
      }
    }
  }
}

TEST(Mgda, TwoTasksHaveAClosedForm) {
  gramstep::test::Random random(5);
  for (int i = 0; i < 200; ++i) {
    const Problem problem = problem_of({random_row(5, random), random_row(5, random)});
    const double between = problem.at(0, 0) + problem.at(1, 1) - 2 * problem.at(0, 1);
    const double first = std::clamp((problem.at(1, 1) - problem.at(0, 1)) / between, 0.0, 1.0);
    EXPECT_NEAR(solve(MGDA{}, problem.gram, 2).w[0], first, ridge_in_weights);
  }
}

TEST(Mgda, EveryTaskDescendsAtLeastAsDDoes) {
  for_all_problems([](const Problem& problem) {
    const auto solved = solve(MGDA{}, problem.gram, problem.tasks());
    const List& w = solved.w;
    EXPECT_GE(*std::min_element(w.begin(), w.end()), 0.0);
    EXPECT_NEAR(std::accumulate(w.begin(), w.end(), 0.0), 1, 1e-14);
    EXPECT_LE(solved.solution.residual, ridge);
    const List along = times(problem.gram, w), n = norms(problem);
    const double squared = dot(w, along), aligned = dot(n, w);
    for (std::size_t i = 0; i < w.size(); ++i) {
      // Equality where w_i > 0 is up to ridge as well, for w_i may be as small.
      EXPECT_GE(along[i] - squared, -2 * ridge * n[i] * aligned) << i;
      EXPECT_LE(w[i] * n[i] * (along[i] - squared), 2 * ridge * n[i] * aligned * aligned) << i;
    }
  });
}

TEST(Mgda, DegenerateRows) {
  EXPECT_EQ(solve(MGDA{}, problem_of({{0, 0}, {1, 2}, {0, 0}}).gram, 3).w, (List{0.5, 0, 0.5}));
  EXPECT_EQ(solve(MGDA{}, List(9, 0.0), 3).w, List(3, 1.0 / 3));
  const List same = solve(MGDA{}, problem_of({{1, 2}, {1, 2}, {1, 2}}).gram, 3).w;
  const List opposite = solve(MGDA{}, problem_of({{1, 2}, {-2, -4}}).gram, 2).w;
  for (const double w : same) EXPECT_NEAR(w, 1.0 / 3, 1e-6);
  EXPECT_NEAR(opposite[0], 2.0 / 3, 1e-7);
}

/// Everything that makes d CAGrad's optimum: v = w - b >= 0, y = G w - lambda >= 0 where lambda is
/// the least (G w)_i over tasks with v_i > 0, v . y = 0 and |J^T v| = c |g_0|.
void expect_optimal(const Problem& problem, double c) {
  const int tasks = problem.tasks();
  const auto solved = solve(CAGrad{.c = c}, problem.gram, tasks);
  const List n = norms(problem), b(n.size(), 1.0 / tasks);
  List v = solved.w;
  for (double& x : v) x -= 1.0 / tasks;
  const double radius = c * std::sqrt(dot(b, times(problem.gram, b)));
  EXPECT_NEAR(std::sqrt(dot(v, times(problem.gram, v))) / radius, 1, 1e-7);
  const List along = times(problem.gram, solved.w);
  const double aligned = dot(n, solved.w);
  const double lambda = dot(v, along) / std::accumulate(v.begin(), v.end(), 0.0);
  for (std::size_t i = 0; i < n.size(); ++i) {
    EXPECT_GE(v[i] * n[i], -1e-12 * aligned) << i;
    EXPECT_GE(along[i] - lambda, -1e-7 * n[i] * aligned) << i;
  }
}

TEST(Cagrad, MeetsTheConditionsOfTheOptimum) {
  for (const Kind kind : {Kind::normal, Kind::weak, Kind::strong}) {
    for (const int tasks : {2, 3, 8, 17, 64}) {
      for (std::uint64_t seed = 0; seed < 5; ++seed) {
        const Problem problem = make_problem(kind, tasks, seed);
        SCOPED_TRACE(problem.name);
        for (const double c : {0.1, 0.5, 1.0, 3.0}) expect_optimal(problem, c);
      }
    }
  }
}

TEST(Cagrad, NoOtherDirectionServesTheWorstOffBetter) {
  for (const Kind kind : {Kind::normal, Kind::weak, Kind::strong}) {
    for (const int tasks : {2, 3}) {
      for (std::uint64_t seed = 0; seed < 5; ++seed) {
        const Problem problem = make_problem(kind, tasks, seed);
        const List w = solve(CAGrad{.c = 0.5}, problem.gram, tasks).w;
        const List along = times(problem.gram, w);
        const double best = reference::best_worst_case(matrix(problem), 0.5);
        const double scale = *std::max_element(problem.gram.begin(), problem.gram.end());
        EXPECT_NEAR(*std::min_element(along.begin(), along.end()), best, 1e-7 * scale)
            << problem.name;
      }
    }
  }
}

TEST(Cagrad, KeepsWhatItPromises) {
  for_all_problems([](const Problem& problem) {
    for (const double c : {0.0, 0.4, 1.0, 2.0}) {
      const auto solved = solve(CAGrad{.c = c}, problem.gram, problem.tasks());
      EXPECT_LE(solved.solution.residual, ridge) << c;
      const List n = norms(problem), along = times(problem.gram, solved.w);
      const double aligned = dot(n, solved.w);
      for (std::size_t i = 0; i < n.size(); ++i) {
        EXPECT_TRUE(std::isfinite(solved.w[i]));
        EXPECT_GE(solved.w[i], 0);
        if (c < 1) continue;
        EXPECT_GE(along[i], -2 * ridge * n[i] * aligned) << i << " c = " << c;
      }
    }
  });
}

TEST(Cagrad, RescaleDivides) {
  const List w = solve(CAGrad{.c = 0.5}, one_matrix.gram, 2).w;
  const CAGrad squared{.c = 0.5, .rescale = CAGradRescale::one_plus_c_squared};
  const CAGrad linear{.c = 0.5, .rescale = CAGradRescale::one_plus_c};
  EXPECT_NEAR(solve(squared, one_matrix.gram, 2).w[0], w[0] / 1.25, 1e-15);
  EXPECT_NEAR(solve(linear, one_matrix.gram, 2).w[0], w[0] / 1.5, 1e-15);
}

TEST(Cagrad, DegenerateRows) {
  EXPECT_EQ(solve(CAGrad{}, List(9, 0.0), 3).w, List(3, 1.0 / 3));
  // Opposite rows of one length: g_0 = 0.
  EXPECT_EQ(solve(CAGrad{}, problem_of({{3, 4}, {-3, -4}}).gram, 2).w, (List{0.5, 0.5}));
  // The mean of opposite rows of two lengths is (-1, 0) / 2, and all that helps neither less is d =
  // 0.
  const Problem opposite = problem_of({{1, 0}, {-2, 0}});
  const List w = solve(CAGrad{.c = 2}, opposite.gram, 2).w;
  EXPECT_NEAR(w[0] - 2 * w[1], 0, 1e-7);
  // A zero row allows no progress for all: no further than where the other is not opposed.
  EXPECT_EQ(solve(CAGrad{}, problem_of({{0, 0}, {1, 2}}).gram, 2).w, (List{0.5, 0.5}));
  const List same = solve(CAGrad{.c = 1}, problem_of({{1, 2}, {1, 2}}).gram, 2).w;
  EXPECT_NEAR(same[0], 1, 1e-6);
  EXPECT_NEAR(same[1], 1, 1e-6);
}

/// G / tr G + epsilon I
Eigen::MatrixXd regularised(const Problem& problem, double epsilon = 1e-4) {
  const Eigen::MatrixXd g = matrix(problem);
  const Eigen::MatrixXd identity = Eigen::MatrixXd::Identity(g.rows(), g.cols());
  return (g.trace() > 0 ? Eigen::MatrixXd(g / g.trace()) : 0 * g) + epsilon * identity;
}

TEST(DualCone, IsTheBestOfAllActiveSets) {
  for (const Kind kind : all_kinds) {
    for (const int tasks : {2, 3, 8}) {
      for (std::uint64_t seed = 0; seed < 3; ++seed) {
        const Problem problem = make_problem(kind, tasks, seed);
        const Eigen::MatrixXd h = regularised(problem);
        const auto count = static_cast<std::size_t>(tasks);
        const List w = solve(DualProj{}, problem.gram, tasks).w;
        EXPECT_LE(distance(w, reference::above(h, List(count, 1.0 / tasks))), rounding)
            << problem.name;
        List sum(count, 0.0);
        for (std::size_t k = 0; k < count; ++k) {
          List unit(count, 0.0);
          unit[k] = 1;
          const List v = reference::above(h, unit);
          for (std::size_t i = 0; i < count; ++i) sum[i] += v[i] / tasks;
        }
        EXPECT_LE(distance(solve(UPGrad{}, problem.gram, tasks).w, sum), rounding) << problem.name;
      }
    }
  }
}

TEST(DualCone, NoTaskIsOpposedButForTheRegularisation) {
  for_all_problems([](const Problem& problem) {
    const Eigen::MatrixXd h = regularised(problem);
    const Eigen::VectorXd bound = Eigen::VectorXd::Constant(h.rows(), 1.0 / problem.tasks());
    const auto projected = solve(DualProj{}, problem.gram, problem.tasks());
    const auto added = solve(UPGrad{}, problem.gram, problem.tasks());
    EXPECT_LE(projected.solution.residual, rounding);
    EXPECT_LE(added.solution.residual, rounding);
    const Eigen::VectorXd v = Eigen::Map<const Eigen::VectorXd>(projected.w.data(), h.rows());
    const Eigen::VectorXd w = Eigen::Map<const Eigen::VectorXd>(added.w.data(), h.rows());
    EXPECT_GE((v - bound).minCoeff(), 0.0);
    EXPECT_GE((w - bound).minCoeff(), 0.0);
    EXPECT_GE((h * v).minCoeff(), -rounding * v.lpNorm<1>());
    EXPECT_GE((h * w).minCoeff(), -rounding * w.lpNorm<1>());
    EXPECT_NEAR((v - bound).dot(h * v), 0, rounding * v.squaredNorm());
  });
}

TEST(Upgrad, TwoTasksWithWeightsOneArePcgrad) {
  gramstep::test::Random random(6);
  for (int i = 0; i < 100; ++i) {
    const Problem problem = problem_of({random_row(4, random), random_row(4, random)});
    const UPGrad upgrad{.preference = {1, 1}, .epsilon = 0};
    EXPECT_LE(distance(solve(upgrad, problem.gram, 2).w, solve(PCGrad{}, problem.gram, 2).w), 1e-8);
  }
}

TEST(DualCone, DegenerateRows) {
  EXPECT_EQ(solve(DualProj{}, List(9, 0.0), 3).w, List(3, 1.0 / 3));
  EXPECT_EQ(solve(UPGrad{.preference = {1, 2, 3}}, List(9, 0.0), 3).w, (List{1, 2, 3}));
  const Problem zero = problem_of({{0, 0}, {1, 0}, {-1, 1}});
  EXPECT_EQ(solve(DualProj{}, zero.gram, 3).w[0], 1.0 / 3);
  EXPECT_EQ(solve(UPGrad{}, zero.gram, 3).w[0], 1.0 / 3);
  const Problem same = problem_of({{1, 0}, {1, 0}, {-4, 1}});
  for (const List& w : {solve(DualProj{}, same.gram, 3).w, solve(UPGrad{}, same.gram, 3).w}) {
    EXPECT_NEAR(w[0], w[1], rounding);
  }
}

}  // namespace
}  // namespace gramstep::test
