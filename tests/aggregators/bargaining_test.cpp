// Nash-MTL and FairGrad: known outcomes, coordinate descent, and the conditions they solve.
#include <algorithm>
#include <cmath>

#include "tests/aggregators/problems.hpp"
#include "tests/aggregators/solve.hpp"
#include "tests/reference/quadratic.hpp"

namespace gramstep::test {
namespace {

using List = std::vector<double>;

/// What double leaves of a condition whose terms are up to 1e4 times their sum, K = 64 of them:
/// 2^-52 * 64 * 1e4 is 1.4e-10.
constexpr double rounding = 1e-9;
constexpr NashMTL plain{.normalise = false, .max_norm = 0};
const Problem one_matrix = problem_of({{-4, 1, 1}, {6, 1, 1}});

/// The kinds of which no convex combination of rows is 0.
constexpr Kind solvable_kinds[] = {Kind::normal, Kind::strong, Kind::weak, Kind::duplicate};

double norm(const Problem& problem, const List& w) {
  return std::sqrt(dot(w, times(problem.gram, w)));
}

Eigen::MatrixXd matrix(const Problem& problem) {
  return Eigen::Map<const Eigen::MatrixXd>(problem.gram.data(), problem.tasks(), problem.tasks());
}

TEST(NashMtl, OneMatrix) {
  const List w = solve(NashMTL{}, one_matrix.gram, 2).w;
  EXPECT_NEAR(-4 * w[0] + 6 * w[1], 0.0542, 5e-5);
  EXPECT_NEAR(w[0] + w[1], 0.7061, 5e-5);
}

TEST(NashMtl, TwoTasksHaveAClosedForm) {
  gramstep::test::Random random(1);
  for (int i = 0; i < 100; ++i) {
    const Problem problem = problem_of({random_row(4, random), random_row(4, random)});
    const double n0 = std::sqrt(problem.at(0, 0)), n1 = std::sqrt(problem.at(1, 1));
    const double cosine = problem.at(0, 1) / n0 / n1;
    const List w = solve(plain, problem.gram, 2).w;
    EXPECT_NEAR(w[0] * n0 * std::sqrt(1 + cosine), 1, rounding);
    EXPECT_NEAR(w[1] * n1 * std::sqrt(1 + cosine), 1, rounding);
  }
}

TEST(NashMtl, EveryTaskGainsAlike) {
  for (const Kind kind : {Kind::normal, Kind::strong, Kind::weak, Kind::duplicate, Kind::spread}) {
    for (const int tasks : {2, 3, 8, 17, 64}) {
      const Problem problem = make_problem(kind, tasks, 2);
      const auto solved = solve(plain, problem.gram, tasks);
      const List along = times(problem.gram, solved.w);
      for (std::size_t i = 0; i < along.size(); ++i) {
        EXPECT_NEAR(solved.w[i] * along[i], 1, rounding) << problem.name;
      }
      EXPECT_LE(solved.solution.residual, rounding) << problem.name;
      EXPECT_LE(solved.solution.iterations, 16) << problem.name;
      EXPECT_NEAR(norm(problem, solved.w), std::sqrt(tasks), rounding * tasks) << problem.name;
    }
  }
}

TEST(NashMtl, NormalisationAndClip) {
  const Problem problem = make_problem(Kind::normal, 8, 1);
  const List w = solve(plain, problem.gram, 8).w;
  const double frobenius = std::sqrt(dot(problem.gram, problem.gram));
  const List normalised = solve(NashMTL{.normalise = true, .max_norm = 0}, problem.gram, 8).w;
  const List clipped = solve(NashMTL{.normalise = false, .max_norm = 0.5}, problem.gram, 8).w;
  const List within = solve(NashMTL{.normalise = false, .max_norm = 3}, problem.gram, 8).w;
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_NEAR(normalised[i] / w[i] / std::sqrt(frobenius), 1, rounding);
    EXPECT_NEAR(clipped[i] / w[i] * std::sqrt(8) / 0.5, 1, rounding);
    EXPECT_EQ(within[i], w[i]);
  }
}

TEST(NashMtl, AFactorOnARowDoesNotChangeD) {
  Problem problem = make_problem(Kind::normal, 8, 5);
  const List w = solve(plain, problem.gram, 8).w;
  for (double& g : problem.rows[3]) g *= 1e6;
  const List other = solve(plain, problem_of(problem.rows).gram, 8).w;
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_NEAR(other[i] / w[i] * (i == 3 ? 1e6 : 1), 1, rounding);
  }
}

TEST(NashMtl, KeepsWeightsInBetween) {
  const NashMTL every_third{.max_norm = 0, .update_every = 3};
  const Problem first = make_problem(Kind::normal, 3, 1), later = make_problem(Kind::normal, 3, 2);
  const auto solved = solve(every_third, first.gram, 3);
  EXPECT_EQ(solved.next_state, solved.w);
  for (const std::int64_t step : {2, 3}) {
    const auto kept = solve(every_third, later.gram, 3, {}, step, solved.next_state);
    EXPECT_EQ(kept.w, solved.w);
    EXPECT_EQ(kept.next_state, solved.w);
    EXPECT_EQ(kept.solution.iterations, 0);
  }
  const auto fresh = solve(every_third, later.gram, 3, {}, 4, solved.next_state);
  EXPECT_EQ(fresh.w, solve(every_third, later.gram, 3).w);
  // The clip is of this step's d, and what is kept is not clipped.
  const NashMTL clipped{.max_norm = 0.1, .update_every = 3};
  const auto once = solve(clipped, later.gram, 3, {}, 2, solved.next_state);
  EXPECT_NEAR(norm(later, once.w), 0.1, 1e-12);
  EXPECT_EQ(once.next_state, solved.w);
}

TEST(FairGrad, OneMatrix) {
  const List w = solve(FairGrad{}, one_matrix.gram, 2).w;
  EXPECT_NEAR(w[0], 0.5915, 5e-5);
  EXPECT_NEAR(w[1], 0.4071, 5e-5);
}

TEST(FairGrad, AlphaOneIsNash) {
  const Problem problem = make_problem(Kind::normal, 8, 3);
  EXPECT_EQ(solve(FairGrad{}, problem.gram, 8).w, solve(plain, problem.gram, 8).w);
}

TEST(FairGrad, EqualsCoordinateDescent) {
  for (const Kind kind : {Kind::normal, Kind::weak}) {
    for (const int tasks : {2, 3, 8}) {
      for (const double alpha : {0.5, 1.0, 2.0, 5.0}) {
        const Problem problem = make_problem(kind, tasks, 4);
        const List w = solve(FairGrad{alpha}, problem.gram, tasks).w;
        const List other = reference::fair_shares(matrix(problem), alpha, 2000);
        // Coordinate descent stops short by more than rounding.
        for (std::size_t i = 0; i < w.size(); ++i) {
          EXPECT_NEAR(w[i] / other[i], 1, 1e-7) << problem.name << " alpha = " << alpha;
        }
      }
    }
  }
}

TEST(FairGrad, MeetsItsConditions) {
  for (const Kind kind : solvable_kinds) {
    for (const int tasks : {2, 3, 8, 17, 64}) {
      for (const double alpha : {0.5, 1.0, 2.0, 10.0}) {
        const Problem problem = make_problem(kind, tasks, 6);
        const auto solved = solve(FairGrad{alpha}, problem.gram, tasks);
        const List along = times(problem.gram, solved.w);
        for (std::size_t i = 0; i < along.size(); ++i) {
          EXPECT_NEAR(along[i] * std::pow(solved.w[i], 1 / alpha), 1, rounding)
              << problem.name << " alpha = " << alpha;
        }
        EXPECT_LE(solved.solution.residual, rounding) << problem.name << " alpha = " << alpha;
      }
    }
  }
}

TEST(FairGrad, AFactorOnAllRowsIsAPowerOnTheWeights) {
  const Problem problem = make_problem(Kind::normal, 8, 7);
  for (const double alpha : {0.5, 2.0}) {
    const List w = solve(FairGrad{alpha}, problem.gram, 8).w;
    for (const double s : {1e-15, 1e15}) {
      List scaled = problem.gram;
      for (double& g : scaled) g *= s * s;
      const List other = solve(FairGrad{alpha}, scaled, 8).w;
      const double factor = std::pow(s, -2 * alpha / (1 + alpha));
      for (std::size_t i = 0; i < 8; ++i) EXPECT_NEAR(other[i] / w[i] / factor, 1, rounding);
    }
  }
}

TEST(Bargaining, DegenerateRows) {
  const List unknown{NAN};
  EXPECT_EQ(solve(NashMTL{}, unknown, 1).w, List{1});
  EXPECT_EQ(solve(NashMTL{}, unknown, 1).next_state, List{1});
  EXPECT_EQ(solve(FairGrad{2}, unknown, 1).w, List{1});
  EXPECT_EQ(solve(NashMTL{}, List(9, 0.0), 3).w, List(3, 0.0));
  EXPECT_EQ(solve(FairGrad{2}, List(9, 0.0), 3).w, List(3, 0.0));
  const Problem zero = problem_of({{1, 2}, {0, 0}, {3, -1}});
  const Problem without = problem_of({{1, 2}, {3, -1}});
  const List w = solve(FairGrad{2}, zero.gram, 3).w;
  const List expected = solve(FairGrad{2}, without.gram, 2).w;
  EXPECT_EQ(w[1], 0.0);
  EXPECT_NEAR(w[0], expected[0], rounding);
  EXPECT_NEAR(w[2], expected[1], rounding);
}

TEST(Bargaining, WeightsAreFiniteWhereThereIsNoSolution) {
  for (const Kind kind : all_kinds) {
    for (const int tasks : some_tasks) {
      const Problem problem = make_problem(kind, tasks, 8);
      for (const double alpha : {0.1, 0.5, 1.0, 2.0, 10.0}) {
        const auto solved = solve(FairGrad{alpha}, problem.gram, tasks);
        for (const double w : solved.w) {
          EXPECT_TRUE(std::isfinite(w) && w >= 0) << problem.name << " alpha = " << alpha;
        }
      }
      for (const double w : solve(NashMTL{}, problem.gram, tasks).w) EXPECT_TRUE(std::isfinite(w));
    }
  }
  const auto opposite = solve(plain, problem_of({{1, 2}, {-1, -2}}).gram, 2);
  EXPECT_GT(opposite.solution.residual, 0.5);
  EXPECT_LE(opposite.w[0], 1e5);
}

TEST(Bargaining, ReorderedTasksGetReorderedWeights) {
  gramstep::test::Random random(9);
  for (const int tasks : {2, 8, 64}) {
    const Problem problem = make_problem(Kind::normal, tasks, 9);
    const std::vector<int> order = random_order(tasks, random);
    const Problem other = reordered(problem, order);
    const List nash = solve(NashMTL{}, problem.gram, tasks).w;
    const List nash_other = solve(NashMTL{}, other.gram, tasks).w;
    const List fair = solve(FairGrad{2}, problem.gram, tasks).w;
    const List fair_other = solve(FairGrad{2}, other.gram, tasks).w;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const auto from = static_cast<std::size_t>(order[i]);
      EXPECT_NEAR(nash_other[i] / nash[from], 1, rounding);
      EXPECT_NEAR(fair_other[i] / fair[from], 1, rounding);
    }
  }
}

TEST(Bargaining, OptionsOutOfRange) {
  expect_error<InvalidArgument>([] { FairGrad{0}.validate(2); }, {"FairGrad.alpha"});
  expect_error<InvalidArgument>([] { FairGrad{NAN}.validate(2); }, {"FairGrad.alpha"});
  expect_error<InvalidArgument>([] { NashMTL{.max_norm = -1}.validate(2); }, {"NashMTL.max_norm"});
  expect_error<InvalidArgument>([] { NashMTL{.update_every = 0}.validate(2); },
                                {"NashMTL.update_every"});
  NashMTL{}.validate(64);
  FairGrad{2}.validate(64);
}

}  // namespace
}  // namespace gramstep::test
