// Comparison: which methods differ, as far as the seeds can tell.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "search.hpp"
#include "statistics.hpp"
#include "trainer.hpp"

namespace two_digits {

/// What can be said of a difference.
enum class Verdict {
  shown,        ///< even when all comparisons of its family are taken together (Holm)
  hint,         ///< its own 95 % interval leaves 0 out; one in twenty does so by chance
  nothing_told  ///< neither; that is not to say that the methods are alike
};

/// Two methods on one task: the difference of their accuracies.
struct Comparison {
  std::string rule, aggregator;                      ///< what is compared
  std::string reference_rule, reference_aggregator;  ///< with what
  std::size_t task = 0;
  Difference difference{};
  double adjusted_p = 1;  ///< Holm's, over the family
  Verdict verdict = Verdict::nothing_told;
};

/// The aggregator that others are compared with: Sum, else the first.
std::string reference_aggregator(std::span<const RunResult> runs);

/// A family: with each rule, each aggregator with the reference, for each task.
std::vector<Comparison> compare_aggregators(std::span<const RunResult> runs);

/// A family: with the reference aggregator, each rule with the first, for each task.
std::vector<Comparison> compare_rules(std::span<const RunResult> runs);

/// Something that was found: a word, and sentences of plain text.
struct Finding {
  std::string topic;
  std::string text;
};

/// All that was measured.
struct Results {
  std::vector<RateSearch> searches;
  std::vector<RunResult> runs;
};

/// What the numbers allow to be said, and what they do not.
std::vector<Finding> findings_of(const Results& results);

}  // namespace two_digits
