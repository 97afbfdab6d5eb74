// The stages alone: the same as within a step, and what is refused.
#include "gramstep/aggregation.hpp"

#include <cmath>

#include "tests/aggregators/problems.hpp"
#include "tests/every_aggregator.hpp"
#include "tests/rig.hpp"

namespace gramstep::test {
namespace {

/// One segment, so that the rows of a step are those of an aggregation.
Layout row_of(std::int64_t size) {
  Layout layout;
  layout.add("row", {size});
  return layout;
}

constexpr float losses[] = {0.5f, 2.0f, 1.25f};

TEST(Aggregation, DoesWhatAStepDoes) {
  for (const std::int64_t size : {0, 1, 129, 4097, 70'001}) {
    for (const Aggregator& aggregator : every_aggregator(3)) {
      if (elementwise(aggregator) || with_momentum(aggregator)) continue;
      const OptimizerOptions options{
          .rule = SGD{.lr = 1}, .aggregator = aggregator, .tasks = 3, .smoothing = 0.25};
      Rig rig(row_of(size), options);
      rig.losses.assign(std::begin(losses), std::end(losses));
      Aggregation alone({.aggregator = aggregator, .tasks = 3, .size = size, .smoothing = 0.25});
      std::vector<double> gram(9), weights(3);
      std::vector<float> combined(static_cast<std::size_t>(size));
      for (int step = 0; step < 2; ++step) {
        std::ranges::fill(rig.param("row"), 0.0f);
        rig.draw();
        std::vector<const float*> rows;
        for (const Floats& row : rig.rows) rows.push_back(row.data());
        rig.step();
        alone.gram(rows, gram);
        alone.weights(gram, weights, losses);
        alone.combine(rows, weights, combined);
        const Report report = rig.optimizer.report();
        EXPECT_TRUE(same_bits(gram, report.gram));
        EXPECT_TRUE(same_bits(weights, report.weights)) << text_of(aggregator) << " of " << size;
        EXPECT_EQ(alone.solutions()[0].iterations, report.iterations[0]);
        EXPECT_EQ(alone.solutions()[0].residual, report.residuals[0]);
        for (std::size_t i = 0; i < combined.size(); ++i) {
          ASSERT_EQ(rig.param("row")[i], -combined[i]) << text_of(aggregator) << " at " << i;
        }
      }
    }
  }
}

TEST(Aggregation, SolvesABatchAsOneByOne) {
  constexpr int tasks = 8;
  constexpr std::int64_t batch = 7;
  std::vector<double> grams;
  for (std::int64_t b = 0; b < batch; ++b) {
    const auto gram = make_problem(all_kinds[b], tasks, 3).gram;
    grams.insert(grams.end(), gram.begin(), gram.end());
  }
  for (const Aggregator& aggregator :
       {Aggregator(UPGrad{}), Aggregator(PCGrad{}), Aggregator(CAGrad{}), Aggregator(IMTLG{})}) {
    Aggregation all({.aggregator = aggregator, .tasks = tasks, .batch = batch});
    std::vector<double> weights(batch * tasks);
    all.weights(grams, weights);
    for (std::int64_t b = 0; b < batch; ++b) {
      Aggregation one({.aggregator = aggregator, .tasks = tasks});
      std::vector<double> alone(tasks);
      one.weights(
          std::span(grams).subspan(static_cast<std::size_t>(b) * tasks * tasks, tasks * tasks),
          alone);
      const auto first = weights.begin() + b * tasks;
      if (std::holds_alternative<PCGrad>(aggregator)) continue;  // draws its order for every matrix
      EXPECT_TRUE(same_bits(std::vector<double>(first, first + tasks), alone))
          << text_of(aggregator) << ", matrix " << b;
    }
  }
}

TEST(Aggregation, KeepsStateByName) {
  const AggregationOptions options{.aggregator = MoDo{}, .tasks = 3, .batch = 2};
  Aggregation a(options), b(options);
  std::vector<double> grams, first(6), second(6);
  for (const std::uint64_t seed : {1u, 2u}) {
    const auto gram = make_problem(Kind::normal, 3, seed).gram;
    grams.insert(grams.end(), gram.begin(), gram.end());
  }
  a.weights(grams, first);
  b.weights(grams, second);
  a.weights(grams, first);
  EXPECT_FALSE(same_bits(first, second));
  b.set_plan_state("weights", a.plan_state("weights"));
  a.weights(grams, first);
  b.weights(grams, second);
  EXPECT_TRUE(same_bits(first, second));
  expect_error<InvalidArgument>([&] { (void)a.plan_state("w"); }, {"\"w\"", "weights"});
  expect_error<InvalidArgument>([&] { a.set_plan_state("weights", std::vector<double>(3)); },
                                {"got 3", "expected 6"});
}

TEST(Aggregation, RefusesWhatDoesNotFit) {
  const auto expect_refused = [](const AggregationOptions& options,
                                 const std::vector<std::string>& words) {
    expect_error<InvalidArgument>([&] { Aggregation made(options); }, words);
  };
  expect_refused({.tasks = 0}, {"tasks", "0"});
  expect_refused({.tasks = max_tasks + 1}, {"tasks", "65", "64"});
  expect_refused({.size = -1}, {"size", "-1"});
  expect_refused({.batch = 0}, {"batch", "0"});
  expect_refused({.smoothing = 1.0}, {"smoothing", "1"});
  expect_refused({.aggregator = TrimmedMean{}, .tasks = 3}, {"TrimmedMean"});
  expect_refused({.aggregator = MoCo{}}, {"MoCo"});
  expect_refused({.aggregator = UPGrad{.preference = {1, 2, 3}}}, {"preference", "3", "2"});
  EXPECT_THROW(Aggregation({.device = cuda(cuda_devices())}), DeviceUnavailable);
}

TEST(Aggregation, RefusesMemoryThatDoesNotFit) {
  Aggregation alone({.tasks = 2, .size = 3});
  std::vector<float> a(3, 1.0f), b(3, 2.0f), d(3);
  std::vector<double> gram(4), weights{1, 1};
  const std::vector<const float*> rows{a.data(), b.data()}, one{a.data()}, none{a.data(), nullptr};
  const auto expect_refused = [](const auto& action, const std::vector<std::string>& words) {
    expect_error<InvalidArgument>(action, words);
  };
  expect_refused([&] { alone.gram(one, gram); }, {"rows", "got 1", "expected 2"});
  expect_refused([&] { alone.gram(none, gram); }, {"rows[1]", "null"});
  expect_refused([&] { alone.gram(rows, std::span(gram).first(3)); },
                 {"gram", "got 3", "expected 4"});
  expect_refused([&] { alone.combine(rows, std::span(weights).first(1), d); },
                 {"weights", "got 1"});
  expect_refused([&] { alone.combine(rows, weights, a); }, {"combined", "overlaps"});
  expect_refused([&] { alone.weights(gram, std::span(weights).first(1)); }, {"weights", "got 1"});
  alone.gram(rows, gram);
  EXPECT_EQ(gram, (std::vector<double>{3, 6, 6, 12}));
}

TEST(Aggregation, RefusesAMatrixThatIsNoGramMatrix) {
  Aggregation alone({.aggregator = MGDA{}, .tasks = 2});
  std::vector<double> weights{-1, -1};
  const std::vector<double> before = weights;
  const auto expect_refused = [&](const std::vector<double>& gram) {
    expect_error<InvalidArgument>([&] { alone.weights(gram, weights); }, {"gram[0]", "symmetric"});
    EXPECT_EQ(weights, before);
  };
  expect_refused({1, 0.5, 0.4, 1});
  expect_refused({1, NAN, NAN, 1});
  expect_refused({NAN, 0, 0, 1});
  expect_refused({1, INFINITY, INFINITY, 1});
  expect_refused({-1, 0, 0, 1});
  alone.weights(std::vector<double>{1, 0.5, 0.5000001, 1}, weights);
  EXPECT_NEAR(weights[0] + weights[1], 1, 1e-15);
}

TEST(Aggregation, MovedFromSaysSo) {
  Aggregation alone({.tasks = 2});
  const Aggregation moved = std::move(alone);
  expect_error<InvalidState>([&] { (void)alone.solutions(); }, {"solutions", "moved"});
  EXPECT_EQ(moved.options().tasks, 2);
}

}  // namespace
}  // namespace gramstep::test
