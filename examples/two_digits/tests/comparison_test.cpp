// Which methods are said to differ, from accuracies made up for it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <string>
#include <vector>

#include "comparison.hpp"
#include "results.hpp"

namespace two_digits {
namespace {

using Accuracies = std::array<double, 3>;  // a seed each

void add_runs(std::vector<RunResult>& runs, const std::string& rule, const std::string& aggregator,
              const Accuracies& left, const Accuracies& right) {
  for (std::size_t seed = 0; seed < left.size(); ++seed) {
    runs.push_back({.run = {rule, aggregator, seed + 1}, .accuracy = {left[seed], right[seed]}});
  }
}

/// Beside Sum: one that is far off on the left, one a little on the left, one that is about it.
std::vector<RunResult> some_runs() {
  std::vector<RunResult> runs;
  add_runs(runs, "Adam", "Alike", {0.951, 0.947, 0.952}, {0.939, 0.942, 0.931});
  add_runs(runs, "Adam", "Sum", {0.950, 0.948, 0.952}, {0.940, 0.941, 0.932});
  add_runs(runs, "Adam", "Wrong", {0.101, 0.099, 0.102}, {0.937, 0.943, 0.931});
  add_runs(runs, "Adam", "Little", {0.957, 0.953, 0.957}, {0.939, 0.941, 0.933});
  return runs;
}

const Comparison& of(const std::vector<Comparison>& family, const std::string& aggregator,
                     std::size_t task) {
  return *std::ranges::find_if(family, [&](const Comparison& each) {
    return each.aggregator == aggregator && each.task == task;
  });
}

const std::string& text_of(const std::vector<Finding>& findings, const std::string& topic) {
  return std::ranges::find(findings, topic, &Finding::topic)->text;
}

TEST(Comparison, IsWithSumAndJudgesAllTogether) {
  const std::vector<Comparison> family = compare_aggregators(some_runs());
  ASSERT_EQ(family.size(), 6u);
  EXPECT_TRUE(std::ranges::all_of(family, [](const Comparison& each) {
    return each.reference_aggregator == "Sum" && each.adjusted_p >= each.difference.p;
  }));
  EXPECT_NEAR(of(family, "Wrong", 0).difference.mean, -0.8493, 1e-4);
  EXPECT_EQ(of(family, "Wrong", 0).verdict, Verdict::shown);
  EXPECT_EQ(of(family, "Wrong", 1).verdict, Verdict::nothing_told);
  EXPECT_EQ(of(family, "Little", 0).verdict, Verdict::hint);
  EXPECT_EQ(of(family, "Alike", 0).verdict, Verdict::nothing_told);
}

TEST(Comparison, IsWithTheFirstWithoutSum) {
  std::vector<RunResult> runs = some_runs();
  std::erase_if(runs, [](const RunResult& run) { return run.run.aggregator == "Sum"; });
  EXPECT_EQ(reference_aggregator(runs), "Alike");
}

TEST(Comparison, OfRulesIsWithTheFirst) {
  std::vector<RunResult> runs = some_runs();
  EXPECT_TRUE(compare_rules(runs).empty());
  add_runs(runs, "SGD", "Sum", {0.940, 0.938, 0.941}, {0.930, 0.931, 0.932});
  const std::vector<Comparison> family = compare_rules(runs);
  ASSERT_EQ(family.size(), 2u);
  EXPECT_EQ(family[0].rule, "SGD");
  EXPECT_EQ(family[0].reference_rule, "Adam");
  EXPECT_EQ(family[0].aggregator, "Sum");
}

TEST(Findings, SayWhatIsShownHintedAndNotTold) {
  const std::vector<Finding> findings = findings_of({{}, some_runs()});
  const std::string& text = text_of(findings, "Aggregators");
  EXPECT_NE(text.find("Shown to differ from Sum"), std::string::npos) << text;
  EXPECT_NE(text.find("Wrong (left −84.9"), std::string::npos) << text;
  EXPECT_NE(text.find("A hint, no more: Little (left +0.6"), std::string::npos) << text;
  EXPECT_NE(text.find("Not told apart from Sum: Alike."), std::string::npos) << text;
  EXPECT_NE(text.find("6 comparisons"), std::string::npos) << text;
}

TEST(Findings, SayWithWhichRuleWhereThereAreMore) {
  std::vector<RunResult> runs;
  add_runs(runs, "Adam", "Sum", {0.950, 0.948, 0.952}, {0.940, 0.941, 0.932});
  add_runs(runs, "Adam", "Wrong", {0.101, 0.099, 0.102}, {0.937, 0.943, 0.931});
  add_runs(runs, "SGD", "Sum", {0.940, 0.938, 0.941}, {0.930, 0.931, 0.932});
  add_runs(runs, "SGD", "Wrong", {0.099, 0.101, 0.098}, {0.931, 0.930, 0.932});
  const std::string text = text_of(findings_of({{}, runs}), "Aggregators");
  EXPECT_NE(text.find("Wrong (Adam, left −84.9 ± 0.1; SGD, left −84.0"), std::string::npos) << text;
}

TEST(Findings, SayWhichRulesAreNotToldApart) {
  std::vector<RunResult> runs;
  add_runs(runs, "SGD", "Sum", {0.950, 0.948, 0.952}, {0.940, 0.941, 0.932});
  add_runs(runs, "Adam", "Sum", {0.951, 0.947, 0.952}, {0.939, 0.942, 0.931});
  add_runs(runs, "Lion", "Sum", {0.101, 0.099, 0.102}, {0.937, 0.943, 0.931});
  const std::string text = text_of(findings_of({{}, runs}), "Rules");
  EXPECT_NE(text.find("Shown to differ from SGD"), std::string::npos) << text;
  EXPECT_NE(text.find("Lion (left −84.9"), std::string::npos) << text;
  EXPECT_NE(text.find("Not told apart from SGD: Adam."), std::string::npos) << text;
}

TEST(Findings, NameTheRatesAtTheEdge) {
  const RateSearch inside{"Adam", {0.1, 0.3, 1}, {0.5, 0.6, 0.5}, 1};
  const RateSearch edge{"Lion", {1e-5, 3e-5, 1e-4}, {0.5, 0.6, 0.7}, 2};
  EXPECT_EQ(text_of(findings_of({{inside}, some_runs()}), "Learning rates"),
            "Searched with Sum on the validation digits for Adam. None of those chosen lies at the "
            "edge of those tried.");
  EXPECT_EQ(text_of(findings_of({{inside, edge}, some_runs()}), "Learning rates"),
            "Searched with Sum on the validation digits for Adam and Lion. At the edge of those "
            "tried, so that one beyond it may do better: Lion (0.0001, the largest).");
}

TEST(Findings, NameWhatVariesTooMuch) {
  std::vector<RunResult> runs = some_runs();
  add_runs(runs, "Adam", "Wild", {0.90, 0.95, 0.93}, {0.93, 0.90, 0.95});
  const std::string text = text_of(findings_of({{}, runs}), "Aggregators");
  EXPECT_NE(text.find("Alike and Wild. Hardly anything is told of Wild,"), std::string::npos)
      << text;
}

TEST(Findings, OfOneSeedTellNothingApart) {
  std::vector<RunResult> runs = some_runs();
  std::erase_if(runs, [](const RunResult& run) { return run.run.seed > 1; });
  EXPECT_EQ(text_of(findings_of({{}, runs}), "Aggregators"),
            "One seed shows no spread, and tells none of them apart.");
}

TEST(Findings, NameBrokenPromises) {
  std::vector<RunResult> runs = some_runs();
  for (RunResult& run : runs) {
    if (run.run.aggregator != "Sum") run.promise_kept = 1;
  }
  runs.back().promise_kept = 0.5;
  EXPECT_EQ(text_of(findings_of({{}, runs}), "Promises"),
            "In every step kept by Alike and Wrong. Not in every step: Little.");
}

TEST(Findings, AreWrappedForTheTerminal) {
  std::ostringstream out;
  print_findings(out, findings_of({{}, some_runs()}));
  std::istringstream lines(out.str());
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 110u) << line;
}

}  // namespace
}  // namespace two_digits
