// What a rule may leave out, and what is meant then.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1::rules {

/// Most scalars that a rule keeps for a segment.
inline constexpr int max_segment_states = 2;

/// Whether an update is one of two that a rule has, for matrices and for all else; it says of which:
///   static constexpr bool of_matrices
template <class Update>
concept ByKind = requires { Update::of_matrices; };

/// Whether a rule has an update of matrices, by its options: matrix_update(), which of Updates, and
///   static bool is_matrix(int rank)
template <class Rule>
concept TreatsMatricesApart = requires(const Rule& rule) { rule.matrix_update(); };

/// Which of Updates the rule applies to a matrix, or to any other segment.
template <class Rule>
int update_of(const Rule& rule, bool matrix) {
  if constexpr (TreatsMatricesApart<Rule>) {
    if (matrix) return rule.matrix_update();
  }
  return rule.update();
}

/// Calls visit(Update{}) for one of a rule's Updates.
template <class Rule, class Visit, std::size_t... Index>
void with_update(int which, const Visit& visit, std::index_sequence<Index...>) {
  using Updates = typename Rule::Updates;
  ((which == static_cast<int>(Index) ? visit(std::tuple_element_t<Index, Updates>{}) : void()),
   ...);
}

/// Calls visit(Update{}) for the update that the rule's options select for a matrix, or for any other
/// segment.
template <class Rule, class Visit>
void with_update(const Rule& rule, bool matrix, const Visit& visit) {
  with_update<Rule>(update_of(rule, matrix), visit,
                    std::make_index_sequence<std::tuple_size_v<typename Rule::Updates>>{});
}

/// The same for a segment that is no matrix.
template <class Rule, class Visit>
void with_update(const Rule& rule, const Visit& visit) {
  with_update(rule, false, visit);
}

/// The pieces of state that an update keeps of a segment, a buffer each.
template <class Update>
constexpr auto pieces_of() {
  if constexpr (requires { Update::pieces; }) {
    return Update::pieces;
  } else {
    std::array<StatePiece, Update::states> pieces{};
    for (std::size_t i = 0; i < pieces.size(); ++i) pieces[i].name = Update::state_names[i];
    return pieces;
  }
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

/// Whether no element of a state of that name is ever negative: sums, means and maxima of squares and of
/// magnitudes.
constexpr bool never_negative(std::string_view name) {
  for (const std::string_view each :
       {"exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "exp_inf", "acc_delta"}) {
    if (name == each) return true;
  }
  return false;
}

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
///   void settle(Scalars&, const double* sums, const MatrixStack& segment)
/// for the terms of one element, in a pass of their own, and for what their sums do to the scalars.
template <class Update>
concept Measured = requires { &Update::settle; };

/// Whether measure brings the state up to date, so that apply leaves it alone.
template <class Update>
inline constexpr bool state_done_first = [] {
  if constexpr (requires { Update::state_done_first; }) return Update::state_done_first;
  return false;
}();

/// Whether apply needs the gradient as well; it does unless the state is all that is left of it.
template <class Update>
inline constexpr bool applies_gradient = [] {
  if constexpr (requires { Update::applies_gradient; }) return Update::applies_gradient;
  return !state_done_first<Update>;
}();

/// Whether an update keeps sums by row and by column in the place of one number an element. It has
///   float squares(const Scalars&, float before, float mean)  what a row or column keeps of the mean of
///                                                           its squares
///   float row_factor(const Scalars&, float row, float mean)  of a row, from what all rows keep on average
///   float column_factor(float column)                       of a column
/// and buffers numbered row_factors, column_factors, column and row; measure and apply are handed the first two.
template <class Update>
concept Factored = requires { &Update::row_factor; };

/// Whether what an update left in a buffer is made orthogonal before it is applied, matrix by matrix:
/// the buffer's number is `orthogonalized`, and the scalars' `scale` brings it to length 1.
template <class Update>
concept Orthogonalized = requires { Update::orthogonalized; };

/// How a rule does that.
template <class Rule>
NewtonSchulz newton_schulz(const Rule& rule) {
  if constexpr (requires { rule.newton_schulz(); }) return rule.newton_schulz();
  return {};
}

/// Whether a schedule may cycle the rule's momentum or beta1. A schedule-free rule's is no decay but the
/// average's share, by which evaluation_params goes.
template <class Rule>
bool has_momentum(const Rule& rule) {
  if constexpr (requires { rule.averaging(); }) return false;
  if constexpr (requires { rule.momentum; }) return rule.momentum != 0;
  return requires { rule.beta1; };
}

}  // namespace gramstep::inline v1::rules
