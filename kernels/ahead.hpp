// What a plan can know before the launch ahead of it is done: a copy of the step's state and the scalars of the
// first segments, in shared memory, worked out while the gram stage runs.
//
// What is read that early a setter queued in between may still change. So all of it is compared with what is
// there once the wait is over, and where anything differs nothing was foreseen.
#pragma once

#include "kernels/plan.hpp"
#include "kernels/scalars.hpp"

namespace gramstep::kernels {

/// Eight bytes of anything, so that nvcc does not copy them one by one.
using Word [[gnu::may_alias]] = std::uint64_t;

/// Segments whose scalars are worked out ahead. Others mostly share those of the first.
inline constexpr int foreseen_segments = 32;

/// Of the groups nothing is compared: they never change. A segment is, where its scalars are given. A trivial type:
/// it lies in shared memory.
struct Ahead {
  static constexpr int state_words = sizeof(StepState) / sizeof(Word);
  static_assert(sizeof(StepState) % sizeof(Word) == 0);

  alignas(StepState) Word words[sizeof(StepState) / sizeof(Word)];
  double lr;              // for the report
  std::int32_t holds;     // whether what was foreseen is worth anything
  std::int32_t segments;  // of which there are scalars, the first ones
  SegmentScalars scalars[foreseen_segments];

  GRAMSTEP_BODY const StepState& state() const {
    return *reinterpret_cast<const StepState*>(words);
  }

  /// Without anything foreseen.
  GRAMSTEP_BODY void begin(const StepState& now) {
    for (int i = 0; i < state_words; ++i) words[i] = reinterpret_cast<const Word*>(&now)[i];
    holds = 0;
  }
};

/// A copy of what the launch ahead may change.
template <class T, class X>
GRAMSTEP_BODY T read_early(const X& x, const T* from) {
  static_assert(sizeof(T) % sizeof(Word) == 0);
  std::uint64_t copy[sizeof(T) / sizeof(Word)];
  GRAMSTEP_UNROLL
  for (std::size_t i = 0; i < sizeof(T) / sizeof(Word); ++i) {
    copy[i] = x.read_early(reinterpret_cast<const Word*>(from) + i);
  }
  T value;
  memcpy(&value, copy, sizeof value);
  return value;
}

/// Copies the state; ends with a barrier.
template <class X>
GRAMSTEP_BODY void read_state_early(const X& x, const PlanArguments& a, Ahead& ahead) {
  GRAMSTEP_ROLLED
  for (int i = x.thread(); i < Ahead::state_words; i += x.threads()) {
    ahead.words[i] = x.read_early(reinterpret_cast<const Word*>(a.state) + i);
  }
  if (x.thread() == 0) ahead.holds = 1;
  x.sync();
}

/// Works out what the decision needs beside the gradients; ends with a barrier.
template <class X>
GRAMSTEP_BODY void foresee(const X& x, const PlanArguments& a, Ahead& ahead) {
  const StepState& state = ahead.state();
  const int count = a.segment_count < foreseen_segments ? a.segment_count : foreseen_segments;
  if (x.thread() == 0) ahead.segments = count;
  GRAMSTEP_ROLLED
  for (int s = x.thread(); s < count; s += x.threads()) {
    ahead.scalars[s].ask(read_early(x, a.segments + s));
    work_out(state.controls, state.steps, a.groups, ahead.scalars[s]);
  }
  if (x.thread() == x.threads() - 1) ahead.lr = scheduled_lr(state.controls, state.steps);
  x.sync();
}

/// After the wait: the state as it is now. One warp's, and no barrier.
template <class X>
GRAMSTEP_BODY void catch_up(const X& x, const PlanArguments& a, Ahead& ahead) {
  if (x.warp() != 0) return;
  constexpr int turns = (Ahead::state_words + 31) / 32;
  const auto* state = reinterpret_cast<const Word*>(a.state);
  Word now[turns];
  // Loads on their way together.
  GRAMSTEP_UNROLL
  for (int turn = 0; turn < turns; ++turn) {
    const int i = turn * 32 + x.lane();
    now[turn] = state[i < Ahead::state_words ? i : 0];
  }
  std::uint32_t changed = 0;
  GRAMSTEP_UNROLL
  for (int turn = 0; turn < turns; ++turn) {
    const int i = turn * 32 + x.lane();
    if (i >= Ahead::state_words || now[turn] == ahead.words[i]) continue;
    ahead.words[i] = now[turn];
    changed = 1;
  }
  if (x.warp_max(changed) != 0 && x.lane() == 0) ahead.holds = 0;
}

}  // namespace gramstep::kernels
