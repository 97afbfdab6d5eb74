// What both the kernel bodies' tests and the CUDA tests go through: every update, every awkward size.
#pragma once

#include <ostream>

#include "tests/support.hpp"

namespace gramstep::test {

/// One for every update function object of the rules, options that make each of its branches matter.
struct RuleCase {
  const char* name;
  Rule rule;
  friend std::ostream& operator<<(std::ostream& out, const RuleCase& each) {
    return out << each.name;
  }
};

inline const RuleCase rule_cases[] = {
    {"SGD", SGD{.lr = 0.1, .weight_decay = 0.01}},
    {"Momentum", SGD{.lr = 0.1, .momentum = 0.9, .dampening = 0.1, .weight_decay = 0.01}},
    {"Nesterov", SGD{.lr = 0.1, .momentum = 0.9, .nesterov = true, .maximize = true}},
    {"Adam", Adam{.lr = 0.01, .weight_decay = 0.1}},
    {"AMSGrad", Adam{.lr = 0.01, .amsgrad = true}},
    {"AdamW", AdamW{.lr = 0.01, .weight_decay = 0.1, .maximize = true}},
};

/// A layout with segments of all awkward sizes, two groups and a head a task (the first four).
inline Layout awkward_layout(int tasks) {
  Layout layout;
  layout.add_group("other", {.lr_scale = 0.5, .weight_decay = 0.25, .maximize = true});
  int number = 0;
  for (const std::int64_t size : edge_sizes) {
    SegmentOptions options;
    if (++number % 3 == 0) options.group = "other";
    layout.add("shared" + std::to_string(size), {size}, options);
  }
  for (int task = 0; task < tasks && task < 4; ++task) {
    SegmentOptions options;
    options.task = task;
    layout.add("head" + std::to_string(task), {130 + 4'001 * task}, options);
  }
  return layout;
}

}  // namespace gramstep::test
