// GradVac against the gradients themselves, turned one by one.
#include "gramstep/aggregators/gradvac.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gramstep/aggregators/pcgrad.hpp"
#include "tests/aggregators/problems.hpp"
#include "tests/aggregators/solve.hpp"

namespace gramstep::test {
namespace {

using Numbers = std::vector<double>;
using Rows = std::vector<Numbers>;

/// K turns of up to K terms, each in double, with a conditioning of up to 1 / epsilon where a
/// gradient is turned to nearly nothing; random gradients stay a factor of 1e4 below.
constexpr double two_ways = 1e-9;

std::vector<int> order_of(const GradVac& method, int i, int tasks, std::int64_t step) {
  unsigned char met[max_tasks];
  write_task_order(method.order, method.seed, i, tasks, step, 0, met);
  return {met, met + tasks};
}

/// What GradVac makes of the rows, and of the targets [K][K], on the gradients: no Gram matrix.
Numbers classic(const Rows& rows, Rows& targets, const GradVac& method, std::int64_t step) {
  const std::size_t tasks = rows.size();
  Numbers d(rows.front().size(), 0.0);
  for (std::size_t i = 0; i < tasks; ++i) {
    Numbers g = rows[i];
    for (const int other : order_of(method, static_cast<int>(i), static_cast<int>(tasks), step)) {
      const auto j = static_cast<std::size_t>(other);
      if (i == j) continue;
      const double length = std::sqrt(dot(g, g)), other_length = std::sqrt(dot(rows[j], rows[j]));
      const double own_length = std::sqrt(dot(rows[i], rows[i]));
      double& target = targets[i][j];
      double cosine = 0;
      if (own_length > 0 && other_length > 0) {
        cosine = dot(g, rows[j]) / ((length + method.epsilon * own_length) * other_length);
        if (cosine < target) {
          const double rest = std::sqrt(1 - target * target);
          const double factor = length * (target * std::sqrt(1 - cosine * cosine) - cosine * rest) /
                                (other_length * (rest + method.epsilon));
          for (std::size_t n = 0; n < g.size(); ++n) g[n] += factor * rows[j][n];
        }
      }
      target += method.beta * (cosine - target);
    }
    for (std::size_t n = 0; n < d.size(); ++n) d[n] += g[n];
  }
  if (method.reduction == Reduction::mean) {
    for (double& each : d) each /= static_cast<double>(tasks);
  }
  return d;
}

Numbers combined(const Rows& rows, const Numbers& w) {
  Numbers d(rows.front().size(), 0.0);
  for (std::size_t i = 0; i < w.size(); ++i) {
    for (std::size_t n = 0; n < d.size(); ++n) d[n] += w[i] * rows[i][n];
  }
  return d;
}

void expect_near(const Numbers& a, const Numbers& b, double bound) {
  double scale = 0;
  for (const double each : b) scale = std::max(scale, std::abs(each));
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], bound * scale) << i;
}

TEST(GradVac, EqualsTurningGradientsOverSteps) {
  for (const Kind kind : {Kind::normal, Kind::strong, Kind::weak, Kind::deficient, Kind::duplicate,
                          Kind::zero, Kind::spread}) {
    for (const int tasks : {1, 2, 3, 8, 17}) {
      // Rows in one line: turned to nothing, where epsilon and rounding decide what the cosine is.
      if (kind == Kind::deficient && tasks < 8) continue;
      for (const TaskOrder order : {TaskOrder::fresh, TaskOrder::fixed}) {
        const GradVac method{.reduction = tasks % 2 ? Reduction::mean : Reduction::sum,
                             .order = order,
                             .seed = 5,
                             .beta = 0.3};
        Rows targets(static_cast<std::size_t>(tasks),
                     Numbers(static_cast<std::size_t>(tasks), 0.0));
        Numbers state;
        for (int step = 1; step <= 4; ++step) {
          const Problem problem = make_problem(kind, tasks, static_cast<std::uint64_t>(step));
          SCOPED_TRACE(problem.name);
          const Numbers expected = classic(problem.rows, targets, method, step);
          const auto got = solve(method, problem.gram, tasks, {}, step, state);
          state = got.next_state;
          expect_near(combined(problem.rows, got.w), expected, two_ways);
          for (int i = 0; i < tasks; ++i) {
            const auto at = static_cast<std::size_t>(i);
            const Numbers row(state.begin() + i * tasks, state.begin() + (i + 1) * tasks);
            for (std::size_t j = 0; j < row.size(); ++j) {
              EXPECT_NEAR(row[j], targets[at][j], two_ways);
            }
          }
        }
      }
    }
  }
}

TEST(GradVac, TheFirstStepIsPcgradButForEpsilon) {
  for (const int tasks : {2, 3, 8, 64}) {
    const Problem problem = make_problem(Kind::normal, tasks, 9);
    const GradVac method{.seed = 3, .epsilon = 1e-15};
    expect_near(solve(method, problem.gram, tasks).w,
                solve(PCGrad{.seed = 3}, problem.gram, tasks).w, two_ways);
  }
}

TEST(GradVac, TurnsToTheTargetCosine) {
  // Orthogonal rows, a target of 0.6 for task 0 and none for task 1: g_0 + 0.75 |g_0| / |g_1| g_1.
  const Numbers state{0, 0.6, 0, 0};
  const auto got = solve(GradVac{.epsilon = 1e-300}, {4, 0, 0, 1}, 2, {}, 2, state);
  EXPECT_NEAR(got.w[0], 1, 1e-15);
  EXPECT_NEAR(got.w[1], 1 + 0.75 * 2, 1e-15);
  EXPECT_EQ(got.next_state, (Numbers{0, 0.3, 0, 0}));
}

TEST(GradVac, DegenerateInput) {
  EXPECT_EQ(solve(GradVac{}, {NAN}, 1).w, Numbers{1});
  EXPECT_EQ(solve(GradVac{}, {NAN}, 1).next_state, Numbers{0});
  EXPECT_EQ(solve(GradVac{}, Numbers(9, 0.0), 3).w, Numbers(3, 1.0));
  const Numbers state{0, 0.5, 0.5, 0};
  const auto zero = solve(GradVac{}, {0, 0, 0, 1}, 2, {}, 2, state);
  EXPECT_EQ(zero.w, (Numbers{1, 1}));
  EXPECT_EQ(zero.next_state, (Numbers{0, 0.25, 0.25, 0}));
  const auto opposite = solve(GradVac{}, {25, -25, -25, 25}, 2);
  EXPECT_NEAR(opposite.w[0], 2, 1e-7);
  EXPECT_NEAR(opposite.w[1], 2, 1e-7);
  for (const Kind kind : all_kinds) {
    for (const int tasks : some_tasks) {
      Numbers ones(static_cast<std::size_t>(tasks * tasks), 1.0);  // targets that nobody reaches
      for (const double w :
           solve(GradVac{}, make_problem(kind, tasks, 1).gram, tasks, {}, 2, ones).w) {
        EXPECT_TRUE(std::isfinite(w));
      }
    }
  }
}

TEST(GradVac, ScaleDoesNotChangeWeights) {
  for (const Kind kind : all_kinds) {
    const Problem problem = make_problem(kind, 8, 1);
    const Numbers state(64, 0.1);
    for (const int exponent : {-100, 100}) {
      Numbers scaled = problem.gram;
      for (double& g : scaled) g = std::ldexp(g, exponent);
      EXPECT_EQ(solve(GradVac{}, scaled, 8, {}, 2, state).w,
                solve(GradVac{}, problem.gram, 8, {}, 2, state).w);
    }
  }
}

TEST(GradVac, ReorderedTasksGetReorderedWeights) {
  const Problem problem = make_problem(Kind::normal, 2, 4);  // two tasks have one order
  const Numbers w = solve(GradVac{}, problem.gram, 2, {}, 2, {0, 0.5, 0.2, 0}).w;
  const Numbers swapped =
      solve(GradVac{}, reordered(problem, {1, 0}).gram, 2, {}, 2, {0, 0.2, 0.5, 0}).w;
  EXPECT_EQ(w, (Numbers{swapped[1], swapped[0]}));
}

TEST(GradVac, OptionsOutOfRange) {
  expect_error<InvalidArgument>([] { GradVac{.beta = 1.5}.validate(2); }, {"GradVac.beta"});
  expect_error<InvalidArgument>([] { GradVac{.beta = -0.5}.validate(2); }, {"GradVac.beta"});
  expect_error<InvalidArgument>([] { GradVac{.epsilon = 0}.validate(2); }, {"GradVac.epsilon"});
  GradVac{.beta = 1}.validate(64);
}

TEST(TaskOrder, GroupsDrawTheirOwnOrders) {
  unsigned char first[64], second[64];
  PCGrad{.seed = 3}.meet(5, 64, 7, first);
  PCGrad{.seed = 3}.meet(5, 64, 7, second, 0);
  EXPECT_TRUE(std::equal(first, first + 64, second));
  for (const std::int64_t group : {1, 2, 1000}) {
    PCGrad{.seed = 3}.meet(5, 64, 7, second, group);
    EXPECT_FALSE(std::equal(first, first + 64, second)) << group;
  }
}

}  // namespace
}  // namespace gramstep::test
