// Runs: the streams of an update a few cache lines at a time, those that come fetched ahead, in fp32 however
// they are stored.
#pragma once

#include "host/cpu/narrow.hpp"
#include "kernels/element_states.hpp"

namespace gramstep::host {
namespace {

// How far ahead, in elements: rows that are combined four at a time, and the rule's own streams, two cache lines of
// each at a time. At 384 rules of one pass have 0.97 to 1.0 of their streams' speed with one row; at 96 AdamW, Lion and
// AdEMAMix lose 2 to 7 % of it, at 768 SGD and Lion 4 % (Zen 4).
constexpr int row_distance = 768;
constexpr int rule_distance = 384;

/// Calls function(first, last) for runs of [0, count).
template <class Function>
[[gnu::always_inline]] inline void for_runs(int count, const Function& function) {
  for (int first = 0; first < count; first += run_elements) {
    function(first, count - first < run_elements ? count : first + run_elements);
  }
}

/// Rows as loops over fp32 take them: those in memory, or copies of their elements.
template <int Rows, int Elements>
struct StagedRows {
  alignas(64) float room[Rows][Elements];
  const float* rows[Rows];

  /// Elements [at, at + size) of `count` rows.
  const float* const* stage(DType dtype, const void* const* from, int count, std::int64_t at,
                            int size) {
    for (int k = 0; k < count; ++k) {
      rows[k] = static_cast<const float*>(element_at(dtype, from[k], at));
      if (dtype == DType::float32) continue;
      prefetch_run(dtype, element_at(dtype, from[k], at + row_distance));
      widen_run(dtype, from[k], at, size, room[k]);
      rows[k] = room[k];
    }
    return rows;
  }
};

/// What a pass does with a run: whether it reads and writes state of its elements, and writes parameters.
struct Access {
  bool read_states, write_states, write_params;

  /// How far ahead it fetches: what is only read is as rows are. LARS and Adafactor are 2 to 7 % slower where
  /// their measuring passes fetch as rules that write (Zen 4).
  constexpr int distance() const {
    return write_states || write_params ? rule_distance : row_distance;
  }
};

/// Parameters and states of one run in fp32: in place, or, where they are stored in another way, in L1.
template <class Update, Access Of>
class Runs {
 public:
  Runs(const kernels::UpdateArguments& a, const kernels::SegmentState& segment,
       const kernels::SegmentPlace& place)
      : a_(a), plain_(a.storage.plain()), first_step_(segment.steps == 1) {
    for (int s = 0; s < Update::states; ++s) to_state_[s] = place.states[s] - place.begin;
  }

  float* params = nullptr;
  float* states[3] = {};

  /// Makes elements [at, at + count) the run.
  [[gnu::always_inline]] void begin(std::int64_t at, int count) {
    if (plain_) {
      params = static_cast<float*>(a_.params) + at;
    } else {
      params = params_;
      widen_params(a_, first_step_, at, count, params_);
    }
    if constexpr (rules::Factored<Update>) return;
    for (int s = 0; s < Update::states; ++s) {
      if (a_.storage.states == DType::float32) {
        states[s] = static_cast<float*>(a_.states[s]) + (at + to_state_[s]);
      } else {
        states[s] = states_[s];
        if constexpr (Of.read_states) widen_state(s, at, count);
      }
    }
  }

  /// Puts it back where it was changed.
  [[gnu::always_inline]] void end(std::int64_t at, int count) {
    if (plain_) return;
    if constexpr (Of.write_params) narrow_params(a_, first_step_, params_, at, count);
    if (a_.storage.states == DType::float32 || !Of.write_states) return;
    for (int s = 0; s < Update::states; ++s) {
      if (a_.storage.in_blocks()) {
        encode_run(a_.storage, s, a_.plan->step, states_[s], count, a_.states[s], at);
        continue;
      }
      round_run(a_.storage, a_.storage.states, a_.plan->step,
                kernels::states_draw + static_cast<std::uint32_t>(s), states_[s], count,
                a_.states[s], at);
    }
  }

 private:
  void widen_state(int s, std::int64_t at, int count) {
    const DType dtype = a_.storage.states;
    prefetch_run(dtype, element_at(dtype, a_.states[s], at + run_elements));
    if (a_.storage.in_blocks()) {
      return decode_run(a_.storage, s, a_.states[s], at, count, states_[s]);
    }
    widen_run(dtype, a_.states[s], at, count, states_[s]);
  }

  const kernels::UpdateArguments& a_;
  const bool plain_, first_step_;
  std::int64_t to_state_[3] = {};
  alignas(64) float params_[run_elements];
  alignas(64) float states_[3][run_elements];
};

/// Calls visit(first, last, runs) for runs of elements [at, at + count), of an update whose elements have
/// what their row and their column keep: a run is of one row.
template <class Update, Access Of, class Visit>
[[gnu::always_inline]] inline void over_row_runs(const kernels::UpdateArguments& a,
                                                 const kernels::SegmentPlace& place,
                                                 Runs<Update, Of>& runs, std::int64_t at, int count,
                                                 const Visit& visit) {
  const kernels::Positions positions(place, at);
  float* rows = static_cast<float*>(a.states[Update::row_factors]) +
                place.states[Update::row_factors] + positions.first.row;
  float* columns = static_cast<float*>(a.states[Update::column_factors]) +
                   place.states[Update::column_factors] + positions.first.column;
  std::int64_t row_end = positions.first_row();
  for (int first = 0; first < count;) {
    const kernels::Position position = positions.after(first);
    const std::int64_t rest = row_end - first;
    int last = (first / run_elements + 1) * run_elements;  // as runs of any other update end
    if (last > count) last = count;
    if (rest < last - first) last = first + static_cast<int>(rest);
    runs.begin(at + first, last - first);
    runs.states[0] = rows + position.row;
    runs.states[1] = columns + position.column;
    visit(first, last, runs);
    runs.end(at + first, last - first);
    if (last == row_end) row_end += place.stack.columns;
    first = last;
  }
}

/// The same of an update of any kind.
template <class Update, Access Of, class Visit>
[[gnu::always_inline]] inline void over_runs(const kernels::UpdateArguments& a,
                                             const kernels::SegmentPlace& place,
                                             Runs<Update, Of>& runs, std::int64_t at, int count,
                                             const Visit& visit) {
  if constexpr (rules::Factored<Update>) {
    over_row_runs(a, place, runs, at, count, visit);
  } else {
    for_runs(count, [&](int first, int last) {
      runs.begin(at + first, last - first);
      visit(first, last, runs);
      runs.end(at + first, last - first);
    });
  }
}

}  // namespace
}  // namespace gramstep::host
