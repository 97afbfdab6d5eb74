// A run: that it learns, that it repeats itself, and how runs are summarised.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "digits.hpp"
#include "results.hpp"
#include "statistics.hpp"
#include "trainer.hpp"

namespace gs = gramstep;

namespace two_digits {
namespace {

constexpr std::array<float, tasks> scales{1.0f, 1.5f};

struct Outcome {
  RunResult result;
  std::string log;
  int steps_told = 0;
};

/// Trains on 512 pairs for two epochs of 16 steps, or more.
Outcome train_briefly(const std::string& rule, std::uint64_t seed,
                      const std::string& aggregator = "PCGrad",
                      gs::DType states = gs::DType::float32, int epochs = 2) {
  static const std::vector<Digit> digits = read_digits(TWO_DIGITS_DATA);
  const Split split = split_digits(static_cast<int>(digits.size()));
  const Data data{compose(digits, split.train, 512, seed), compose(digits, split.test, 100, 0)};
  const auto backend = make_cpu_backend<float>(1);
  // Tests run side by side, each in a process of its own.
  const std::string test = testing::UnitTest::GetInstance()->current_test_info()->name();
  const auto path = std::filesystem::path(testing::TempDir()) / ("steps-" + test + ".jsonl");
  Outcome outcome;
  {
    StepLog log(path);
    const Run run{rule, aggregator, seed};
    outcome.result = train(*backend,
                           {.run = run,
                            .rule = gs::rule_of(rule),
                            .aggregator = gs::aggregator_of(aggregator),
                            .epochs = epochs,
                            .batch = 32,
                            .scales = scales,
                            .states = states},
                           data, [&](const auto&... seen) {
                             log.write(run, seen...);
                             ++outcome.steps_told;
                           });
  }
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  outcome.log = text.str();
  return outcome;
}

TEST(Train, Learns) {
  const Outcome outcome = train_briefly("Adam", 1);
  EXPECT_EQ(outcome.result.steps, 32);
  EXPECT_EQ(outcome.steps_told, 32);
  EXPECT_EQ(outcome.result.skipped, 0);
  EXPECT_EQ(std::ranges::count(outcome.log, '\n'), 32);
  for (std::size_t task = 0; task < tasks; ++task) {
    EXPECT_GT(outcome.result.accuracy[task], 0.5) << task_names[task];         // chance: 0.1
    EXPECT_LT(outcome.result.losses[task], std::log(10)) << task_names[task];  // that of chance
  }
  EXPECT_GT(outcome.result.times.step_us, 0.0);
  EXPECT_TRUE(outcome.result.times.unfused_us);
}

TEST(Train, RepeatsItselfToTheLastBit) {
  const Outcome once = train_briefly("SGD(lr=0.1, momentum=0.9)", 1);
  const Outcome again = train_briefly("SGD(lr=0.1, momentum=0.9)", 1);
  const Outcome other = train_briefly("SGD(lr=0.1, momentum=0.9)", 2);
  EXPECT_EQ(once.log, again.log);
  EXPECT_EQ(once.result.accuracy, again.result.accuracy);
  EXPECT_NE(once.log, other.log);
}

TEST(Train, LogsWhatEachStepDecided) {
  const Outcome outcome = train_briefly("Adam", 1, "MGDA");
  std::istringstream lines(outcome.log);
  nlohmann::json step;
  double conflicts = 0, first_weights = 0;
  for (std::string line; std::getline(lines, line);) {
    step = nlohmann::json::parse(line);
    for (std::size_t task = 0; task < tasks; ++task) {
      const double norms = step["norms"][task].get<double>();
      const double dot = step["dots"][task].get<double>();
      const double d_norm = dot / (step["dot_cosines"][task].get<double>() * norms);
      EXPECT_GE(dot, (1 - 1e-6) * d_norm * d_norm);  // what MGDA promises
    }
    EXPECT_TRUE(step["promise_kept"].get<bool>());
    EXPECT_LE(step["residual"].get<double>(), gs::MGDA::tolerance);
    EXPECT_GE(step["iterations"].get<int>(), 0);
    conflicts += step["conflict"].get<bool>();
    first_weights += step["weights"][0].get<double>();
  }
  EXPECT_NEAR(step["means"]["conflict_rate"].get<double>(), conflicts / 32, 1e-12);
  EXPECT_NEAR(step["means"]["weights"][0].get<double>(), first_weights / 32, 1e-12);
  EXPECT_EQ(step["means"]["promise_kept"].get<double>(), 1.0);
  EXPECT_NEAR(outcome.result.weights[0], first_weights / 32, 1e-12);
  EXPECT_EQ(outcome.result.promise_kept, 1.0);
}

TEST(Train, HandsOverTheLossesAsScaled) {
  const Outcome outcome = train_briefly("Adam", 1, "ScaleInvariant");  // w = 1 / loss
  const auto step = nlohmann::json::parse(outcome.log.substr(0, outcome.log.find('\n')));
  EXPECT_NEAR(step["weights"][1].get<double>() * scales[1] * step["losses"][1].get<double>(), 1.0,
              1e-6);
  EXPECT_TRUE(step["promise_kept"].is_null());
  EXPECT_FALSE(outcome.result.promise_kept);
}

TEST(Train, LeavesOutWhatAnElementwiseMethodLacks) {
  const Outcome outcome = train_briefly("Adam", 1, "GradDrop");
  const auto step = nlohmann::json::parse(outcome.log.substr(0, outcome.log.find('\n')));
  EXPECT_TRUE(step["weights"][0].is_null());
  EXPECT_EQ(outcome.result.skipped, 0);
}

TEST(Train, SaysWhatItSawOnMomenta) {
  EXPECT_TRUE(train_briefly("Adam", 1, "MoCo").result.on_momenta);
  EXPECT_FALSE(train_briefly("Adam", 1, "Sum").result.on_momenta);
}

/// State of 16 and of 8 bits ends within the spread of fp32's seeds.
TEST(Train, WithNarrowStateEndsAsWithWide) {
  const auto losses = [](gs::DType states) {
    std::vector<double> all;
    for (const std::uint64_t seed : {1, 2, 3, 4}) {
      const RunResult result = train_briefly("Adam", seed, "PCGrad", states, 10).result;
      all.push_back(result.losses[0] + result.losses[1]);
    }
    return all;
  };
  const std::vector<double> wide = losses(gs::DType::float32);
  const auto [least, most] = std::ranges::minmax(wide);
  for (const gs::DType states : {gs::DType::bfloat16, gs::DType::dynamic8}) {
    const std::vector<double> narrow = losses(states);
    EXPECT_NE(narrow, wide);
    const double mean = spread_of(narrow).mean;
    EXPECT_GE(mean, least) << gs::name_of(states);
    EXPECT_LE(mean, most) << gs::name_of(states);
  }
}

// With so little momentum the gradients are taken next to z, which goes where SGD goes: at y the two
// would read alike, but for an image or two. The average of the run reads otherwise.
TEST(Train, MeasuresAScheduleFreeRuleAtItsAverage) {
  const RunResult sgd = train_briefly("SGD(lr=0.1)", 1).result;
  const RunResult average = train_briefly("ScheduleFreeSGD(lr=0.1, momentum=0.0001)", 1).result;
  for (std::size_t task = 0; task < tasks; ++task) {
    EXPECT_NEAR(average.losses[task], sgd.losses[task], 0.01) << task_names[task];
    EXPECT_GT(std::abs(average.accuracy[task] - sgd.accuracy[task]), 0.05) << task_names[task];
  }
}

TEST(Train, OutlivesLossesThatAreNotFinite) {
  const Outcome outcome = train_briefly("SGD(lr=1e20)", 1, "ScaleInvariant");
  EXPECT_GT(outcome.result.skipped, 0);
  EXPECT_EQ(outcome.result.steps, 32);
}

TEST(Results, AreGroupedByMethod) {
  std::vector<RunResult> runs;
  for (const auto& [aggregator, accuracy] :
       {std::pair{"Sum", 0.25}, std::pair{"Sum", 0.75}, std::pair{"PCGrad", 1.0}}) {
    RunResult run{.run = {"SGD", aggregator, 1}, .accuracy = {accuracy, accuracy}};
    run.times.unfused_us = 30;
    run.times.fused_us = 10;
    runs.push_back(run);
  }
  const std::vector<MethodResult> methods = summarise(runs);
  ASSERT_EQ(methods.size(), 2u);
  EXPECT_EQ(methods[1].aggregator, "PCGrad");
  EXPECT_DOUBLE_EQ(methods[0].accuracy[0].mean, 0.5);

  std::ostringstream table;
  print_table(table, methods);
  EXPECT_NE(table.str().find("50.0 ± 35.4"), std::string::npos) << table.str();
  EXPECT_NE(table.str().find("3.0x"), std::string::npos) << table.str();
}

}  // namespace
}  // namespace two_digits
