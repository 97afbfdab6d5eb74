// What the rule tells of a segment's step, and of what: the schedule and the rule's own arithmetic. No power,
// logarithm or cosine is left to libm, so that CPU and GPU agree to the last bit.
#pragma once

#include "kernels/step_data.hpp"

namespace gramstep::kernels {

/// What warm-up and schedule make of a learning rate after `steps` steps.
GRAMSTEP_OUTLINED Scheduled scheduled(const Controls& controls, std::int64_t steps, double lr) {
  const Warmup& warmup = controls.warmup;
  if (steps < warmup.steps) {
    const double share = share_of(steps, warmup.steps);
    return {lr * (warmup.start_factor + (1.0 - warmup.start_factor) * share)};
  }
  Scheduled result{};
  controls.schedule.visit(
      [&](const auto& schedule) { result = schedule.at(lr, steps - warmup.steps); });
  return result;
}

/// The rule's own learning rate after `steps` steps.
GRAMSTEP_BODY double scheduled_lr(const Controls& controls, std::int64_t steps) {
  double lr = 0;
  controls.rule.visit([&](const auto& rule) { lr = rule.lr; });
  return scheduled(controls, steps, lr).lr;
}

/// The scalars of a segment's next step, whatever the rule, and what they were worked out from beside the
/// step's state.
struct SegmentScalars {
  std::int64_t t;
  std::int32_t group;
  std::int32_t matrix;
  double before[rules::max_segment_states];  // what the last step kept
  double after[rules::max_segment_states];   // what this one keeps
  float sign;
  AnyScalars scalars;

  GRAMSTEP_BODY void ask(const SegmentState& segment) {
    t = segment.steps + 1;
    group = segment.group;
    matrix = segment.matrix;
    for (int i = 0; i < rules::max_segment_states; ++i) before[i] = after[i] = segment.kept[i];
  }

  /// Whether a segment asks the same. Without short cuts: its loads are on their way together.
  GRAMSTEP_BODY bool answer(const SegmentState& segment) const {
    int same = (segment.group == group) & (segment.steps + 1 == t) & (segment.matrix == matrix);
    for (int i = 0; i < rules::max_segment_states; ++i) {
      same &= segment.kept[i] == before[i];
    }
    return same != 0;
  }

  /// Counts the segment's step.
  GRAMSTEP_BODY void give(SegmentState& segment) const {
    segment.steps = t;
    segment.sign = sign;
    for (int i = 0; i < rules::max_segment_states; ++i) segment.kept[i] = after[i];
    segment.scalars = scalars;
  }
};

/// Answers what was asked. Compiled once a kernel and called: it has every rule and every schedule in it.
GRAMSTEP_OUTLINED void work_out(const Controls& controls, std::int64_t steps,
                                const GroupSettings* groups, SegmentScalars& s) {
  const GroupSettings& group = groups[s.group];
  controls.rule.visit([&](const auto& rule) {
    const Scheduled now = scheduled(controls, steps, rule.lr * group.lr_scale);
    const bool own = group.weight_decay == group.weight_decay;
    const RuleInput input{now.lr, own ? group.weight_decay : rule.weight_decay, s.t, s.matrix != 0,
                          now.momentum};
    s.scalars.put(rules::scalars(rule, input, s.after));
    s.sign = (group.maximize < 0 ? rule.maximize : group.maximize != 0) ? -1.0f : 1.0f;
  });
}

}  // namespace gramstep::kernels
