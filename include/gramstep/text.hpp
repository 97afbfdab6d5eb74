// Aggregators, rules and schedules as text: for command lines, configuration files and the C ABI.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gramstep/aggregators/aggregators.hpp"
#include "gramstep/export.hpp"
#include "gramstep/rules/rules.hpp"
#include "gramstep/schedules.hpp"

namespace gramstep::inline v1 {

/// The aggregator that a text names, such as
///
///   PCGrad     MGDA     CAGrad(c=0.5, rescale=one_plus_c)     UPGrad(preference=[0.3, 0.7])
///
/// a name, and in parentheses the options that depart from their defaults, each once: numbers, true or false,
/// the name of an enumeration's value, or a list of numbers in brackets. Space is of no account.
/// Throws InvalidArgument that says where the text cannot be read and what was expected; options are
/// checked, for K tasks, when an optimizer is made.
GRAMSTEP_EXPORT Aggregator aggregator_of(std::string_view text);
/// The rule that a text names, such as AdamW(lr=1e-3, weight_decay=0.1); see aggregator_of.
GRAMSTEP_EXPORT Rule rule_of(std::string_view text);
/// The schedule that a text names, such as CosineAnnealingLR(total_steps=1000); see aggregator_of.
GRAMSTEP_EXPORT Schedule schedule_of(std::string_view text);

/// The text of an aggregator, a rule or a schedule, with all its options; reads back to the same bits.
GRAMSTEP_EXPORT std::string text_of(const Aggregator& aggregator);
GRAMSTEP_EXPORT std::string text_of(const Rule& rule);
GRAMSTEP_EXPORT std::string text_of(const Schedule& schedule);

/// The names of all of them, in the order of their list.
GRAMSTEP_EXPORT std::vector<std::string_view> aggregator_names();
GRAMSTEP_EXPORT std::vector<std::string_view> rule_names();
GRAMSTEP_EXPORT std::vector<std::string_view> schedule_names();

/// The names of the options of one.
GRAMSTEP_EXPORT std::vector<std::string_view> option_names(const Aggregator& aggregator);
GRAMSTEP_EXPORT std::vector<std::string_view> option_names(const Rule& rule);
GRAMSTEP_EXPORT std::vector<std::string_view> option_names(const Schedule& schedule);

}  // namespace gramstep::inline v1
