// A run: that it learns, that it repeats itself, and how runs are summarised.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "digits.hpp"
#include "methods.hpp"
#include "results.hpp"
#include "trainer.hpp"

namespace gs = gramstep;

namespace two_digits {
namespace {

struct Outcome {
  RunResult result;
  std::string log;
  int steps_told = 0;
};

/// Trains on 512 pairs for two epochs of 16 steps.
Outcome train_briefly(const std::string& rule, std::uint64_t seed) {
  static const std::vector<Digit> digits = read_digits(TWO_DIGITS_DATA);
  const Split split = split_digits(static_cast<int>(digits.size()));
  const Data data{compose(digits, split.train, 512, seed), compose(digits, split.test, 100, 0)};
  const auto backend = make_cpu_backend<float>(1);
  const auto path = std::filesystem::path(testing::TempDir()) / "steps.jsonl";
  Outcome outcome;
  {
    StepLog log(path);
    outcome.result = train(*backend,
                           {.run = {rule, "pcgrad", seed},
                            .rule = rule_named(rule),
                            .aggregator = gs::PCGrad{},
                            .epochs = 2,
                            .batch = 32,
                            .scales = {1.0f, 1.0f}},
                           data, log, [&] { ++outcome.steps_told; });
  }
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  outcome.log = text.str();
  return outcome;
}

TEST(Train, Learns) {
  const Outcome outcome = train_briefly("adam", 1);
  EXPECT_EQ(outcome.result.steps, 32);
  EXPECT_EQ(outcome.steps_told, 32);
  EXPECT_EQ(outcome.result.skipped, 0);
  EXPECT_EQ(std::ranges::count(outcome.log, '\n'), 32);
  for (std::size_t task = 0; task < tasks; ++task) {
    EXPECT_GT(outcome.result.accuracy[task], 0.5) << task_names[task];         // chance: 0.1
    EXPECT_LT(outcome.result.losses[task], std::log(10)) << task_names[task];  // that of chance
  }
  EXPECT_GT(outcome.result.times.fused_us, 0.0);
  EXPECT_TRUE(outcome.result.times.unfused_us);
}

TEST(Train, RepeatsItselfToTheLastBit) {
  const Outcome once = train_briefly("momentum", 1);
  const Outcome again = train_briefly("momentum", 1);
  const Outcome other = train_briefly("momentum", 2);
  EXPECT_EQ(once.log, again.log);
  EXPECT_EQ(once.result.accuracy, again.result.accuracy);
  EXPECT_NE(once.log, other.log);
}

TEST(Results, SpreadIsTheSampleDeviation) {
  const std::array<double, 3> values{1, 2, 3};
  EXPECT_DOUBLE_EQ(spread_of(values).mean, 2.0);
  EXPECT_DOUBLE_EQ(spread_of(values).deviation, 1.0);
  EXPECT_DOUBLE_EQ(spread_of(std::span(values).first(1)).deviation, 0.0);
}

TEST(Results, AreGroupedByMethod) {
  std::vector<RunResult> runs;
  for (const auto& [aggregator, accuracy] :
       {std::pair{"sum", 0.25}, std::pair{"sum", 0.75}, std::pair{"pcgrad", 1.0}}) {
    RunResult run{.run = {"sgd", aggregator, 1}, .accuracy = {accuracy, accuracy}};
    run.times.unfused_us = 30;
    run.times.fused_us = 10;
    runs.push_back(run);
  }
  const std::vector<MethodResult> methods = summarise(runs);
  ASSERT_EQ(methods.size(), 2u);
  EXPECT_EQ(methods[1].aggregator, "pcgrad");
  EXPECT_DOUBLE_EQ(methods[0].accuracy[0].mean, 0.5);

  std::ostringstream table;
  print_table(table, methods);
  EXPECT_NE(table.str().find("50.0 ± 35.4"), std::string::npos) << table.str();
  EXPECT_NE(table.str().find("3.0x"), std::string::npos) << table.str();
}

}  // namespace
}  // namespace two_digits
