// Search: which learning rate a rule trains with, by the same small grid for every rule.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <gramstep/gramstep.hpp>

#include "methods.hpp"

namespace two_digits {

/// The rates to try for a rule, ascending: five of the series 1, 3, 10, 30, ..., round the one that
/// is nearest to where a rule of that name usually trains this network, for a rule that is not known
/// here the library's default.
std::vector<double> rates_to_try(const gramstep::Rule& rule);

/// Of the accuracies of ascending rates, the index of the first within 0.2 points of the best: the
/// smallest rate that does as well as can be told.
std::size_t best_of(std::span<const double> accuracies);

/// What was tried for a rule, and what came of it.
struct RateSearch {
  std::string rule;                ///< NamedRule::name
  std::vector<double> rates;       ///< ascending
  std::vector<double> accuracies;  ///< of each rate, mean over digits and seeds
  std::size_t chosen = 0;          ///< index of the rate that was

  double rate() const { return rates[chosen]; }
  /// Which end of the grid the rate is at, "smallest" or "largest"; else empty. One beyond may do
  /// better.
  std::string edge() const;
};

/// Trains a rule, with this seed, and returns its mean accuracy over digits.
using Trial = std::function<double(const gramstep::Rule& rule, std::uint64_t seed)>;

/// Tries the rates of a rule, each with seeds 1 to `seeds`.
RateSearch search_rate(const NamedRule& rule, int seeds, const Trial& trial);

}  // namespace two_digits
