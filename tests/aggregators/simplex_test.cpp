// The simplex, and the methods that descend on it: SDMGrad, MoDo, MoCo.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gramstep/aggregators/moco.hpp"
#include "gramstep/aggregators/modo.hpp"
#include "gramstep/aggregators/sdmgrad.hpp"
#include "tests/aggregators/problems.hpp"
#include "tests/aggregators/solve.hpp"
#include "tests/reference/spectral.hpp"

namespace gramstep::test {
namespace {

using Numbers = std::vector<double>;

/// K <= 8 products and a projection a turn, each good to 8 2^-53 of numbers up to 10 K; 20 turns.
constexpr double two_ways = 1e-11;

Numbers projected(const Numbers& v) {
  const int tasks = static_cast<int>(v.size());
  const solvers::SimplexShift shift = solvers::simplex_shift(v.data(), tasks);
  Numbers w;
  for (const double value : v) w.push_back(shift.project(value));
  return w;
}

void expect_near(const Numbers& a, const Numbers& b, double bound) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], bound) << i;
}

void expect_on_simplex(const Numbers& w) {
  double sum = 0;
  for (const double each : w) {
    EXPECT_GE(each, 0);
    sum += each;
  }
  EXPECT_NEAR(sum, 1, 1e-14 * static_cast<double>(w.size()));
}

TEST(Simplex, HandValues) {
  EXPECT_EQ(projected({5}), Numbers{1});
  EXPECT_EQ(projected({0.25, 0.75}), (Numbers{0.25, 0.75}));
  EXPECT_EQ(projected({2, 0}), (Numbers{1, 0}));
  EXPECT_EQ(projected({1, 1, 1, 1}), Numbers(4, 0.25));
  EXPECT_EQ(projected({-3, -3.5, -10}), (Numbers{0.75, 0.25, 0}));
}

TEST(Simplex, EqualsTheBestOfAllSets) {
  Random random(1);
  for (const std::size_t tasks : {1u, 2u, 3u, 8u}) {
    for (const double size : {1e-6, 0.1, 1.0, 10.0}) {
      for (int i = 0; i < 50; ++i) {
        Numbers v(tasks);
        for (double& value : v) value = size * random.uniform();
        expect_near(projected(v), reference::on_simplex(v), 1e-14);
      }
    }
  }
}

TEST(Simplex, AnySizeOfNumbersGivesWeightsThatSumToOne) {
  Random random(2);
  for (const std::size_t tasks : {2u, 17u, 64u}) {
    for (const double size : {1e-300, 1e-30, 1.0, 1e30, 1e300}) {
      Numbers v(tasks);
      for (double& value : v) value = size * random.uniform();
      expect_on_simplex(projected(v));
    }
  }
}

/// J (J^T x): G x by way of the gradients.
Numbers image(const Problem& problem, const Numbers& x) {
  Numbers d(problem.rows.front().size(), 0.0), product;
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t n = 0; n < d.size(); ++n) d[n] += x[i] * problem.rows[i][n];
  }
  for (const Numbers& row : problem.rows) product.push_back(dot(row, d));
  return product;
}

/// SDMGrad on the gradients: u after the iteration, from u before it.
Numbers sdmgrad(const Problem& problem, Numbers u, double lambda, double eta, int turns) {
  const double tasks = problem.tasks();
  double mean = 0;
  for (const Numbers& row : problem.rows) mean += std::sqrt(dot(row, row)) / tasks;
  Numbers v(u.size(), 0.0);
  for (int turn = 0; turn < turns; ++turn) {
    Numbers mixed = u;
    for (double& each : mixed) each += lambda / tasks;
    const Numbers slope = image(problem, mixed);
    for (std::size_t i = 0; i < u.size(); ++i) {
      v[i] = 0.5 * v[i] + slope[i] / (mean * mean);
      u[i] -= eta * v[i];
    }
    u = reference::on_simplex(u);
  }
  return u;
}

constexpr Kind tame_kinds[] = {Kind::normal,    Kind::strong,    Kind::weak,
                               Kind::deficient, Kind::duplicate, Kind::zero};

TEST(Sdmgrad, ReproducesTheIterationOverSteps) {
  for (const Kind kind : tame_kinds) {
    for (const int tasks : {2, 3, 8}) {
      Numbers u(static_cast<std::size_t>(tasks), 1.0 / tasks), state;
      for (int step = 1; step <= 3; ++step) {
        const Problem problem = make_problem(kind, tasks, static_cast<std::uint64_t>(step));
        SCOPED_TRACE(problem.name);
        // Few and short steps: long ones magnify rounding from turn to turn.
        const SDMGrad method{.lambda = 0.4, .eta = 0.5, .iterations = 7};
        u = sdmgrad(problem, u, 0.4, 0.5, 7);
        const auto got = solve(method, problem.gram, tasks, {}, step, state);
        state = got.next_state;
        expect_near(state, u, two_ways);
        Numbers expected = u;
        for (double& each : expected) each = (each + 0.4 / tasks) / 1.4;
        expect_near(got.w, expected, two_ways);
        EXPECT_EQ(got.solution.iterations, 7);
      }
    }
  }
}

TEST(Sdmgrad, TheDefaultsReproduceOneTurnAndTwenty) {
  const Problem problem = problem_of({{1, 0}, {0, 2}});
  // mean |g| = 1.5, H = diag(1, 4) / 2.25; one turn: H (1/2 + 0.15) = (0.2889, 1.1556),
  // u - 10 v = (-2.389, -11.06), whose projection is (1, 0).
  EXPECT_EQ(solve(SDMGrad{.iterations = 1}, problem.gram, 2).next_state, (Numbers{1, 0}));
  expect_near(solve(SDMGrad{}, problem.gram, 2).next_state,
              sdmgrad(problem, {0.5, 0.5}, 0.3, 10, 20), two_ways);
}

TEST(Modo, OneStepByHand) {
  // G l = (1/2, 2), rho l = (1/2, 1/2): u = (1/2, 1/2) - 0.1 (1, 2.5) = (0.4, 0.25), projected
  // (0.575, 0.425).
  const auto got = solve(MoDo{.gamma = 0.1, .rho = 1}, {1, 0, 0, 4}, 2);
  expect_near(got.w, {0.575, 0.425}, 1e-15);
  EXPECT_EQ(got.next_state, got.w);
}

TEST(Modo, EqualsStepsOnTheGradients) {
  for (const Kind kind : tame_kinds) {
    for (const int tasks : {2, 3, 8}) {
      Numbers w(static_cast<std::size_t>(tasks), 1.0 / tasks), state;
      for (int step = 1; step <= 5; ++step) {
        const Problem problem = make_problem(kind, tasks, static_cast<std::uint64_t>(step));
        SCOPED_TRACE(problem.name);
        const double gamma = 1 / (problem.gram[0] * 100), rho = 0.2;
        const Numbers slope = image(problem, w);
        for (std::size_t i = 0; i < w.size(); ++i) w[i] -= gamma * (slope[i] + rho * w[i]);
        w = reference::on_simplex(w);
        const auto got =
            solve(MoDo{.gamma = gamma, .rho = rho}, problem.gram, tasks, {}, step, state);
        state = got.next_state;
        expect_near(got.w, w, two_ways * 1e4);  // gamma G may be 1e4 for the longest row
      }
    }
  }
}

TEST(Moco, RatesFallWithTheStep) {
  const MoCo method{.beta = 0.8, .beta_sigma = 0.5, .gamma = 0.3, .gamma_sigma = 1, .rho = 0.5};
  EXPECT_EQ(method.momentum(1, NAN).take, 0.8);
  EXPECT_NEAR(method.momentum(4, NAN).take, 0.4, 1e-16);
  EXPECT_NEAR(method.momentum(4, NAN).keep, 0.6, 1e-16);
  const Problem problem = make_problem(Kind::normal, 3, 1);
  const Numbers state{0.2, 0.5, 0.3};
  expect_near(solve(method, problem.gram, 3, {}, 10, state).w,
              solve(MoDo{.gamma = 0.03, .rho = 0.5}, problem.gram, 3, {}, 10, state).w, 1e-12);
}

TEST(Moco, FollowsTheAlgorithmOnAveragesOfGradients) {
  const MoCo method;
  Problem averages = problem_of({{0, 0, 0}, {0, 0, 0}});
  Numbers w{0.5, 0.5}, state;
  Random random(5);
  for (int step = 1; step <= 6; ++step) {
    const TaskMomentum mix = method.momentum(step, NAN);
    for (Numbers& row : averages.rows) {
      for (double& y : row) y += 0.5 / std::sqrt(step) * (random.uniform() - y);
    }
    EXPECT_NEAR(mix.keep + mix.take, 1, 1e-16);
    EXPECT_NEAR(mix.take, 0.5 / std::sqrt(step), 1e-16);
    averages = problem_of(averages.rows);
    const Numbers slope = image(averages, w);
    for (std::size_t i = 0; i < 2; ++i) w[i] -= 0.1 / std::sqrt(step) * slope[i];
    w = reference::on_simplex(w);
    const auto got = solve(method, averages.gram, 2, {}, step, state);
    state = got.next_state;
    expect_near(got.w, w, two_ways);
  }
}

template <class A>
class OnSimplex : public ::testing::Test {};
using Methods = ::testing::Types<SDMGrad, MoDo, MoCo>;
TYPED_TEST_SUITE(OnSimplex, Methods);

TYPED_TEST(OnSimplex, WeightsOfEveryProblemAndStep) {
  for (const Kind kind : all_kinds) {
    for (const int tasks : some_tasks) {
      Numbers state;
      for (int step = 1; step <= 3; ++step) {
        const Problem problem = make_problem(kind, tasks, static_cast<std::uint64_t>(step));
        SCOPED_TRACE(problem.name);
        const auto got = solve(TypeParam{}, problem.gram, tasks, {}, step, state);
        state = got.next_state;
        expect_on_simplex(got.w);
        expect_on_simplex(state);
        EXPECT_LE(got.solution.residual, TypeParam::tolerance);
      }
    }
  }
}

TYPED_TEST(OnSimplex, DegenerateInput) {
  EXPECT_EQ(solve(TypeParam{}, {NAN}, 1).w, Numbers{1});
  EXPECT_EQ(solve(TypeParam{}, {NAN}, 1).next_state, Numbers{1});
  expect_near(solve(TypeParam{}, Numbers(9, 0.0), 3).w, Numbers(3, 1.0 / 3), 1e-15);
  const Numbers state{0.5, 0.25, 0.25};
  const auto still = solve(SDMGrad{}, Numbers(9, 0.0), 3, {}, 2, state);
  EXPECT_EQ(still.next_state, state);
  const auto opposite = solve(TypeParam{}, problem_of({{1, 2}, {-1, -2}}).gram, 2);
  expect_near(opposite.w, {0.5, 0.5}, 1e-15);
}

TYPED_TEST(OnSimplex, ReorderedTasksGetReorderedWeights) {
  Random random(7);
  for (const int tasks : {2, 3, 8, 64}) {
    const Problem problem = make_problem(Kind::normal, tasks, 1);
    const std::vector<int> order = random_order(tasks, random);
    const Numbers w = solve(TypeParam{}, problem.gram, tasks).w;
    Numbers expected;
    for (const int i : order) expected.push_back(w[static_cast<std::size_t>(i)]);
    expect_near(solve(TypeParam{}, reordered(problem, order).gram, tasks).w, expected, 1e-9);
  }
}

TEST(Sdmgrad, ScaleDoesNotChangeWeights) {
  for (const Kind kind : all_kinds) {
    const Problem problem = make_problem(kind, 8, 1);
    for (const int exponent : {-100, 100}) {
      Numbers scaled = problem.gram;
      for (double& g : scaled) g = std::ldexp(g, exponent);
      EXPECT_EQ(solve(SDMGrad{}, scaled, 8).w, solve(SDMGrad{}, problem.gram, 8).w);
    }
  }
}

TEST(OnSimplexOptions, OutOfRange) {
  expect_error<InvalidArgument>([] { SDMGrad{.lambda = -1}.validate(2); }, {"SDMGrad.lambda"});
  expect_error<InvalidArgument>([] { SDMGrad{.eta = NAN}.validate(2); }, {"SDMGrad.eta"});
  expect_error<InvalidArgument>([] { SDMGrad{.iterations = -1}.validate(2); },
                                {"SDMGrad.iterations", "got -1"});
  expect_error<InvalidArgument>([] { SDMGrad{.momentum = 1}.validate(2); }, {"SDMGrad.momentum"});
  expect_error<InvalidArgument>([] { MoDo{.gamma = -1}.validate(2); }, {"MoDo.gamma"});
  expect_error<InvalidArgument>([] { MoDo{.rho = INFINITY}.validate(2); }, {"MoDo.rho"});
  expect_error<InvalidArgument>([] { MoCo{.beta = 1.5}.validate(2); }, {"MoCo.beta"});
  expect_error<InvalidArgument>([] { MoCo{.beta_sigma = -1}.validate(2); }, {"MoCo.beta_sigma"});
  expect_error<InvalidArgument>([] { MoCo{.gamma = -1}.validate(2); }, {"MoCo.gamma"});
  expect_error<InvalidArgument>([] { MoCo{.gamma_sigma = -1}.validate(2); }, {"MoCo.gamma_sigma"});
  expect_error<InvalidArgument>([] { MoCo{.rho = -1}.validate(2); }, {"MoCo.rho"});
  SDMGrad{}.validate(64);
  MoDo{}.validate(1);
  MoCo{.beta = 1}.validate(1);
}

}  // namespace
}  // namespace gramstep::test
