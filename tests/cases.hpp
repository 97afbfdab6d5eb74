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
    {"NAdam", NAdam{.lr = 0.01, .weight_decay = 0.1}},
    // Rectified from the sixth step on, and never.
    {"RAdam", RAdam{.lr = 0.01, .beta2 = 0.9, .weight_decay = 0.1, .decoupled_weight_decay = true}},
    {"RAdamByMomentum", RAdam{.lr = 0.01, .beta2 = 0.5}},
    {"Adamax", Adamax{.lr = 0.01, .weight_decay = 0.1}},
    {"Adagrad", Adagrad{.lr = 0.1, .lr_decay = 0.1, .initial_accumulator_value = 0.5}},
    {"Adadelta", Adadelta{.weight_decay = 0.1}},
    {"RMSprop", RMSprop{.lr = 0.01, .weight_decay = 0.1}},
    {"RMSpropMomentum", RMSprop{.lr = 0.01, .momentum = 0.9}},
    {"RMSpropCentered", RMSprop{.lr = 0.01, .alpha = 0.9, .centered = true}},
    {"RMSpropBoth", RMSprop{.lr = 0.01, .alpha = 0.9, .momentum = 0.9, .centered = true}},
    {"Lion", Lion{.lr = 0.01, .weight_decay = 0.1, .maximize = true}},
    {"AdEMAMix", AdEMAMix{.lr = 0.01, .beta3_warmup = 100, .alpha_warmup = 20}},
    // Segments with a ratio, and those of a group without weight decay.
    {"LAMB", LAMB{.lr = 0.01, .weight_decay = 0.1}},
    {"LAMBPartly", LAMB{.lr = 0.01, .always_adapt = false, .maximize = true}},
    // 0 / 0 for what a chunk does not have.
    {"LAMBWithoutEpsilon", LAMB{.lr = 0.01, .epsilon = 0}},
    {"LARS", LARS{.lr = 0.1, .weight_decay = 0.01, .trust_coefficient = 0.1}},
    {"LARSPartly", LARS{.lr = 0.1, .nesterov = true, .always_adapt = false}},
    {"Adafactor", Adafactor{.lr = 0.1, .weight_decay = 0.1}},
    {"ScheduleFreeSGD", ScheduleFreeSGD{.lr = 0.1, .weight_decay = 0.01}},
    {"ScheduleFreeAdamW", ScheduleFreeAdamW{.lr = 0.01, .weight_decay = 0.1, .r = 0.5}},
};

/// The same of rules whose bits are those of a library's products on each device.
inline const RuleCase product_rule_cases[] = {
    {"Muon", Muon{.lr = 0.01}},
    {"MuonPlain", Muon{.lr = 0.01, .nesterov = false, .match_rms_adamw = true, .maximize = true}},
};

/// Every schedule, in its midst after three steps and the warm-up that goes with it.
inline const Schedule schedule_cases[] = {
    ConstantLR{},
    CosineAnnealingLR{.total_steps = 7},
    PolynomialLR{.total_steps = 9, .exponent = 0.9},
    StepLR{.step_size = 1, .gamma = 0.7},
    StableDecayLR{.stable_steps = 1, .decay_steps = 5, .anneal = Anneal::cosine},
    OneCycleLR{.total_steps = 12, .cycle_momentum = false}};
static_assert(std::size(schedule_cases) == std::variant_size_v<Schedule>);

/// A segment of that many elements: some are matrices, one a stack of them.
inline Shape awkward_shape(std::int64_t size) {
  switch (size) {
    case 129: return {3, 43};
    case 4096: return {2, 64, 32};
    case 4097: return {241, 17};
    case 8132: return {4, 2033};
    default: return {size};
  }
}

/// A layout with segments of awkward sizes, all of them or those that are given, two groups and a head a task
/// (the first four).
inline Layout awkward_layout(int tasks, std::span<const std::int64_t> sizes = edge_sizes) {
  Layout layout;
  layout.add_group("other", {.lr_scale = 0.5, .weight_decay = 0.25, .maximize = true});
  int number = 0;
  for (const std::int64_t size : sizes) {
    SegmentOptions options;
    if (++number % 3 == 0) options.group = "other";
    layout.add("shared" + std::to_string(size), awkward_shape(size), options);
  }
  for (int task = 0; task < tasks && task < 4; ++task) {
    SegmentOptions options;
    options.task = task;
    layout.add("head" + std::to_string(task), awkward_shape(130 + 4'001 * task), options);
  }
  return layout;
}

}  // namespace gramstep::test
