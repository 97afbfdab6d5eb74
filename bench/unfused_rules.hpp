// The rules as they are written by hand: a pass over memory for every line of the formula.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "bench/memory.hpp"

namespace gramstep::bench {

/// The arrays that a rule's lines work on.
struct RuleArrays {
  enum Name { gradient, params, state0, state1, state2, temporary };
  std::array<float*, 6> at{};  // by name
  std::int64_t size = 0;
  std::int64_t streams = 0;  // arrays read or written so far
};

/// One rule with its default options, or those by which it keeps other state, on state of its own.
class UnfusedRule {
 public:
  /// Whether the rule that rule_of reads from this text is among those that were written.
  static bool has(const std::string& rule);

  UnfusedRule(const std::string& rule, std::int64_t size);

  /// One step of params along a gradient; t: which step it is, 1 for the first.
  void step(const float* gradient, float* params, std::int64_t t);

  /// The first piece of state, such as the first moment.
  std::span<const float> state() const { return memory_.front()->span(); }

  /// Arrays that the last step read or wrote.
  std::int64_t streams() const { return arrays_.streams; }

 private:
  void (*lines_)(RuleArrays& arrays, std::int64_t t);
  std::array<std::optional<Floats>, 4> memory_;  // state, and a temporary
  RuleArrays arrays_;
};

}  // namespace gramstep::bench
