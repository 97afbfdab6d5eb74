// The plan stage: the one place where a step is decided. K x K numbers, in double.
//
// A block a projection sums the partials of its Gram matrix, divides out the loss scale and lets the
// aggregator choose weights (ProjectionPlan). Then one block decides the step (StepDecision, in
// decision.hpp): in the same launch where there is one projection, in another where there are several.
#pragma once

#include <cmath>

#include "gramstep/aggregators/traits.hpp"
#include "gramstep/solvers/pivot.hpp"
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

/// Doubles of scratch of the plan's own: losses.
GRAMSTEP_BOTH constexpr std::int64_t plan_scratch(int tasks) { return tasks; }

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

/// The sum of every `step`th of so many rows, from the first on; `stride`: from one of them to the next.
GRAMSTEP_BODY double sum_of_rows(const double* at, std::int32_t rows, std::int32_t step,
                                 std::int64_t stride) {
  constexpr int together = 8;  // loads on their way: the sum is a chain
  double sum = 0;
  GRAMSTEP_ROLLED
  for (; rows > 0; rows -= together * step) {
    double terms[together];
    GRAMSTEP_UNROLL
    for (int i = 0; i < together; ++i) {
      terms[i] = i * step < rows ? *at : 0.0;
      at += stride;
    }
    GRAMSTEP_UNROLL
    for (int i = 0; i < together; ++i) sum += terms[i];
  }
  return sum;
}

/// The sum over slices of every 2^shift threads, in each thread of the first: eight slices at a time. Between
/// call and answer is a barrier.
template <class X>
GRAMSTEP_BODY double add_slices(const X& x, PlanSums& room, int shift, double sum) {
  room[x.thread()] = sum;
  x.sync();
  GRAMSTEP_ROLLED
  for (int left = x.threads() >> shift; left > 1;) {
    const int taken = left < 8 ? left : 8;
    left /= taken;
    if (x.thread() >> shift < left) {
      GRAMSTEP_ROLLED
      for (int i = 1; i < taken; ++i) sum += room[x.thread() + ((i * left) << shift)];
      room[x.thread()] = sum;
    }
    if (left > 1) x.sync();
  }
  return sum;
}

/// Calls give(c, sum) with the sum of every column over all rows, which are `stride` apart, each by one thread,
/// from its first column up, and after a barrier. The order of a sum depends on the block size alone: slices of
/// every so many rows, a power of two of them, for a quotient of integers takes as long as a load.
template <class X, class Give>
GRAMSTEP_BODY void add_columns(const X& x, PlanSums& room, const double* from, std::int32_t rows,
                               std::int64_t stride, int columns, const Give& give) {
  int shift = 0;  // of the threads that a slice takes
  GRAMSTEP_ROLLED
  while (1 << shift < columns && 1 << shift < x.threads()) ++shift;
  const int slices = x.threads() >> shift, slice = x.thread() >> shift;
  const int own = x.thread() - (slice << shift);
  GRAMSTEP_ROLLED
  for (int first = 0; first < columns; first += 1 << shift) {
    const int c = first + own;
    double sum = 0;
    if (c < columns) {
      sum = sum_of_rows(from + slice * stride + c, rows - slice, slices, slices * stride);
    }
    sum = add_slices(x, room, shift, sum);
    if (slice == 0 && c < columns) give(c, sum);
  }
}

/// Makes a thread's terms the sums over the block, the same for every thread. To be called once between two
/// barriers of the caller's.
template <int Count, class X>
GRAMSTEP_BODY void block_totals(const X& x, PlanSums& room, double (&terms)[Count]) {
  static_assert(Count * plan_threads / 32 <= plan_threads);
  GRAMSTEP_UNROLL
  for (int n = 0; n < Count; ++n) terms[n] = x.warp_sum(terms[n]);
  if (x.thread() % 32 == 0) {
    GRAMSTEP_UNROLL
    for (int n = 0; n < Count; ++n) room[x.warp() * Count + n] = terms[n];
  }
  x.sync();
  const int warps = x.threads() < 32 ? 1 : x.threads() / 32;
  GRAMSTEP_UNROLL
  for (int n = 0; n < Count; ++n) {
    terms[n] = 0;
    GRAMSTEP_UNROLL
    for (int warp = 0; warp < plan_threads / 32; ++warp) {
      terms[n] += warp < warps ? room[warp * Count + n] : 0.0;
    }
  }
}

/// G [K, K] = scale()^2 * the sum of the partials; the same to `near`, where there is such a copy. scale() is
/// called after a barrier; none at the end.
template <class X, class Scale>
GRAMSTEP_BODY void collect_gram(const X& x, PlanSums& room, const Partials& partials, int tasks,
                                const Scale& scale, double* gram, double* near = nullptr) {
  const int pairs = pairs_of(tasks);
  const std::int32_t fold = partials.fold;
  const std::int32_t rows = fold == 1 ? partials.spans : (partials.spans + fold - 1) / fold;
  int i = 0, diagonal = 0;  // the row of a pair, and where it begins: pairs come in their order
  add_columns(x, room, partials.first, rows, std::int64_t{partials.fold} * pairs, pairs,
              [&](int pair, double sum) {
                for (; pair >= diagonal + tasks - i; ++i) diagonal += tasks - i;
                const int j = i + pair - diagonal;
                const double by = scale(), product = sum * by * by;
                gram[i * tasks + j] = gram[j * tasks + i] = product;
                if (near != nullptr) near[i * tasks + j] = near[j * tasks + i] = product;
              });
}

/// Where G and the weights of a projection are: nearest to who works with them next.
struct Chosen {
  const double* gram;
  const double* weights;
};

/// One projection: its Gram matrix and its weights.
template <class Aggregator>
struct ProjectionPlan {
  const PlanArguments& a;
  const Aggregator& aggregator;
  std::int64_t projection;
  const StepState& state;               // as the first barrier shows it
  const std::int32_t* holds = nullptr;  // whether what was prepared does
  double* near = nullptr;  // [near_size] of faster memory to work in, where there is any

  /// What the aggregator can do ahead of the gradients, where there is faster memory: the launches before this
  /// one have their own in the slower. Ends with a barrier.
  template <class X>
  GRAMSTEP_BODY void prepare(const X& x) const {
    if constexpr (aggregators::Prepared<Aggregator, X>) {
      if (is_near()) aggregator.prepare(x, near_problem());
      x.sync();
    }
  }

  /// Ends with a barrier.
  template <class X>
  GRAMSTEP_BODY Chosen operator()(const X& x, PlanSums& room) const {
    if (a.look) {
      collect(x, room);
    } else {
      bring_near(x);
    }
    read_losses(x, a.losses, tasks(), losses());
    x.sync();
    const bool solvable = losses_valid(losses(), tasks(), a.losses) && (!a.checks || finite());
    if (solvable) {
      solve(x);
    } else {
      leave_alone(x);
    }
    x.sync();
    return {near_gram(), near_weights()};
  }

 private:
  GRAMSTEP_BODY int tasks() const { return a.shape.tasks; }
  GRAMSTEP_BODY std::int64_t squares() const { return std::int64_t{tasks()} * tasks(); }
  GRAMSTEP_BODY double* gram() const { return a.memory.gram + projection * squares(); }
  GRAMSTEP_BODY double* weights() const { return a.memory.weights + projection * tasks(); }
  GRAMSTEP_BODY double* losses() const { return a.scratch + projection * a.scratch_stride; }
  GRAMSTEP_BODY double* scratch() const { return losses() + plan_scratch(tasks()); }
  GRAMSTEP_BODY double* state_in(int buffer) const {
    return a.memory.state + (buffer * a.shape.projections + projection) * a.shape.state;
  }

  /// Whether G, the weights and the aggregator's scratch fit into faster memory, in that order.
  GRAMSTEP_BODY bool is_near() const {
    return near != nullptr &&
           squares() + tasks() + a.scratch_stride - plan_scratch(tasks()) <= near_size;
  }
  GRAMSTEP_BODY double* near_gram() const { return is_near() ? near : gram(); }
  GRAMSTEP_BODY double* near_weights() const { return is_near() ? near + squares() : weights(); }

  /// G from the partials, unscaled.
  template <class X>
  GRAMSTEP_BODY void collect(const X& x, PlanSums& room) const {
    const bool one = a.shape.projections == 1;
    const std::int32_t first = one ? 0 : a.work.projection_spans[projection];
    const std::int32_t last = one ? a.work.shared_spans : a.work.projection_spans[projection + 1];
    const double* own = a.partials + std::int64_t{first} * pairs_of(tasks());
    const auto scale = [&] { return a.unscaled ? 1.0 : 1.0 / a.scaling.loss_scale(state); };
    collect_gram(x, room, {own, last - first, a.fold}, tasks(), scale, gram(),
                 is_near() ? near : nullptr);
  }

  /// G as it was given.
  template <class X>
  GRAMSTEP_BODY void bring_near(const X& x) const {
    if (!is_near()) return;
    GRAMSTEP_ROLLED
    for (std::int64_t e = x.thread(); e < squares(); e += x.threads()) near[e] = gram()[e];
  }

  /// A NaN or an infinity anywhere in a row makes its square on G's diagonal not finite.
  GRAMSTEP_BODY bool finite() const {
    const double* g = near_gram();
    bool finite = true;
    GRAMSTEP_ROLLED
    for (int i = 0; i < tasks(); ++i) finite = finite && is_finite(g[i * tasks() + i]);
    return finite;
  }

  /// No weights, and the state as it was.
  template <class X>
  GRAMSTEP_BODY void leave_alone(const X& x) const {
    const int current = current_buffer(state);
    const double* before = state_in(current);
    double* after = state_in(1 - current);
    GRAMSTEP_ROLLED
    for (int i = x.thread(); i < tasks(); i += x.threads()) weights()[i] = near_weights()[i] = NAN;
    GRAMSTEP_ROLLED
    for (std::int64_t e = x.thread(); e < a.shape.state; e += x.threads()) after[e] = before[e];
  }

  template <class X>
  GRAMSTEP_BODY void solve(const X& x) const {
    if constexpr (aggregators::Elementwise<Aggregator>) {
      leave_alone(x);
    } else {
      Solution solution;
      // Two calls, so that a device knows of each what memory it works in: addresses in shared memory
      // are half as long, and were half of a small solve's instructions.
      if (is_near()) {
        GramProblem problem = near_problem();
        problem.prepared = holds != nullptr && *holds != 0;
        solution = aggregator.weights(x, problem, near + squares());
      } else {
        solution = aggregator.weights(x, problem_in(gram(), scratch()), weights());
      }
      x.sync();
      if (x.thread() == 0) a.memory.solutions[projection] = solution;
      keep_weights(x);
    }
  }

  GRAMSTEP_BODY GramProblem problem_in(const double* g, double* room) const {
    const int current = current_buffer(state);
    return {tasks(),
            g,
            losses(),
            state.steps + 1,
            projection,
            state_in(current),
            state_in(1 - current),
            room,
            false};
  }
  GRAMSTEP_BODY GramProblem near_problem() const {
    return problem_in(near, near + squares() + tasks());
  }

  /// The weights, smoothed where that is asked for. CR-MOGM: w = alpha w_before + (1 - alpha) w, kept behind
  /// the aggregator's own state.
  template <class X>
  GRAMSTEP_BODY void keep_weights(const X& x) const {
    const GramProblem problem = problem_in(gram(), scratch());
    const std::int64_t behind = a.shape.state - tasks();
    GRAMSTEP_ROLLED
    for (int i = x.thread(); i < tasks(); i += x.threads()) {
      double& w = near_weights()[i];
      if (a.smoothing > 0) {
        if (problem.step > 1) w = a.smoothing * problem.state[behind + i] + (1 - a.smoothing) * w;
        problem.next_state[behind + i] = w;
      }
      weights()[i] = w;
    }
  }
};

}  // namespace gramstep::kernels
