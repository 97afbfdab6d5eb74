// What the numbers allow to be said, in words.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "comparison.hpp"
#include "text.hpp"

namespace two_digits {
namespace {

/// Half the width of an interval that tells hardly anything, as a share.
constexpr double wide_interval = 0.02;

std::string points(const Difference& difference) {
  return signed_fixed(100 * difference.mean, 1) + " ± " + fixed(100 * difference.half_width, 1);
}

/// A family, and which member of Run it is about.
struct Question {
  std::string topic;
  std::vector<Comparison> family;
  std::string Comparison::* subject;  ///< what is compared
  std::string Comparison::* setting;  ///< what is the same for both
  std::string reference;

  std::vector<std::string> subjects(bool (*chosen)(const Comparison&)) const;
  std::string listed(Verdict verdict) const;
  std::size_t count(Verdict verdict) const {
    return static_cast<std::size_t>(std::ranges::count(family, verdict, &Comparison::verdict));
  }
};

/// Each subject once, of which a comparison is so chosen.
std::vector<std::string> Question::subjects(bool (*chosen)(const Comparison&)) const {
  std::vector<std::string> names;
  for (const Comparison& each : family) {
    const std::string& name = each.*subject;
    if (chosen(each) && !std::ranges::count(names, name)) names.push_back(name);
  }
  return names;
}

/// "CAGrad (Adam, left −1.2 ± 0.3; SGD, right ...)": the comparisons with that verdict, without the
/// setting where there is one for all.
std::string Question::listed(Verdict verdict) const {
  const bool many_settings = std::ranges::any_of(
      family, [&](const Comparison& each) { return each.*setting != family.front().*setting; });
  std::vector<std::string> order;
  std::map<std::string, std::string> places;
  for (const Comparison& each : family) {
    if (each.verdict != verdict) continue;
    std::string& place = places[each.*subject];
    if (place.empty()) order.push_back(each.*subject);
    place += (place.empty() ? "" : "; ") + (many_settings ? each.*setting + ", " : "") +
             task_names[each.task] + " " + points(each.difference);
  }
  std::string text;
  for (const std::string& name : order) {
    text += (text.empty() ? "" : ", ") + name + " (" + places[name] + ")";
  }
  return text;
}

double median_of(const std::vector<Comparison>& family, double Difference::* member) {
  std::vector<double> values;
  for (const Comparison& each : family) values.push_back(each.difference.*member);
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

std::string told_apart(const Question& question) {
  const std::string shown = question.listed(Verdict::shown), hints = question.listed(Verdict::hint);
  std::string text =
      shown.empty() ? "None is shown to differ from " + question.reference + " in accuracy."
                    : "Shown to differ from " + question.reference +
                          ", all comparisons taken together (points of accuracy): " + shown + ".";
  if (!hints.empty()) {
    const double by_chance = 0.05 * static_cast<double>(question.family.size());
    text += " A hint, no more: " + hints + ". Of " + std::to_string(question.family.size()) +
            " comparisons, " + significant(by_chance, 2) +
            " would look at least like this by chance, were all methods alike.";
  }
  return text;
}

/// Those of which no comparison told anything.
std::string indistinguishable(const Question& question) {
  const std::vector<std::string> apart =
      question.subjects([](const Comparison& c) { return c.verdict != Verdict::nothing_told; });
  std::vector<std::string> alike = question.subjects([](const Comparison&) { return true; });
  std::erase_if(alike,
                [&](const std::string& name) { return std::ranges::count(apart, name) > 0; });
  if (alike.empty()) return "";
  std::vector<std::string> wide = question.subjects(
      [](const Comparison& c) { return c.difference.half_width > wide_interval; });
  std::erase_if(wide,
                [&](const std::string& name) { return std::ranges::count(alike, name) == 0; });
  std::string text = " Not told apart from " + question.reference + ": " + enumerated(alike) + ".";
  if (!wide.empty()) {
    text += " Hardly anything is told of " + enumerated(wide) +
            ", which vary so much that an interval is wider than ±" +
            fixed(100 * wide_interval, 0) + " points.";
  }
  return text;
}

/// How large a difference would have had to be.
std::string what_could_be_seen(const Question& question, std::size_t seeds) {
  const int freedom = static_cast<int>(seeds) - 1;
  const double interval = median_of(question.family, &Difference::half_width);
  const double needed =
      interval / student_quantile(0.05, freedom) *
      student_quantile(0.05 / static_cast<double>(question.family.size()), freedom);
  return " What " + std::to_string(seeds) +
         " seeds can tell: half of the 95 % intervals are wider "
         "than ±" +
         fixed(100 * interval, 1) + " points, and with " + std::to_string(question.family.size()) +
         " comparisons a difference that varies that much "
         "would have to exceed " +
         fixed(100 * needed, 1) + " points to be shown; smaller ones may be there, unseen.";
}

Finding answer(const Question& question, std::size_t seeds) {
  if (seeds < 2) {
    return {question.topic, "One seed shows no spread, and tells none of them apart."};
  }
  return {question.topic,
          told_apart(question) + indistinguishable(question) + what_could_be_seen(question, seeds)};
}

Finding conflict(std::span<const RunResult> runs) {
  double lowest = std::numeric_limits<double>::infinity(), highest = 0;
  for (const RunResult& run : runs) {
    if (run.on_momenta) continue;
    lowest = std::min(lowest, run.conflict_rate);
    highest = std::max(highest, run.conflict_rate);
  }
  if (lowest > highest) return {"Conflict", "Only seen on momenta."};
  return {"Conflict", "In " + fixed(100 * lowest, 0) + " to " + fixed(100 * highest, 0) +
                          " % of a run's steps the two gradients of the trunk point against each "
                          "other."};
}

Finding promises(std::span<const RunResult> runs) {
  std::vector<std::string> kept, broken;
  for (const RunResult& run : runs) {
    if (!run.promise_kept) continue;
    auto& names = *run.promise_kept == 1 ? kept : broken;
    if (!std::ranges::count(names, run.run.aggregator)) names.push_back(run.run.aggregator);
  }
  std::erase_if(kept, [&](const auto& name) { return std::ranges::count(broken, name) > 0; });
  std::string text;
  if (!kept.empty()) text = "In every step kept by " + enumerated(kept) + ".";
  if (!broken.empty()) {
    text += std::string(text.empty() ? "" : " ") + "Not in every step: " + enumerated(broken) + ".";
  }
  if (text.empty()) text = "None of these methods promises anything of its weights.";
  return {"Promises", text};
}

Finding skipped(std::span<const RunResult> runs) {
  std::vector<std::string> names;
  std::int64_t steps = 0;
  for (const RunResult& run : runs) {
    if (run.skipped == 0) continue;
    steps += run.skipped;
    if (!std::ranges::count(names, run.run.aggregator)) names.push_back(run.run.aggregator);
  }
  if (steps == 0) return {"Skipped steps", ""};
  return {"Skipped steps", std::to_string(steps) +
                               ", for a gradient or a loss that was unfit, by " +
                               enumerated(names) + "."};
}

/// Which learning rates were searched, and where a better one may lie beyond those tried.
Finding learning_rates(const Results& results) {
  if (results.searches.empty()) return {"Learning rates", ""};
  std::vector<std::string> names, at_edge;
  for (const RateSearch& search : results.searches) {
    names.push_back(search.rule);
    if (search.edge().empty()) continue;
    at_edge.push_back(search.rule + " (" + significant(search.rate(), 3) + ", the " +
                      search.edge() + ")");
  }
  return {
      "Learning rates",
      "Searched with " + reference_aggregator(results.runs) + " on the validation digits for " +
          enumerated(names) + ". " +
          (at_edge.empty() ? "None of those chosen lies at the edge of those tried."
                           : "At the edge of those tried, so that one beyond it may do better: " +
                                 enumerated(at_edge) + ".")};
}

}  // namespace

std::vector<Finding> findings_of(const Results& results) {
  const std::vector<RunResult>& runs = results.runs;
  std::size_t seeds = 0;
  for (const RunResult& run : runs) seeds = std::max(seeds, std::size_t{run.run.seed});
  const std::string aggregator = reference_aggregator(runs), rule = runs[0].run.rule;
  const Question aggregators{"Aggregators", compare_aggregators(runs), &Comparison::aggregator,
                             &Comparison::rule, aggregator};
  const Question rules{"Rules", compare_rules(runs), &Comparison::rule, &Comparison::aggregator,
                       rule};
  std::vector<Finding> findings{conflict(runs)};
  if (!aggregators.family.empty()) findings.push_back(answer(aggregators, seeds));
  if (!rules.family.empty()) findings.push_back(answer(rules, seeds));
  findings.push_back(learning_rates(results));
  findings.push_back(promises(runs));
  findings.push_back(skipped(runs));
  std::erase_if(findings, [](const Finding& finding) { return finding.text.empty(); });
  return findings;
}

}  // namespace two_digits
