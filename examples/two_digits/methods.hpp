// Methods: the rules and aggregators that can be asked for, by name.
#pragma once

#include <string>
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

/// The aggregators.
const std::vector<Named<gramstep::Aggregator>>& aggregators();

/// The names of a list.
template <class Options>
std::vector<std::string> names(const std::vector<Named<Options>>& list) {
  std::vector<std::string> result;
  for (const auto& entry : list) result.push_back(entry.name);
  return result;
}

/// The options of that name; throws std::invalid_argument for one that is not there.
const gramstep::Rule& rule_named(const std::string& name);
const gramstep::Aggregator& aggregator_named(const std::string& name);

/// A rule's learning rate.
double lr_of(const gramstep::Rule& rule);

/// A rule with another learning rate.
gramstep::Rule with_lr(gramstep::Rule rule, double lr);

/// An aggregator with its randomness, where it has any, from this seed.
gramstep::Aggregator with_seed(gramstep::Aggregator aggregator, std::uint64_t seed);

}  // namespace two_digits
