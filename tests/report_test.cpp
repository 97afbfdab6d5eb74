// What the report says, against the reference.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

/// The CPU multiplies and adds in fp32, at most 64 products a lane before it widens to double: a
/// product's own rounding and 63 additions' (the first adds to zero), each of at most 2^-24, and (1 +
/// 2^-24)^64 - 1 < 66 * 2^-24 leaves room for the sums in double. A product may be flushed.
constexpr double gram_bound = 66 * 0x1p-24;

/// sum_e |a_e b_e|
double absolute_dot(const reference::Vector& a, const reference::Vector& b) {
  double sum = 0;
  for (std::size_t e = 0; e < a.size(); ++e) sum += std::abs(a[e] * b[e]);
  return sum;
}

/// Expects the report's Gram matrix within the bound; returns the largest share of it used up.
double expect_gram(const Report& report, const reference::Outcome& expected) {
  const std::size_t tasks = expected.rows.size();
  double share = 0;
  for (std::size_t i = 0; i < tasks; ++i) {
    for (std::size_t j = 0; j < tasks; ++j) {
      const double bound = gram_bound * absolute_dot(expected.rows[i], expected.rows[j]) +
                           reference::fp32_flush * static_cast<double>(expected.rows[i].size());
      const double error = std::abs(report.gram[i * tasks + j] - expected.gram[i][j]);
      EXPECT_LE(error, bound) << i << ", " << j;
      EXPECT_EQ(report.gram[i * tasks + j], report.gram[j * tasks + i]) << "not symmetric";
      share = std::max(share, error / bound);
    }
  }
  return share;
}

class GramOf : public ::testing::TestWithParam<int> {};

TEST_P(GramOf, RandomRowsIsWithinItsBound) {
  const int tasks = GetParam();
  Twin twin(mixed_layout(tasks), {.tasks = tasks, .non_finite = NonFinite::skip});
  twin.draw_uniform();
  twin.set_active("shared4095", false);
  twin.step();
  const double share = expect_gram(twin.optimizer.report(), twin.outcome);
  EXPECT_GT(share, 0) << "an exact Gram matrix of random rows?";
  record_share(share);
}

TEST_P(GramOf, NearlyEqualRowsIsWithinItsBound) {
  const int tasks = GetParam();
  Twin twin(mixed_layout(tasks), {.tasks = tasks, .non_finite = NonFinite::skip});
  for (const Floats& row : twin.rows) {
    for (float& g : row.span()) g = 1 + static_cast<float>(twin.random.uniform()) * 1e-3f;
  }
  twin.step();
  record_share(expect_gram(twin.optimizer.report(), twin.outcome));
}

INSTANTIATE_TEST_SUITE_P(Report, GramOf, ::testing::Values(1, 2, 3, 8, 17, 64));

TEST(Report, GramOfManySpansIsWithinItsBound) {
  Layout layout;
  layout.add("a", {300'001});
  layout.add("b", {70'001});
  Twin twin(layout, {.tasks = 3});
  twin.draw_uniform();
  twin.step();
  record_share(expect_gram(twin.optimizer.report(), twin.outcome));
}

/// Numbers just below 2, whose sum in fp32 loses nearly half a unit in the last place with every one
/// of them.
std::vector<float> losing_terms(std::size_t count) {
  std::vector<float> terms;
  float sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float unit = std::ldexp(1.0f, std::max(std::ilogb(sum + 2), 1) - 23);
    terms.push_back(2 - unit / 2 - 0x1p-23f);
    sum += terms.back();
  }
  return terms;
}

TEST(Report, GramIsWidenedBeforeRoundingsAddUp) {
  constexpr std::int64_t lanes = 16, chunk = 4096;
  const std::vector<float> terms = losing_terms(chunk / lanes);
  const float in_fp32 = std::accumulate(terms.begin(), terms.end(), 0.0f);
  const double exact = std::accumulate(terms.begin(), terms.end(), 0.0);
  ASSERT_GT(exact - static_cast<double>(in_fp32), gram_bound * exact) << "proves nothing";

  Layout layout;
  layout.add("a", {chunk});
  Twin twin(layout, {.tasks = 2});
  for (std::int64_t e = 0; e < chunk; ++e) {
    twin.rows[0][e] = terms[static_cast<std::size_t>(e / lanes)];
    twin.rows[1][e] = 1;
  }
  twin.step();
  record_share(expect_gram(twin.optimizer.report(), twin.outcome));
}

TEST(Report, SaysWhatThePlanDecided) {
  for (const double clip_norm : {1.0, 1e9}) {
    Twin twin(mixed_layout(3, few_edge_sizes), {.rule = SGD{.lr = 0.125},
                                                .aggregator = PCGrad{},
                                                .tasks = 3,
                                                .clip_norm = clip_norm,
                                                .loss_scale = 4});
    twin.draw_and_step(2);
    const Report report = twin.optimizer.report();
    const reference::Outcome& expected = twin.outcome;
    constexpr double in_double = 1e-12;  // the rows' products are exact
    EXPECT_EQ(report.tasks, 3);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(report.weights[i], expected.weights[i], in_double);
      EXPECT_DOUBLE_EQ(report.gradient_norms[i], std::sqrt(expected.gram[i][i]));
      for (std::size_t j = 0; j < 3; ++j) {
        EXPECT_EQ(report.gram[i * 3 + j], expected.gram[i][j]);
        EXPECT_NEAR(report.cosines[i * 3 + j],
                    expected.gram[i][j] / std::sqrt(expected.gram[i][i] * expected.gram[j][j]),
                    in_double);
      }
    }
    EXPECT_DOUBLE_EQ(report.heads_norm, expected.heads_norm);
    EXPECT_NEAR(report.norm, expected.norm, in_double * expected.norm);
    EXPECT_NEAR(report.clipped_norm, expected.norm * expected.clip, in_double * expected.norm);
    EXPECT_EQ(expected.clip < 1, clip_norm == 1.0);
    EXPECT_EQ(report.lr, 0.125);
    EXPECT_EQ(report.steps, 2);
    EXPECT_EQ(report.skipped_steps, 0);
    EXPECT_FALSE(report.skipped);
    EXPECT_TRUE(report.looked);
  }
}

/// An optimizer over three elements, so that rows can be written down.
Report report_of(const reference::Matrix& rows) {
  Layout layout;
  layout.add("a", {3});
  Rig rig(layout, {.aggregator = PCGrad{}, .tasks = static_cast<int>(rows.size())});
  for (std::size_t k = 0; k < rows.size(); ++k) {
    for (int e = 0; e < 3; ++e)
      rig.rows[k][e] = static_cast<float>(rows[k][static_cast<std::size_t>(e)]);
  }
  rig.step();
  return rig.optimizer.report();
}

TEST(Report, OneMatrixWithKnownWeights) {
  const Report report = report_of({{-4, 1, 1}, {6, 1, 1}});
  EXPECT_EQ(report.gram, (std::vector<double>{18, -22, -22, 38}));
  EXPECT_DOUBLE_EQ(report.weights[0], 1 + 22.0 / 18);
  EXPECT_DOUBLE_EQ(report.weights[1], 1 + 22.0 / 38);
  EXPECT_EQ(report.conflict_rate, 1);
  EXPECT_EQ(report.norm, report.clipped_norm);
}

TEST(Report, ConflictRateIsTheShareOfPairs) {
  EXPECT_EQ(report_of({{1, 0, 0}}).conflict_rate, 0) << "no pair";
  EXPECT_EQ(report_of({{1, 0, 0}, {0, 1, 0}}).conflict_rate, 0) << "a right angle is no conflict";
  EXPECT_DOUBLE_EQ(report_of({{1, 0, 0}, {-1, 0, 0}, {0, 1, 0}}).conflict_rate, 1.0 / 3);
  EXPECT_DOUBLE_EQ(report_of({{1, 0, 0}, {-1, 1, 0}, {-1, -2, 0}, {0, 0, 1}}).conflict_rate, 0.5);
}

TEST(Report, CosinesBesideAZeroRowAreZero) {
  const Report report = report_of({{0, 0, 0}, {2, 0, 0}, {-3, 0, 0}});
  EXPECT_EQ(report.cosines, (std::vector<double>{0, 0, 0, 0, 1, -1, 0, -1, 1}));
  EXPECT_EQ(report.weights, (std::vector<double>{1, 2.5, 1 + 6.0 / 9}));
  EXPECT_EQ(report.gradient_norms, (std::vector<double>{0, 2, 3}));
  EXPECT_NEAR(report.norm, 0, 1e-7) << "opposite rows cancel, up to a root of double's rounding";
}

/// s from 1e-15 to 1e15: the Gram stage squares in fp32, which still holds 1e-30 and 1e30.
TEST(Report, ScaleOfTheGradientsChangesNeitherWeightsNorCosines) {
  Rig plain(mixed_layout(3), {.aggregator = PCGrad{}, .tasks = 3});
  plain.step();
  const Report expected = plain.optimizer.report();
  for (const float scale : {0x1p-50f, 0x1p50f}) {
    Rig rig(mixed_layout(3), {.aggregator = PCGrad{}, .tasks = 3});
    for (const Floats& row : rig.rows) {
      for (float& g : row.span()) g *= scale;
    }
    rig.step();
    const Report report = rig.optimizer.report();
    EXPECT_TRUE(same_bits(report.weights, expected.weights)) << scale;
    EXPECT_TRUE(same_bits(report.cosines, expected.cosines)) << scale;
  }
}

TEST(Report, HeadsAreInTheNormsButNotInTheGram) {
  Layout layout;
  layout.add("a", {1});
  layout.add("h0", {1}, {.task = 0});
  layout.add("h1", {1}, {.task = 1});
  Rig rig(layout, {.rule = SGD{.lr = 1}, .tasks = 2});
  rig.gradient("a", 0)[0] = 1;
  rig.gradient("a", 1)[0] = 11;
  rig.gradient("h0")[0] = 3;
  rig.gradient("h1")[0] = 4;
  rig.step();
  const Report report = rig.optimizer.report();
  EXPECT_EQ(report.gram, (std::vector<double>{1, 11, 11, 121}));
  EXPECT_EQ(report.heads_norm, 5);
  EXPECT_EQ(report.norm, 13);
}

TEST(Report, WithoutAGramStageSaysSo) {
  Rig rig(mixed_layout(1), {.rule = SGD{.lr = 0.5}});
  rig.draw_and_step(2);
  const Report report = rig.optimizer.report();
  EXPECT_FALSE(report.looked);
  EXPECT_EQ(report.steps, 2);
  EXPECT_EQ(report.lr, 0.5);
  EXPECT_EQ(report.weights, std::vector<double>{1});
  EXPECT_EQ(report.conflict_rate, 0);
  for (const double value : {report.gram[0], report.cosines[0], report.gradient_norms[0],
                             report.heads_norm, report.norm, report.clipped_norm}) {
    EXPECT_TRUE(std::isnan(value));
  }
}

TEST(Report, BeforeTheFirstStepThereIsNothingToSee) {
  Rig rig(mixed_layout(2), {.tasks = 2});
  const Report report = rig.optimizer.report();
  EXPECT_EQ(report.tasks, 2);
  EXPECT_EQ(report.steps, 0);
  EXPECT_EQ(report.skipped_steps, 0);
  EXPECT_FALSE(report.skipped);
  EXPECT_FALSE(report.looked);
  EXPECT_EQ(report.gram.size(), 4u);
}

TEST(Report, SaysWhetherItIsOfMomenta) {
  for (const Aggregator& aggregator : {Aggregator(MomentumConFIG{}), Aggregator(ConFIG{})}) {
    Rig rig(mixed_layout(3), {.rule = SGD{}, .aggregator = aggregator, .tasks = 3});
    const bool momenta = std::holds_alternative<MomentumConFIG>(aggregator);
    EXPECT_EQ(rig.optimizer.report().of_momenta, momenta);
    rig.draw_and_step();
    EXPECT_EQ(rig.optimizer.report().of_momenta, momenta);
  }
}

}  // namespace
}  // namespace gramstep::test
