// One element under a rule: what a kernel does for it, without one.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "gramstep/rules/rules.hpp"
#include "kernels/step_data.hpp"

namespace gramstep::test {

/// One element that is all of a segment, its state and the segment's.
template <class Rule>
struct Element {
  Element(const Rule& its_rule, float start) : rule(its_rule), p(start), lr(its_rule.lr) {
    std::ranges::fill(state, rules::initial_state(rule));
  }

  /// Takes the step that comes, with an update of the rule's.
  template <class Update>
  void step(Update, float gradient) {
    const RuleInput in{.lr = lr, .weight_decay = rule.weight_decay, .t = ++t};
    kernels::SegmentState segment;
    segment.put(rules::scalars(rule, in, kept));
    auto scalars = segment.template get<typename Update::Scalars>();
    const float g = rule.maximize ? -gradient : gradient;
    if constexpr (rules::Measured<Update>) {
      float terms[rules::max_measures];
      Update::measure(scalars, g, p, state, terms);
      const double sums[] = {static_cast<double>(terms[0]), static_cast<double>(terms[1])};
      Update::settle(scalars, sums, {.size = 1});
    }
    Update::apply(scalars, g, p, state);
  }
  void step(float gradient) {
    rules::with_update(rule, [&](auto update) { step(update, gradient); });
  }

  Rule rule;
  float p;
  double lr;
  std::int64_t t = 0;  // steps taken
  float state[4];
  double kept[rules::max_segment_states] = {};
};

/// Steps with the gradients given: the parameter after each.
template <class Rule>
std::vector<float> trace(const Rule& rule, float p, const std::vector<float>& gradients) {
  Element<Rule> element(rule, p);
  std::vector<float> result;
  for (const float g : gradients) {
    element.step(g);
    result.push_back(element.p);
  }
  return result;
}

/// Calls test(rule) with a rule of every kind, as it is by default.
template <class Test, class... Rules>
void for_every_rule(const Test& test, const std::variant<Rules...>*) {
  (test(Rules{}), ...);
}
template <class Test>
void for_every_rule(const Test& test) {
  for_every_rule(test, static_cast<const Rule*>(nullptr));
}

}  // namespace gramstep::test
