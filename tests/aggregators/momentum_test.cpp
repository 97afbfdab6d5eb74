// Methods on momenta of the task gradients: DB-MTL and momentum ConFIG, step by step on the rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gramstep/aggregators/db_mtl.hpp"
#include "gramstep/aggregators/momentum_config.hpp"
#include "gramstep/aggregators/traits.hpp"
#include "tests/aggregators/problems.hpp"
#include "tests/aggregators/solve.hpp"
#include "tests/reference/spectral.hpp"

namespace gramstep::test {
namespace {

using Numbers = std::vector<double>;

/// As in spectral_test.cpp.
constexpr double two_ways = 1e-9;

Numbers combined(const Problem& problem, const Numbers& w) {
  Numbers d(problem.rows.front().size(), 0.0);
  for (std::size_t i = 0; i < w.size(); ++i) {
    for (std::size_t n = 0; n < d.size(); ++n) d[n] += w[i] * problem.rows[i][n];
  }
  return d;
}

void expect_near(const Numbers& a, const Numbers& b, double bound) {
  double scale = 0;
  for (const double each : b) scale = std::max(scale, std::abs(each));
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], bound * scale) << i;
}

/// Mixes gradients into momenta as the gram stage does.
template <class A>
void mix(const A& method, const Problem& gradients, const Numbers& losses, std::int64_t step,
         Problem& momenta) {
  for (std::size_t i = 0; i < momenta.rows.size(); ++i) {
    const TaskMomentum now = method.momentum(step, losses[i]);
    for (std::size_t n = 0; n < momenta.rows[i].size(); ++n) {
      momenta.rows[i][n] = now.keep * momenta.rows[i][n] + now.take * gradients.rows[i][n];
    }
  }
  momenta = problem_of(std::move(momenta.rows));
}

Problem nothing(int tasks) {
  Problem problem = make_problem(Kind::normal, tasks, 1);
  for (Numbers& row : problem.rows) std::fill(row.begin(), row.end(), 0.0);
  return problem;
}

TEST(DbMtl, FollowsTheAlgorithmOnTheGradients) {
  const DBMTL method{.beta = 0.8, .beta_sigma = 0.5};
  for (const int tasks : {2, 3, 8}) {
    Problem momenta = nothing(tasks);
    std::vector<Numbers> buffer = momenta.rows;
    Random random(3);
    for (int step = 1; step <= 5; ++step) {
      const Problem gradients = make_problem(Kind::normal, tasks, static_cast<std::uint64_t>(step));
      Numbers losses;
      for (int i = 0; i < tasks; ++i) losses.push_back(1.5 + random.uniform());
      mix(method, gradients, losses, step, momenta);
      const auto got = solve(method, momenta.gram, tasks, losses, step);

      const double beta = 0.8 / std::sqrt(step);
      double longest = 0;
      for (std::size_t i = 0; i < buffer.size(); ++i) {
        for (std::size_t n = 0; n < buffer[i].size(); ++n) {
          const double log_gradient = gradients.rows[i][n] / (losses[i] + 1e-8);
          buffer[i][n] = log_gradient + beta * (buffer[i][n] - log_gradient);
        }
        longest = std::max(longest, std::sqrt(dot(buffer[i], buffer[i])));
      }
      Numbers d(buffer[0].size(), 0.0);
      for (const Numbers& row : buffer) {
        for (std::size_t n = 0; n < d.size(); ++n) {
          d[n] += longest / std::sqrt(dot(row, row)) * row[n];
        }
      }
      expect_near(combined(momenta, got.w), d, 1e-13);
      EXPECT_LE(got.solution.residual, DBMTL::tolerance);
    }
  }
}

TEST(DbMtl, EveryTermIsAsLongAsTheLongest) {
  for (const Kind kind : all_kinds) {
    for (const int tasks : some_tasks) {
      const Problem problem = make_problem(kind, tasks, 1);
      const auto got = solve(DBMTL{}, problem.gram, tasks);
      double longest = 0;
      for (int i = 0; i < tasks; ++i) longest = std::max(longest, std::sqrt(problem.at(i, i)));
      for (int i = 0; i < tasks; ++i) {
        const double w = got.w[static_cast<std::size_t>(i)];
        if (problem.at(i, i) == 0) {
          EXPECT_EQ(w, tasks == 1 ? 1 : 0);
        } else {
          EXPECT_NEAR(w * std::sqrt(problem.at(i, i)) / longest, 1, 1e-15);
        }
      }
    }
  }
}

TEST(DbMtl, LossesCountOnlyForTheLogarithm) {
  EXPECT_TRUE(aggregators::needs_losses(DBMTL{}));
  EXPECT_TRUE(aggregators::needs_positive_losses(DBMTL{}));
  EXPECT_FALSE(aggregators::needs_losses(DBMTL{.log_transform = false}));
  EXPECT_EQ((DBMTL{.beta = 0.5, .log_transform = false}.momentum(1, NAN).take), 0.5);
  EXPECT_EQ((DBMTL{.beta = 0.5, .epsilon = 0.25}.momentum(1, 0.75).take), 0.5);
  EXPECT_EQ((DBMTL{.beta = 0.5, .epsilon = 0.25}.momentum(1, -3).take), 2) << "counts as 0";
}

TEST(DbMtl, DegenerateInput) {
  EXPECT_EQ(solve(DBMTL{}, {NAN}, 1).w, Numbers{1});
  EXPECT_EQ(solve(DBMTL{}, Numbers(4, 0.0), 2).w, Numbers(2, 0.0));
  EXPECT_EQ(solve(DBMTL{}, {4, 0, 0, 0}, 2).w, (Numbers{1, 0}));
  const Problem problem = make_problem(Kind::normal, 8, 1);
  Numbers scaled = problem.gram;
  for (double& g : scaled) g = std::ldexp(g, 100);
  EXPECT_EQ(solve(DBMTL{}, scaled, 8).w, solve(DBMTL{}, problem.gram, 8).w);
}

TEST(MomentumConfig, IsConfigOfCorrectedMoments) {
  const MomentumConFIG method{.beta = 0.7};
  for (const int tasks : {1, 2, 3, 8, 17}) {
    Problem momenta = nothing(tasks);
    std::vector<Numbers> sums = momenta.rows;  // of beta^(t - s) g_s
    double weight = 0;                         // of beta^(t - s)
    for (int step = 1; step <= 5; ++step) {
      const Problem gradients = make_problem(Kind::weak, tasks, static_cast<std::uint64_t>(step));
      mix(method, gradients, Numbers(static_cast<std::size_t>(tasks), NAN), step, momenta);
      const auto got = solve(method, momenta.gram, tasks, {}, step);

      weight = 0.7 * weight + 1;
      std::vector<Numbers> means = sums;
      for (std::size_t i = 0; i < sums.size(); ++i) {
        for (std::size_t n = 0; n < sums[i].size(); ++n) {
          sums[i][n] = 0.7 * sums[i][n] + gradients.rows[i][n];
          means[i][n] = sums[i][n] / weight;
        }
      }
      expect_near(combined(momenta, got.w),
                  reference::config(means, Numbers(static_cast<std::size_t>(tasks), 1.0)),
                  two_ways);
      EXPECT_LE(got.solution.residual, MomentumConFIG::tolerance);
    }
  }
}

TEST(MomentumConfig, DegenerateInput) {
  EXPECT_NEAR(solve(MomentumConFIG{}, {NAN}, 1).w[0], 10, 1e-14);
  EXPECT_EQ(solve(MomentumConFIG{}, Numbers(9, 0.0), 3).w, Numbers(3, 0.0));
  EXPECT_NEAR(solve(MomentumConFIG{}, {NAN}, 1, {}, std::int64_t{1} << 40).w[0], 1, 1e-15);
}

TEST(MomentumOptions, OutOfRange) {
  expect_error<InvalidArgument>([] { DBMTL{.beta = 1}.validate(2); }, {"DBMTL.beta", "got 1"});
  expect_error<InvalidArgument>([] { DBMTL{.beta_sigma = -1}.validate(2); }, {"DBMTL.beta_sigma"});
  expect_error<InvalidArgument>([] { DBMTL{.epsilon = 0}.validate(2); }, {"DBMTL.epsilon"});
  expect_error<InvalidArgument>([] { MomentumConFIG{.beta = 1}.validate(2); },
                                {"MomentumConFIG.beta"});
  expect_error<InvalidArgument>([] { MomentumConFIG{.preference = {1}}.validate(2); },
                                {"MomentumConFIG.preference"});
  expect_error<InvalidArgument>([] { MomentumConFIG{.rank_tolerance = 2}.validate(2); },
                                {"MomentumConFIG.rank_tolerance"});
}

}  // namespace
}  // namespace gramstep::test
