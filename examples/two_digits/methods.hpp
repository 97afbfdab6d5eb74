// Methods: the rules and aggregators that can be asked for, by name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <gramstep/gramstep.hpp>

namespace two_digits {

template <class Options>
struct Named {
  std::string name;
  Options options;
};

/// The rules, each with the learning rate it trains with by default.
const std::vector<Named<gramstep::Rule>>& rules();

/// The names of a list.
template <class Options>
std::vector<std::string> names(const std::vector<Named<Options>>& list) {
  std::vector<std::string> result;
  for (const auto& entry : list) result.push_back(entry.name);
  return result;
}

/// The rule of that name; throws std::invalid_argument for one that is not there.
const gramstep::Rule& rule_named(const std::string& name);

/// A rule's learning rate.
double lr_of(const gramstep::Rule& rule);

/// A rule with another learning rate.
gramstep::Rule with_lr(gramstep::Rule rule, double lr);

/// An aggregator that does not do for two tasks, and why.
struct LeftOut {
  std::string name;
  std::string reason;
};

/// What a list of aggregators asks for.
struct AggregatorList {
  std::vector<std::string> texts;  ///< each once; aggregator_named reads them
  std::vector<LeftOut> left_out;   ///< of `all`
};

/// Reads a list such as "Sum, pcgrad, CAGrad(c=0.4)" of what gramstep::aggregator_of reads, names
/// in any case. "all" stands for every aggregator whose defaults do for two tasks. Throws
/// gramstep::InvalidArgument for one that cannot be read, or that does not do.
AggregatorList read_aggregators(std::string_view list);

/// What a text of read_aggregators says.
gramstep::Aggregator aggregator_named(const std::string& text);

/// An aggregator with its randomness, where it has any, from this seed.
gramstep::Aggregator with_seed(gramstep::Aggregator aggregator, std::uint64_t seed);

}  // namespace two_digits
