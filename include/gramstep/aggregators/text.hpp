// Aggregators as text: for command lines, configuration files and the C ABI.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gramstep/aggregators/aggregators.hpp"
#include "gramstep/export.hpp"

namespace gramstep::inline v1 {

/// The aggregator that a text names, such as
///
///   PCGrad     MGDA     CAGrad(c=0.5, rescale=one_plus_c)     UPGrad(preference=[0.3, 0.7])
///
/// a name, and in parentheses the options that depart from their defaults, each once: numbers, true or false,
/// the name of an enumeration's value, or a list of numbers in brackets. Space is of no account.
/// Throws InvalidArgument that says where the text cannot be read and what was expected; options are
/// checked for K tasks when an optimizer is made.
GRAMSTEP_EXPORT Aggregator aggregator_of(std::string_view text);

/// The text of an aggregator, with all its options; aggregator_of reads it back to the same bits.
GRAMSTEP_EXPORT std::string text_of(const Aggregator& aggregator);

/// The names of all aggregators, in the order of their list.
GRAMSTEP_EXPORT std::vector<std::string_view> aggregator_names();

/// The names of an aggregator's options.
GRAMSTEP_EXPORT std::vector<std::string_view> option_names(const Aggregator& aggregator);

}  // namespace gramstep::inline v1
