// Methods: the rules and aggregators that can be asked for, by the library's texts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <gramstep/gramstep.hpp>

namespace two_digits {

/// What is compared where nothing else is asked for. The rates are those that the search finds with
/// the other options' defaults, so that it need not be repeated; README.md has its numbers.
inline constexpr const char* default_rules =
    "SGD(lr=0.3),SGD(lr=0.1,momentum=0.9),Adam(lr=0.001),AdamW(lr=0.001)";
inline constexpr const char* default_aggregators = "Sum,PCGrad";

/// One that does not do here, and why.
struct LeftOut {
  std::string name;
  std::string reason;
};

/// What a list asks for.
struct Texts {
  std::vector<std::string> texts;  ///< each once, as the library reads them
  std::vector<LeftOut> left_out;   ///< of `all`
};

/// A rule that was asked for.
struct NamedRule {
  /// Name and those options that depart from their defaults; lr only where two rules differ in
  /// nothing else.
  std::string name;
  gramstep::Rule rule;
  bool lr_given = false;  ///< whether its text has a learning rate
};

/// What a list of rules asks for.
struct RuleList {
  std::vector<NamedRule> rules;   ///< each once
  std::vector<LeftOut> left_out;  ///< of `all`
};

/// Reads a list such as "Lion, adam(lr=1e-3), SGD(momentum=0.9)" of what gramstep::rule_of reads,
/// names in any case. "all" stands for every rule whose defaults do for this network. Throws
/// gramstep::InvalidArgument for one that cannot be read, or that does not do.
RuleList read_rules(std::string_view list);

/// A rule's learning rate.
double lr_of(const gramstep::Rule& rule);

/// A rule with another learning rate.
gramstep::Rule with_lr(gramstep::Rule rule, double lr);

/// Reads a list of aggregators as read_rules does one of rules; "all" stands for every aggregator
/// whose defaults do for two tasks.
Texts read_aggregators(std::string_view list);

/// The one that others are compared with, and that learning rates are searched with: Sum, else the
/// first.
const std::string& reference_of(const std::vector<std::string>& aggregators);

/// An aggregator with its randomness, where it has any, from this seed.
gramstep::Aggregator with_seed(gramstep::Aggregator aggregator, std::uint64_t seed);

}  // namespace two_digits
