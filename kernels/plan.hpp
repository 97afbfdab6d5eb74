// The plan stage: the one place where a step is decided. K x K numbers, in double.
//
// A block a projection sums the partials of its Gram matrix, divides out the loss scale and lets the
// aggregator choose weights (ProjectionPlan). Then one block decides the step (StepDecision, in
// decision.hpp): in the same launch where there is one projection, in another where there are several.
#pragma once

#include <cmath>

#include "gramstep/aggregators/traits.hpp"
#include "kernels/context.hpp"
#include "kernels/fold.hpp"
#include "kernels/losses.hpp"
#include "kernels/plan_memory.hpp"

namespace gramstep::kernels {

struct PlanArguments {
  StepState* state;
  SegmentState* segments;
  const GroupSettings* groups;
  const double* partials;  // as the gram stage left them
  std::int32_t fold;       // see Partials
  PlanMemory memory;
  PlanShape shape;
  double* scratch;              // [P, scratch_stride]: plan_scratch(K), then the aggregator's
  std::int64_t scratch_stride;  // doubles
  Losses losses;
  Scaling scaling;
  double smoothing;  // share of the last step's weights in this step's
  double tolerance;  // largest residual at which the aggregator's promise counts as kept
  WorkTable work;
  std::int32_t segment_count;
  bool look;      // the gram stage ran
  bool checks;    // a Gram matrix that is not finite gets no weights, and its step is skipped
  bool unscaled;  // the gram stage's rows were momenta, from which the loss scale is divided out
};

/// A weight beyond this is no number in fp32, and its step is skipped.
inline constexpr double largest_weight = 3e38;

inline constexpr int plan_threads =
    256;  // 255 registers a thread: the solvers spill with half of them

/// Doubles of scratch of the plan's own: sums of partials, losses.
GRAMSTEP_BOTH constexpr std::int64_t plan_scratch(int tasks) { return pairs_of(tasks) + 1 + tasks; }

/// Whether a value is neither infinite nor NaN.
GRAMSTEP_BODY bool is_finite(double value) { return value - value == 0; }

using PlanSums = double[plan_threads];

/// What every plan reads, beside what the gram stage writes.
template <class X>
GRAMSTEP_BODY void prefetch_plan(const X& x, const PlanArguments& a) {
  prefetch(x, a.state, sizeof(StepState));
  prefetch(x, a.groups, sizeof(GroupSettings));
  prefetch(x, a.segments, a.segment_count * std::int64_t{sizeof(SegmentState)});
  prefetch(x, a.memory.gram, PlanMemory::doubles(a.shape) * std::int64_t{sizeof(double)});
}

/// Doubles of shared memory in which a solve works where its numbers fit, K = 32 for most: threads
/// wait for each other's results many times, and not for the second-level cache then.
inline constexpr std::int64_t near_size = 5 * 1024;

/// out[c] = the sum of column c over all rows, which are `stride` apart, in an order that depends on the block
/// size alone: slices of rows one after another, and the slices by halves.
template <class X>
GRAMSTEP_BODY void add_columns(const X& x, PlanSums& room, const double* from, std::int32_t rows,
                               std::int64_t stride, int columns, double* out) {
  const int most = columns < x.threads() ? x.threads() / columns : 1;
  int slices = rows < 1 ? 1 : rows < most ? rows : most;
  const int height = (rows + slices - 1) / slices;
  for (int t = x.thread(); t < columns * slices; t += x.threads()) {
    const int column = t % columns, first = t / columns * height;
    const int count = first + height < rows ? height : rows - first;
    const double* at = from + first * stride + column;
    double sum = 0;
    GRAMSTEP_UNROLL_BY(8)  // loads on their way: the sum is a chain
    for (int r = 0; r < count; ++r) sum += at[r * stride];
    if (slices == 1)
      out[column] = sum;
    else
      room[t] = sum;
  }
  x.sync();
  if (slices == 1) return;
  while (slices > 1) {
    const int half = (slices + 1) / 2;
    if (x.thread() < (slices - half) * columns) {
      room[x.thread()] += room[half * columns + x.thread()];
    }
    slices = half;
    x.sync();
  }
  if (x.thread() < columns) out[x.thread()] = room[x.thread()];
  x.sync();
}

/// The sum of term(e) over [0, count), the same for every thread. The block is a power of two.
template <class X, class Term>
GRAMSTEP_BODY double block_total(const X& x, PlanSums& room, std::int64_t count, const Term& term) {
  double sum = 0;
  for (std::int64_t e = x.thread(); e < count; e += x.threads()) sum += term(e);
  room[x.thread()] = sum;
  int terms = 1;  // that there are, or more: the rest is zeros
  while (terms < x.threads() && terms < count) terms *= 2;
  for (int half = terms / 2; half > 0; half /= 2) {
    x.sync();
    if (x.thread() < half) room[x.thread()] += room[x.thread() + half];
  }
  x.sync();
  const double total = room[0];
  x.sync();
  return total;
}

/// G [K, K] = scale^2 * the sum of the partials; sums: [pairs] of scratch. Ends with a barrier.
template <class X>
GRAMSTEP_BODY void collect_gram(const X& x, PlanSums& room, const Partials& partials, int tasks,
                                double scale, double* sums, double* gram) {
  const int pairs = pairs_of(tasks);
  add_columns(x, room, partials.first, (partials.spans + partials.fold - 1) / partials.fold,
              std::int64_t{partials.fold} * pairs, pairs, sums);
  for (int e = x.thread(); e < tasks * tasks; e += x.threads()) {
    const int i = e / tasks, j = e % tasks;
    gram[e] = sums[i < j ? pair_index(i, j, tasks) : pair_index(j, i, tasks)] * scale * scale;
  }
  x.sync();
}

/// One projection: its Gram matrix and its weights.
template <class Aggregator>
struct ProjectionPlan {
  const PlanArguments& a;
  const Aggregator& aggregator;
  std::int64_t projection;
  double* near = nullptr;  // [near_size] of faster memory to work in, where there is any

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, PlanSums& room) const {
    if (a.look) collect(x, room);
    read_losses(x, a.losses, tasks(), losses());
    x.sync();
    const bool solvable = losses_valid(losses(), tasks(), a.losses) && (!a.checks || finite());
    if (solvable) {
      solve(x);
    } else {
      leave_alone(x);
    }
    x.sync();
  }

 private:
  GRAMSTEP_BODY int tasks() const { return a.shape.tasks; }
  GRAMSTEP_BODY double* gram() const { return a.memory.gram + projection * tasks() * tasks(); }
  GRAMSTEP_BODY double* weights() const { return a.memory.weights + projection * tasks(); }
  GRAMSTEP_BODY double* scratch() const { return a.scratch + projection * a.scratch_stride; }
  GRAMSTEP_BODY double* losses() const { return scratch() + pairs_of(tasks()) + 1; }
  GRAMSTEP_BODY double* state_in(int buffer) const {
    return a.memory.state + (buffer * a.shape.projections + projection) * a.shape.state;
  }

  /// G from the partials, unscaled.
  template <class X>
  GRAMSTEP_BODY void collect(const X& x, PlanSums& room) const {
    const std::int32_t first = a.work.projection_spans[projection];
    const std::int32_t last = a.work.projection_spans[projection + 1];
    const double scale = a.unscaled ? 1.0 : 1.0 / a.scaling.loss_scale(*a.state);
    const double* own = a.partials + std::int64_t{first} * pairs_of(tasks());
    collect_gram(x, room, {own, last - first, a.fold}, tasks(), scale, scratch(), gram());
  }

  /// A NaN or an infinity anywhere in a row makes its square on G's diagonal not finite.
  GRAMSTEP_BODY bool finite() const {
    bool finite = true;
    for (int i = 0; i < tasks(); ++i) finite = finite && is_finite(gram()[i * tasks() + i]);
    return finite;
  }

  /// No weights, and the state as it was.
  template <class X>
  GRAMSTEP_BODY void leave_alone(const X& x) const {
    const int current = current_buffer(*a.state);
    const double* state = state_in(current);
    double* next_state = state_in(1 - current);
    for (int i = x.thread(); i < tasks(); i += x.threads()) weights()[i] = NAN;
    for (std::int64_t e = x.thread(); e < a.shape.state; e += x.threads()) next_state[e] = state[e];
  }

  template <class X>
  GRAMSTEP_BODY void solve(const X& x) const {
    if constexpr (aggregators::Elementwise<Aggregator>) {
      leave_alone(x);
    } else {
      const int current = current_buffer(*a.state);
      const std::int64_t step = a.state->steps + 1;
      const double* state = state_in(current);
      double* next_state = state_in(1 - current);
      GramProblem problem{tasks(),    gram(), losses(),   step,
                          projection, state,  next_state, scratch() + plan_scratch(tasks())};
      const std::int64_t squares = std::int64_t{tasks()} * tasks();
      const std::int64_t room = a.scratch_stride - plan_scratch(tasks());
      Solution solution;
      // Two calls, so that a device knows of each what memory it works in: addresses in shared memory
      // are half as long, and were half of a small solve's instructions.
      if (near != nullptr && squares + tasks() + room <= near_size) {
        for (std::int64_t e = x.thread(); e < squares; e += x.threads()) near[e] = gram()[e];
        double* w = near + squares;
        problem.gram = near;
        problem.scratch = w + tasks();
        x.sync();
        solution = aggregator.weights(x, problem, w);
        x.sync();
        for (int i = x.thread(); i < tasks(); i += x.threads()) weights()[i] = w[i];
      } else {
        solution = aggregator.weights(x, problem, weights());
        x.sync();
      }
      if (x.thread() == 0) a.memory.solutions[projection] = solution;
      if (a.smoothing > 0) smooth(x, step, state, next_state);
    }
  }

  /// CR-MOGM: w = alpha w_before + (1 - alpha) w, kept behind the aggregator's own state.
  template <class X>
  GRAMSTEP_BODY void smooth(const X& x, std::int64_t step, const double* state,
                            double* next_state) const {
    const std::int64_t behind = a.shape.state - tasks();
    for (int i = x.thread(); i < tasks(); i += x.threads()) {
      double& w = weights()[i];
      if (step > 1) w = a.smoothing * state[behind + i] + (1 - a.smoothing) * w;
      next_state[behind + i] = w;
    }
  }
};

}  // namespace gramstep::kernels
