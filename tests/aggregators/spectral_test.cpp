// IMTL-G, ConFIG and Aligned-MTL, and the eigenvectors that they rest on, against Eigen's.
#include "tests/reference/spectral.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "gramstep/aggregators/aligned_mtl.hpp"
#include "gramstep/aggregators/config.hpp"
#include "gramstep/aggregators/imtl_g.hpp"
#include "tests/aggregators/problems.hpp"
#include "tests/aggregators/solve.hpp"

namespace gramstep::test {
namespace {

using Numbers = std::vector<double>;

/// K 2^-52 times a condition number of the cosine matrix up to 1e4 (strong conflict) is 1e-10; two
/// ways differ by a few of that. For Aligned-MTL it is the kept eigenvalues' condition number, up
/// to 1e6, of which weights see the root.
constexpr double two_ways = 1e-9;

double norm(const Problem& problem, int i) { return std::sqrt(problem.at(i, i)); }

double largest_of(const Numbers& values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

/// The weights in units of the rows' lengths, which is what two ways to them agree on where norms
/// are far apart.
Numbers lengths_of(const Problem& problem, const Numbers& w) {
  Numbers lengths = w;
  for (int i = 0; i < problem.tasks(); ++i)
    lengths[static_cast<std::size_t>(i)] *= norm(problem, i);
  return lengths;
}

/// Largest difference relative to the largest element of b.
double distance(const Numbers& a, const Numbers& b) {
  Numbers difference = a;
  for (std::size_t i = 0; i < b.size(); ++i) difference[i] -= b[i];
  return largest_of(difference) / std::max(largest_of(b), 1e-300);
}

/// J^T w
Numbers combined(const Problem& problem, const Numbers& w) {
  Numbers d(problem.rows.front().size(), 0.0);
  for (std::size_t i = 0; i < w.size(); ++i) {
    for (std::size_t n = 0; n < d.size(); ++n) d[n] += w[i] * problem.rows[i][n];
  }
  return d;
}

Numbers ones(int tasks, double value = 1) {
  return Numbers(static_cast<std::size_t>(tasks), value);
}

TaskValues uneven_preference(int tasks) {
  Numbers values;
  for (int i = 0; i < tasks; ++i) values.push_back(1 + 0.5 * (i % 3));
  return TaskValues(values);
}

Numbers list_of(const TaskValues& values) {
  Numbers list;
  for (int i = 0; i < values.size(); ++i) list.push_back(values[i]);
  return list;
}

/// Calls body(problem) for every kind and number of tasks.
template <class Body>
void for_problems(std::span<const Kind> kinds, const Body& body) {
  for (const Kind kind : kinds) {
    for (const int tasks : some_tasks) {
      for (const std::uint64_t seed : {1u, 2u}) {
        const Problem problem = make_problem(kind, tasks, seed);
        SCOPED_TRACE(problem.name);
        body(problem);
      }
    }
  }
}

TEST(Eigen, EigenvaluesAndEigenvectors) {
  for_problems(all_kinds, [](const Problem& problem) {
    const int tasks = problem.tasks();
    Numbers scratch(static_cast<std::size_t>(solvers::eigen_scratch(tasks)), NAN);
    const solvers::Eigen eigen = solvers::eigen_in(scratch.data(), tasks);
    const int sweeps =
        solvers::decompose(kernels::SingleThread{}, problem.gram.data(), tasks, eigen);
    EXPECT_LE(sweeps, 3 * tasks);
    reference::Rows symmetric(problem.rows.size(), Numbers(problem.rows.size()));
    for (int i = 0; i < tasks; ++i) {
      for (int j = 0; j < tasks; ++j) {
        symmetric[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] = problem.at(i, j);
      }
    }
    Numbers values;
    for (int k = 0; k < tasks; ++k) values.push_back(eigen.values[k]);
    const Numbers got = values;
    std::sort(values.begin(), values.end());
    const double largest = largest_of(got);
    // A backward stable method: K 2^-53 of the largest for the reflections, and a few roundings for
    // every one of about 2 K sweeps.
    const double rounding = 64 * tasks * 0x1p-53;
    EXPECT_LE(distance(values, reference::eigenvalues(symmetric)), rounding);
    for (int k = 0; k < tasks; ++k) {
      const Numbers vector(eigen.vector(k), eigen.vector(k) + tasks);
      Numbers image = times(problem.gram, vector);
      for (std::size_t i = 0; i < image.size(); ++i) {
        image[i] -= got[static_cast<std::size_t>(k)] * vector[i];
      }
      EXPECT_LE(largest_of(image), rounding * largest);
      for (int l = 0; l <= k; ++l) {
        const Numbers other(eigen.vector(l), eigen.vector(l) + tasks);
        EXPECT_NEAR(dot(vector, other), k == l ? 1 : 0, rounding);
      }
    }
  });
}

TEST(ImtlG, OneMatrixWithKnownWeights) {
  const auto got = solve(IMTLG{}, problem_of({{-4, 1, 1}, {6, 1, 1}}).gram, 2);
  EXPECT_NEAR(got.w[0], 0.5923, 5e-5);
  EXPECT_NEAR(got.w[1], 0.4077, 5e-5);
}

TEST(ImtlG, EqualsTheLeastSquaresSolution) {
  for_problems(all_kinds, [](const Problem& problem) {
    if (problem.tasks() == 1) return;
    const auto got = solve(IMTLG{}, problem.gram, problem.tasks());
    if (largest_of(got.w) == 0) return;  // no answer: tested below
    const Numbers expected = reference::imtl_g(problem.rows);
    // Where the weights nearly cancel, so do the digits of their sum.
    double cancelled = 0;
    for (const double w : expected) cancelled += std::abs(w);
    EXPECT_LE(distance(lengths_of(problem, got.w), lengths_of(problem, expected)),
              two_ways * cancelled);
  });
}

TEST(ImtlG, ProjectionsAreEqualAndWeightsSumToOne) {
  for_problems(regular_kinds, [](const Problem& problem) {
    const auto got = solve(IMTLG{}, problem.gram, problem.tasks());
    const Numbers products = times(problem.gram, got.w);
    const double expected = products[0] / norm(problem, 0);
    double sum = 0, size = 0;
    for (int i = 0; i < problem.tasks(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      EXPECT_NEAR(products[at] / norm(problem, i) / expected, 1, two_ways);
      sum += got.w[at];
      size += std::abs(got.w[at]);
    }
    EXPECT_NEAR(sum, 1, 1e-14 * size);
    EXPECT_LE(got.solution.residual, IMTLG::tolerance);
  });
}

TEST(ImtlG, DegenerateInput) {
  EXPECT_EQ(solve(IMTLG{}, {4}, 1).w, Numbers{1});
  EXPECT_EQ(solve(IMTLG{}, {NAN}, 1).w, Numbers{1});
  EXPECT_EQ(solve(IMTLG{}, Numbers(9, 0.0), 3).w, Numbers(3, 0.0));
  EXPECT_EQ(solve(IMTLG{}, problem_of({{1, 2}, {-1, -2}}).gram, 2).w, Numbers(2, 0.0));
  // Three directions that cancel: what rounding leaves of an answer is none.
  EXPECT_EQ(
      solve(IMTLG{}, problem_of({{1, 0}, {-1, std::sqrt(3)}, {-0.5, -0.5 * std::sqrt(3)}}).gram, 3)
          .w,
      Numbers(3, 0.0));
  const auto parallel = solve(IMTLG{}, problem_of({{1, 0}, {2, 0}}).gram, 2);
  EXPECT_NEAR(parallel.w[0], 2.0 / 3, 1e-15);
  EXPECT_NEAR(parallel.w[1], 1.0 / 3, 1e-15);
  const auto zero = solve(IMTLG{}, problem_of({{1, 0}, {0, 0}, {0, 1}}).gram, 3);
  EXPECT_EQ(zero.w, (Numbers{0.5, 0, 0.5}));
  expect_error<InvalidArgument>([] { IMTLG{.rank_tolerance = 1}.validate(2); },
                                {"IMTLG.rank_tolerance", "got 1"});
  expect_error<InvalidArgument>([] { IMTLG{.rank_tolerance = 0}.validate(2); }, {"got 0"});
}

TEST(ImtlG, WeightsThatCancelAreNone) {
  // Unit rows at 60 degrees, lengths 1, and a third between them so long or short that v sums to 0:
  // C = [[1, c, e], [c, 1, e], [e, e, 1]], s ~ (1 - e, 1 - e, 1 + c - 2 e) with c = 1/2 and e = 4/5
  // is (0.2, 0.2, -0.1), and 0.2 + 0.2 - 0.1 / n = 0 for n = 1/4.
  const Numbers gram{1, 0.5, 0.2, 0.5, 1, 0.2, 0.2, 0.2, 0.0625};
  EXPECT_EQ(solve(IMTLG{}, gram, 3).w, Numbers(3, 0.0));
  // Past that point the sum is negative, and d is against every task, as documented.
  const Numbers past{1, 0.5, 0.16, 0.5, 1, 0.16, 0.16, 0.16, 0.04};
  const auto got = solve(IMTLG{}, past, 3);
  for (const double product : times(past, got.w)) EXPECT_LT(product, 0);
  EXPECT_LE(got.solution.residual, IMTLG::tolerance);
}

TEST(Config, OneMatrixWithKnownGradient) {
  const Problem problem = problem_of({{-4, 1, 1}, {6, 1, 1}});
  const Numbers d = combined(problem, solve(ConFIG{}, problem.gram, 2).w);
  EXPECT_NEAR(d[0], 0.1588, 5e-5);
  EXPECT_NEAR(d[1], 2.0706, 5e-5);
  EXPECT_NEAR(d[2], 2.0706, 5e-5);
}

TEST(Config, EqualsThePseudoInverseOfTheUnitRows) {
  for_problems(all_kinds, [](const Problem& problem) {
    const int tasks = problem.tasks();
    for (const TaskValues& preference : {TaskValues{}, uneven_preference(tasks)}) {
      const auto got = solve(ConFIG{.preference = preference}, problem.gram, tasks);
      const Numbers p = preference.size() == 0 ? ones(tasks) : list_of(preference);
      if (largest_of(got.w) == 0) continue;  // no answer: tested below
      EXPECT_LE(distance(combined(problem, got.w), reference::config(problem.rows, p)), two_ways);
    }
  });
}

TEST(Config, CosinesAreAsPreferredAndPositive) {
  for_problems(regular_kinds, [](const Problem& problem) {
    const int tasks = problem.tasks();
    const TaskValues preference = uneven_preference(tasks);
    const auto got = solve(ConFIG{.preference = preference}, problem.gram, tasks);
    const Numbers products = times(problem.gram, got.w);
    const double first = products[0] / norm(problem, 0) / preference[0];
    EXPECT_GT(first, 0);
    for (int i = 0; i < tasks; ++i) {
      const double along = products[static_cast<std::size_t>(i)] / norm(problem, i);
      EXPECT_NEAR(along / preference[i] / first, 1, two_ways);
    }
    EXPECT_LE(got.solution.residual, ConFIG::tolerance);
  });
}

TEST(Config, ResidualSaysWhenCosinesDiffer) {
  // Below full rank: three rows in a plane, whose unit vectors' ends are not on a line.
  const auto got = solve(ConFIG{}, problem_of({{1, 0}, {0, 1}, {1, 1}}).gram, 3);
  EXPECT_GT(got.solution.residual, 0.1);
}

TEST(Config, DegenerateInput) {
  EXPECT_EQ(solve(ConFIG{}, {NAN}, 1).w, Numbers{1});
  EXPECT_EQ(solve(ConFIG{}, Numbers(9, 0.0), 3).w, Numbers(3, 0.0));
  const auto opposite = solve(ConFIG{}, problem_of({{1, 2}, {-1, -2}}).gram, 2);
  EXPECT_EQ(opposite.w, Numbers(2, 0.0));
  EXPECT_EQ(opposite.solution.residual, 1);
  EXPECT_EQ(
      solve(ConFIG{}, problem_of({{1, 0}, {-1, std::sqrt(3)}, {-0.5, -0.5 * std::sqrt(3)}}).gram, 3)
          .w,
      Numbers(3, 0.0));
  const auto duplicate = solve(ConFIG{}, problem_of({{3, 4}, {3, 4}}).gram, 2);
  EXPECT_NEAR(duplicate.w[0], 1, 1e-15);
  EXPECT_NEAR(duplicate.w[1], 1, 1e-15);
  EXPECT_EQ(solve(ConFIG{}, problem_of({{1, 0}, {0, 0}, {0, 1}}).gram, 3).w[1], 0);
  expect_error<InvalidArgument>([] { ConFIG{.preference = {1, 2}}.validate(3); },
                                {"ConFIG.preference"});
}

TEST(AlignedMtl, OneMatrixWithKnownWeights) {
  const auto got = solve(AlignedMTL{}, problem_of({{-4, 1, 1}, {6, 1, 1}}).gram, 2);
  EXPECT_NEAR(got.w[0], 0.5591, 5e-5);
  EXPECT_NEAR(got.w[1], 0.4083, 5e-5);
}

TEST(AlignedMtl, EqualsAligningTheRows) {
  constexpr AlignedMTLScale scales[] = {AlignedMTLScale::min, AlignedMTLScale::median,
                                        AlignedMTLScale::mean};
  for_problems(all_kinds, [&](const Problem& problem) {
    const int tasks = problem.tasks();
    if (tasks == 1) return;
    for (const AlignedMTLScale scale : scales) {
      for (const TaskValues& preference : {TaskValues{}, uneven_preference(tasks)}) {
        const AlignedMTL aligned{.preference = preference, .scale = scale};
        const Numbers b = preference.size() == 0 ? ones(tasks, 1.0 / tasks) : list_of(preference);
        const auto got = solve(aligned, problem.gram, tasks);
        const Numbers expected = reference::aligned(
            problem.rows, b, static_cast<reference::Scale>(scale), tasks * aligned.rank_tolerance);
        const Numbers d = combined(problem, got.w);
        const double nothing = 1e-14 * norm(problem, 0);  // opposite rows alone cancel
        if (largest_of(expected) <= nothing) {
          EXPECT_LE(largest_of(d), nothing);
        } else {
          EXPECT_LE(distance(d, expected), two_ways);
        }
        EXPECT_LE(got.solution.residual, AlignedMTL::tolerance);
      }
    }
  });
}

TEST(AlignedMtl, AlignedGradientsHaveConditionNumberOne) {
  // Column i of B is the weights for the preference e_i: B G B must be s I at full rank.
  const Problem problem = make_problem(Kind::strong, 8, 3);
  reference::Rows balanced;
  for (int i = 0; i < 8; ++i) {
    Numbers b = ones(8, 1e-300);  // a preference is > 0
    b[static_cast<std::size_t>(i)] = 1;
    balanced.push_back(solve(AlignedMTL{.preference = TaskValues(b)}, problem.gram, 8).w);
  }
  const double scale = dot(balanced[0], times(problem.gram, balanced[0]));
  for (std::size_t i = 0; i < 8; ++i) {
    const Numbers image = times(problem.gram, balanced[i]);
    for (std::size_t j = 0; j < 8; ++j) {
      EXPECT_NEAR(dot(balanced[j], image) / scale, i == j ? 1 : 0, two_ways);
    }
  }
}

TEST(AlignedMtl, DegenerateInput) {
  EXPECT_EQ(solve(AlignedMTL{}, {NAN}, 1).w, Numbers{1});
  EXPECT_EQ(solve(AlignedMTL{.preference = {3}}, {NAN}, 1).w, Numbers{3});
  EXPECT_EQ(solve(AlignedMTL{}, Numbers(16, 0.0), 4).w, Numbers(4, 0.25));
  EXPECT_EQ(solve(AlignedMTL{}, problem_of({{1, 0}, {0, 0}}).gram, 2).w[1], 0);
  const auto opposite = solve(AlignedMTL{}, problem_of({{1, 2}, {-1, -2}}).gram, 2);
  EXPECT_LE(largest_of(opposite.w), 1e-15);
  const auto duplicate = solve(AlignedMTL{}, problem_of({{1, 2}, {1, 2}}).gram, 2);
  EXPECT_NEAR(duplicate.w[0], 0.5, 1e-15);
  // Kept eigenvalues 1, 4, 9 and 16: the median of an even number is the smaller.
  const Numbers diagonal{1, 0, 0, 0, 0, 4, 0, 0, 0, 0, 9, 0, 0, 0, 0, 16};
  EXPECT_EQ(solve(AlignedMTL{.scale = AlignedMTLScale::median}, diagonal, 4).w[0], 0.5);
  EXPECT_EQ(solve(AlignedMTL{.scale = AlignedMTLScale::min}, diagonal, 4).w[3], 0.0625);
  expect_error<InvalidArgument>([] { AlignedMTL{.preference = {1, -2}}.validate(2); },
                                {"AlignedMTL.preference"});
  expect_error<InvalidArgument>([] { AlignedMTL{.rank_tolerance = 0}.validate(2); },
                                {"AlignedMTL.rank_tolerance"});
}

template <class A>
class Spectral : public ::testing::Test {};
using Methods = ::testing::Types<IMTLG, ConFIG, AlignedMTL>;
TYPED_TEST_SUITE(Spectral, Methods);

TYPED_TEST(Spectral, ScaleDoesNotChangeWeights) {
  for_problems(all_kinds, [](const Problem& problem) {
    const Numbers w = solve(TypeParam{}, problem.gram, problem.tasks()).w;
    for (const int exponent : {-100, 100}) {  // of s^2: s is 1e-15 and 1e15
      Numbers scaled = problem.gram;
      for (double& g : scaled) g = std::ldexp(g, exponent);
      EXPECT_EQ(solve(TypeParam{}, scaled, problem.tasks()).w, w);
    }
  });
}

TYPED_TEST(Spectral, ReorderedTasksGetReorderedWeights) {
  ::gramstep::test::Random random(3);
  for_problems(regular_kinds, [&](const Problem& problem) {
    const std::vector<int> order = random_order(problem.tasks(), random);
    const Numbers w = solve(TypeParam{}, problem.gram, problem.tasks()).w;
    const Problem other = reordered(problem, order);
    Numbers expected;
    for (const int i : order) expected.push_back(w[static_cast<std::size_t>(i)]);
    const Numbers got = solve(TypeParam{}, other.gram, problem.tasks()).w;
    EXPECT_LE(distance(lengths_of(other, got), lengths_of(other, expected)), two_ways);
  });
}

}  // namespace
}  // namespace gramstep::test
