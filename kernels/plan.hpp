// The plan stage: the one place where a step is decided. K x K numbers, in double, one block.
//
// Sums the partials of the Gram matrix, divides out the loss scale, decides whether to skip, lets the
// aggregator choose weights, clips by global norm (||d||^2 = w^T G w: no pass over memory), counts the
// step, and works out each segment's scalars. No power is left to libm, so that CPU and GPU
// agree to the last bit on whatever does not depend on the Gram matrix.
#pragma once

#include <cmath>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/rules/rules.hpp"
#include "kernels/context.hpp"
#include "kernels/one_of.hpp"
#include "kernels/step_data.hpp"

namespace gramstep::kernels {

struct PlanArguments {
  StepState* state;
  SegmentState* segments;
  const GroupSettings* groups;
  const double* partials;  // as the gram stage left them
  double* scratch;         // [max_pairs + 1], then the aggregator's
  double clip_norm;        // infinity: no clip
  WorkTable work;
  std::int32_t segment_count;
  std::int32_t tasks;
  bool look;       // the gram stage ran
  bool propagate;  // take the step even if a gradient is not finite
};

inline constexpr int plan_threads = 512;

/// Whether a value is neither infinite nor NaN.
GRAMSTEP_BODY bool is_finite(double value) { return value - value == 0; }

template <class Aggregator>
struct PlanBody {
  static constexpr int threads = plan_threads;
  PlanArguments a;
  Aggregator aggregator;
  OneOfT<Rule> rule;

  struct Shared {
    double sums[plan_threads];
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    if (a.look) collect(x, shared);
    const bool skip = a.look && !a.propagate && !all_finite();
    decide_weights(x, skip);
    const double clip = a.look ? clip_coefficient(x) : 1.0;
    plan_segments(x, skip);
    x.sync();  // everyone has read the state that is written now
    write_plan(x, skip, clip);
  }

 private:
  /// G and the heads' squared norm from the partials, unscaled.
  template <class X>
  GRAMSTEP_BODY void collect(const X& x, Shared& shared) const {
    const int pairs = pairs_of(a.tasks);
    double* sums = a.scratch;
    const double* heads = a.partials + std::int64_t{a.work.shared_spans} * pairs;
    add_columns(x, shared, a.partials, a.work.shared_spans, pairs, sums);
    add_columns(x, shared, heads, a.work.head_spans, 1, sums + pairs);
    const double scale = 1.0 / a.state->controls.loss_scale;
    Findings& found = a.state->findings;
    for (int e = x.thread(); e < a.tasks * a.tasks; e += x.threads()) {
      const int i = e / a.tasks, j = e % a.tasks;
      const int pair = i < j ? pair_index(i, j, a.tasks) : pair_index(j, i, a.tasks);
      found.gram[e] = sums[pair] * scale * scale;
    }
    if (x.thread() == 0) found.heads_squared = sums[pairs] * scale * scale;
    x.sync();
  }

  /// out[c] = the sum of column c over all rows, in an order that depends on the block size alone.
  template <class X>
  GRAMSTEP_BODY void add_columns(const X& x, Shared& shared, const double* from, std::int64_t rows,
                                 int columns, double* out) const {
    const int slices = columns < x.threads() ? x.threads() / columns : 1;
    for (int t = x.thread(); t < columns * slices; t += x.threads()) {
      const int column = t % columns, slice = t / columns;
      double sum = 0;
      for (std::int64_t r = rows * slice / slices; r < rows * (slice + 1) / slices; ++r) {
        sum += from[r * columns + column];
      }
      if (slices == 1)
        out[column] = sum;
      else
        shared.sums[t] = sum;
    }
    x.sync();
    for (int c = x.thread(); c < columns && slices > 1; c += x.threads()) {
      double sum = 0;
      for (int slice = 0; slice < slices; ++slice) sum += shared.sums[slice * columns + c];
      out[c] = sum;
    }
    x.sync();
  }

  /// A NaN or an infinity anywhere in a row makes its square on G's diagonal not finite.
  GRAMSTEP_BODY bool all_finite() const {
    const Findings& found = a.state->findings;
    bool finite = is_finite(found.heads_squared);
    for (int i = 0; i < a.tasks; ++i) finite = finite && is_finite(found.gram[i * a.tasks + i]);
    return finite;
  }

  template <class X>
  GRAMSTEP_BODY void decide_weights(const X& x, bool skip) const {
    Findings& found = a.state->findings;
    if (skip) {
      for (int i = x.thread(); i < a.tasks; i += x.threads()) found.weights[i] = NAN;
    } else {
      aggregator.weights(
          x, GramProblem{a.tasks, found.gram, a.state->steps + 1, a.scratch + max_pairs + 1},
          found.weights);
    }
    x.sync();
  }

  /// min(1, clip_norm / (norm + 1e-6)) as torch.nn.utils.clip_grad_norm_, norm^2 = w^T G w + heads.
  template <class X>
  GRAMSTEP_BODY double clip_coefficient(const X& x) const {
    Findings& found = a.state->findings;
    for (int i = x.thread(); i < a.tasks; i += x.threads()) {
      double sum = 0;
      for (int j = 0; j < a.tasks; ++j) sum += found.gram[i * a.tasks + j] * found.weights[j];
      // One thread's own sums are added below, by all of them alike, in task order.
      a.scratch[i] = sum * found.weights[i];
    }
    x.sync();
    double squared = 0;
    for (int i = 0; i < a.tasks; ++i) squared += a.scratch[i];
    // Rounding may leave a sum that cancels a little below zero.
    const double norm = sqrt((squared < 0 ? 0.0 : squared) + found.heads_squared);
    const double ratio = a.clip_norm / (norm + 1e-6);
    // A norm that is not finite comes through, but only where a clip was asked for.
    const double clip = !is_finite(a.clip_norm) || ratio >= 1.0 ? 1.0 : ratio;
    if (x.thread() == 0) {
      found.norm = norm;
      found.clip = clip;
    }
    return clip;
  }

  /// Counts the step of every active segment and writes the scalars of its rule.
  template <class X>
  GRAMSTEP_BODY void plan_segments(const X& x, bool skip) const {
    if (skip) return;
    rule.visit([&](const auto& held) { segment_scalars(x, held); });
  }

  template <class X, class Held>
  GRAMSTEP_BODY void segment_scalars(const X& x, const Held& held) const {
    // Neighbours mostly share their group and step count, and so their scalars: each thread takes a
    // run of segments and works them out only where they change.
    const std::int64_t count = a.segment_count;
    const int first = static_cast<int>(count * x.thread() / x.threads());
    const int last = static_cast<int>(count * (x.thread() + 1) / x.threads());
    RuleInput input{};
    int group = -1;
    decltype(held.scalars(input)) scalars{};
    for (int s = first; s < last; ++s) {
      SegmentState& segment = a.segments[s];
      if (!segment.active) continue;
      const std::int64_t t = ++segment.steps;
      if (segment.group != group || t != input.t) {
        group = segment.group;
        const GroupSettings& settings = a.groups[group];
        input = {a.state->controls.lr * settings.lr_scale, settings.weight_decay, t};
        scalars = held.scalars(input);
      }
      segment.sign = a.groups[group].sign;
      segment.put(scalars);
    }
  }

  template <class X>
  GRAMSTEP_BODY void write_plan(const X& x, bool skip, double clip) const {
    StepState& state = *a.state;
    const double scale = clip / state.controls.loss_scale;
    for (int i = x.thread(); i < a.tasks; i += x.threads()) {
      state.plan.weights[i] = static_cast<float>(state.findings.weights[i] * scale);
    }
    if (x.thread() != 0) return;
    state.plan.head_weight = static_cast<float>(scale);
    state.plan.skip = skip;
    state.findings.lr = state.controls.lr;
    (skip ? state.skipped_steps : state.steps) += 1;
  }
};

}  // namespace gramstep::kernels
