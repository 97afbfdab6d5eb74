#include "comparison.hpp"

#include <algorithm>

#include "methods.hpp"

namespace two_digits {
namespace {

constexpr double level = 0.05;

/// A method's accuracies on a task, a value a seed.
std::vector<double> accuracies(std::span<const RunResult> runs, const std::string& rule,
                               const std::string& aggregator, std::size_t task) {
  std::vector<double> values;
  for (const RunResult& run : runs) {
    if (run.run.rule == rule && run.run.aggregator == aggregator) {
      values.push_back(run.accuracy[task]);
    }
  }
  return values;
}

/// What a member of the runs takes on, each value once.
std::vector<std::string> values_of(std::span<const RunResult> runs, std::string Run::* member) {
  std::vector<std::string> values;
  for (const RunResult& run : runs) {
    const std::string& value = run.run.*member;
    if (std::ranges::find(values, value) == values.end()) values.push_back(value);
  }
  return values;
}

void compare(std::span<const RunResult> runs, Comparison of, std::vector<Comparison>& family) {
  for (of.task = 0; of.task < tasks; ++of.task) {
    of.difference =
        paired_difference(accuracies(runs, of.rule, of.aggregator, of.task),
                          accuracies(runs, of.reference_rule, of.reference_aggregator, of.task));
    family.push_back(of);
  }
}

std::vector<Comparison> judged(std::vector<Comparison> family) {
  std::vector<double> p;
  for (const Comparison& each : family) p.push_back(each.difference.p);
  const std::vector<double> adjusted = holm(p);
  for (std::size_t i = 0; i < family.size(); ++i) {
    family[i].adjusted_p = adjusted[i];
    family[i].verdict = adjusted[i] < level ? Verdict::shown
                        : p[i] < level      ? Verdict::hint
                                            : Verdict::nothing_told;
  }
  return family;
}

}  // namespace

std::string reference_aggregator(std::span<const RunResult> runs) {
  return reference_of(values_of(runs, &Run::aggregator));
}

std::vector<Comparison> compare_aggregators(std::span<const RunResult> runs) {
  const std::string reference = reference_aggregator(runs);
  std::vector<Comparison> family;
  for (const std::string& rule : values_of(runs, &Run::rule)) {
    for (const std::string& aggregator : values_of(runs, &Run::aggregator)) {
      if (aggregator != reference) compare(runs, {rule, aggregator, rule, reference}, family);
    }
  }
  return judged(std::move(family));
}

std::vector<Comparison> compare_rules(std::span<const RunResult> runs) {
  const std::string aggregator = reference_aggregator(runs);
  const std::vector<std::string> rules = values_of(runs, &Run::rule);
  std::vector<Comparison> family;
  for (const std::string& rule : rules) {
    if (rule != rules[0]) compare(runs, {rule, aggregator, rules[0], aggregator}, family);
  }
  return judged(std::move(family));
}

}  // namespace two_digits
