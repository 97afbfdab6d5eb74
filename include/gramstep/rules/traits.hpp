// What a rule may leave out, and what is meant then.
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1::rules {

/// Most scalars that a rule keeps for a segment.
inline constexpr int max_segment_states = 2;

/// Calls visit(Update{}) for the update that the rule's options select.
template <class Rule, class Visit, std::size_t... Index>
void with_update(const Rule& rule, const Visit& visit, std::index_sequence<Index...>) {
  using Updates = typename Rule::Updates;
  ((rule.update() == static_cast<int>(Index) ? visit(std::tuple_element_t<Index, Updates>{})
                                              : void()),
   ...);
}
template <class Rule, class Visit>
void with_update(const Rule& rule, const Visit& visit) {
  with_update(rule, visit, std::make_index_sequence<std::tuple_size_v<typename Rule::Updates>>{});
}

/// The names of the state that an element has with these options, as torch.optim names it.
template <class Rule>
std::span<const std::string_view> state_names(const Rule& rule) {
  std::span<const std::string_view> names;
  with_update(rule, [&](auto update) { names = decltype(update)::state_names; });
  return names;
}

/// The names of the scalars that the rule keeps for every segment, in double.
template <class Rule>
constexpr std::span<const std::string_view> segment_state_names() {
  if constexpr (requires { Rule::segment_state_names; }) return Rule::segment_state_names;
  return {};
}

/// How many they are, for device code too.
template <class Rule>
inline constexpr int segment_states = static_cast<int>(segment_state_names<Rule>().size());

/// What every element of a state begins with.
template <class Rule>
float initial_state(const Rule& rule) {
  if constexpr (requires { rule.initial_state(); }) return rule.initial_state();
  return 0.0f;
}

/// The scalars of one segment's step; kept [max_segment_states]: what the last step kept of the segment,
/// replaced by what this one keeps.
template <class Rule>
GRAMSTEP_BODY auto scalars(const Rule& rule, const RuleInput& in, double* kept) {
  if constexpr (requires { Rule::segment_state_names; }) {
    return rule.scalars(in, kept);
  } else {
    return rule.scalars(in);
  }
}

/// Most sums by segment that an update measures.
inline constexpr int max_measures = 2;

/// Whether an update needs sums by segment before it can be applied: it has
///   void measure(const Scalars&, float g, float p, float* state, float (&terms)[max_measures])
///   void settle(Scalars&, const double* sums)
/// for the terms of one element, in a pass of their own, and for what their sums do to the scalars.
template <class Update>
concept Measured = requires { &Update::settle; };

/// Whether measure brings the state up to date, so that apply needs no gradient and leaves the state alone.
template <class Update>
inline constexpr bool state_done_first = [] {
  if constexpr (requires { Update::state_done_first; }) return Update::state_done_first;
  return false;
}();

/// Whether a schedule may cycle the rule's momentum or beta1. A schedule-free rule's is no decay but the
/// average's share, by which evaluation_params goes.
template <class Rule>
bool has_momentum(const Rule& rule) {
  if constexpr (requires { rule.averaging(); }) return false;
  if constexpr (requires { rule.momentum; }) return rule.momentum != 0;
  return requires { rule.beta1; };
}

}  // namespace gramstep::inline v1::rules
