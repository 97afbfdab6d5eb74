// The step's decision, the second part of the plan: whether to skip, the clip by global norm
// (||d||^2 = w^T G w: no pass over memory), the counts, each segment's scalars, the loss scale.
#pragma once

#include "kernels/ahead.hpp"

namespace gramstep::kernels {

/// The whole step: skip, clip, counts, scalars, what is added up for the report's means.
struct StepDecision {
  const PlanArguments& a;
  const Ahead& ahead;
  Chosen chosen;  // of all projections

  /// After a barrier. One barrier: what is written to memory is not read again.
  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, PlanSums& room) const {
    const Seen seen = look(x, room);
    const bool skip = skips(seen);
    const double clip = a.look ? clip_coefficient(x, seen) : 1.0;
    if (!skip) count_segments(x);
    write_plan(x, skip, clip);
    if (a.look && !skip) add_to_totals(x, seen.conflicts);
  }

 private:
  GRAMSTEP_BODY int tasks() const { return a.shape.tasks; }
  GRAMSTEP_BODY const StepState& state() const { return ahead.state(); }
  GRAMSTEP_BODY std::int64_t rows() const {
    return std::int64_t{a.shape.projections} * a.shape.tasks;
  }

  /// What is summed up over all entries of all Gram matrices.
  struct Seen {
    double bad;  // rows and weights that cannot be used
    double squared_norm;
    double conflicts;
    double heads_squared;
  };

  /// An entry of a Gram matrix, (i, j) of the matrix whose first row that is.
  struct Entry {
    std::int64_t first_row;
    int i, j;
  };
  /// Calls function(entry) for all entries, shared out over the block: threads take entries, not rows, for a
  /// cosine is two roots and two quotients. A row takes a power of two of the threads.
  template <class X, class Function>
  GRAMSTEP_BODY void for_entries(const X& x, const Function& function) const {
    const int shift = solvers::row_shift(tasks());
    GRAMSTEP_ROLLED
    for (std::int64_t e = x.thread(); e < rows() << shift; e += x.threads()) {
      const auto row = static_cast<std::uint32_t>(e >> shift);
      const std::uint32_t k = static_cast<std::uint32_t>(tasks());
      // A quotient takes as long as a load.
      const std::uint32_t first = a.shape.projections == 1 ? 0 : row / k * k;
      const int j = static_cast<int>(e - (std::int64_t{row} << shift));
      if (j < tasks()) function(Entry{first, static_cast<int>(row - first), j});
    }
  }
  GRAMSTEP_BODY const double* gram_of(const Entry& at) const {
    return chosen.gram + at.first_row * tasks();
  }

  template <class X>
  GRAMSTEP_BODY Seen look(const X& x, PlanSums& room) const {
    double sums[4] = {};
    if (a.look || a.checks) {
      for_entries(x, [&](const Entry& at) {
        const double* g = gram_of(at);
        const double* w = chosen.weights + at.first_row;
        const double own = g[at.i * tasks() + at.i], product = g[at.i * tasks() + at.j];
        // The update multiplies in fp32. NaN stands for no weight at all.
        const bool fits = !(fabs(w[at.i]) > largest_weight);
        if (at.i == at.j && !(is_finite(own) && fits)) sums[0] += 1.0;
        sums[1] += product * w[at.i] * w[at.j];
        const bool lengths = own != 0 && g[at.j * tasks() + at.j] != 0;
        if (at.j > at.i && product < 0 && lengths) sums[2] += 1.0;
      });
    }
    const double* heads = a.partials + std::int64_t{a.work.shared_spans} * pairs_of(tasks());
    if (a.look) {
      sums[3] =
          sum_of_rows(heads + x.thread(), a.work.head_spans - x.thread(), x.threads(), x.threads());
    }
    block_totals(x, room, sums);
    const double scale = 1.0 / a.scaling.loss_scale(state());
    return {sums[0], sums[1], sums[2],
            a.look ? sums[3] * scale * scale : state().findings.heads_squared};
  }

  /// Whether a gradient is not finite, or a loss or a scale not what can be used.
  GRAMSTEP_BODY bool skips(const Seen& seen) const {
    if (!losses_valid(a.scratch, tasks(), a.losses)) return true;
    if (a.scaling.forbids()) return true;
    return a.checks && (seen.bad > 0 || !is_finite(seen.heads_squared));
  }

  /// min(1, clip_norm / (norm + 1e-6)) as torch.nn.utils.clip_grad_norm_, norm^2 = w^T G w + heads.
  template <class X>
  GRAMSTEP_BODY double clip_coefficient(const X& x, const Seen& seen) const {
    // Rounding may leave a sum that cancels a little below zero.
    const double squared = seen.squared_norm < 0 ? 0.0 : seen.squared_norm;
    const double norm = sqrt(squared + seen.heads_squared);
    const double clip_norm = state().controls.clip_norm;
    double clip = 1.0;
    // A norm that is not finite comes through, but only where a clip was asked for.
    if (is_finite(clip_norm)) {
      const double ratio = clip_norm / (norm + 1e-6);
      clip = ratio >= 1.0 ? 1.0 : ratio;
    }
    if (x.thread() == 0) {
      Findings& found = a.state->findings;
      found.heads_squared = seen.heads_squared;
      found.norm = norm;
      found.clip = clip;
    }
    return clip;
  }

  /// G_ij / (n_i n_j), 0 beside a zero row. Divided twice: n_i n_j may leave the range of double.
  GRAMSTEP_BODY double cosine(const Entry& at) const {
    const double* g = gram_of(at);
    const double ni = sqrt(g[at.i * tasks() + at.i]), nj = sqrt(g[at.j * tasks() + at.j]);
    if (ni == 0 || nj == 0) return 0.0;
    return at.i == at.j ? 1.0 : g[at.i * tasks() + at.j] / ni / nj;
  }

  /// On warps that have little else to do in a small step, each waiting for what it adds to.
  template <class X>
  GRAMSTEP_BODY void add_to_totals(const X& x, double conflicts) const {
    for_entries(solvers::FromLast<X>{x}, [&](const Entry& at) {
      double& sum = a.memory.cosine_sums[(at.first_row + at.i) * tasks() + at.j];
      const double before = sum;
      sum = before + cosine(at);
    });
    const int turned = x.thread() ^ x.threads() / 2;
    GRAMSTEP_ROLLED
    for (std::int64_t row = turned; row < rows(); row += x.threads()) {
      a.memory.weight_sums[row] += chosen.weights[row];
    }
    GRAMSTEP_ROLLED
    for (int p = turned ^ x.threads() / 4; p < a.shape.projections; p += x.threads()) {
      const double before = a.memory.kept_sums[p];
      a.memory.kept_sums[p] = before + (a.memory.solutions[p].residual <= a.tolerance ? 1.0 : 0.0);
    }
    if (x.thread() != x.threads() / 8) return;
    const double pairs = static_cast<double>(a.shape.projections) * tasks() * (tasks() - 1) / 2;
    const Totals& before = state().totals;
    const double rate = pairs > 0 ? conflicts / pairs : 0.0;
    a.state->totals = {before.steps + 1, before.conflict_rate + rate};
  }

  /// Counts the step of every active segment and writes the scalars of its rule. Segments mostly share their
  /// group and step count, and so their scalars: a thread works them out only where they change. Neighbours go
  /// to neighbouring threads, whose accesses meet in a line.
  template <class X>
  GRAMSTEP_BODY void count_segments(const X& x) const {
    SegmentScalars own{};
    own.group = -1;
    const SegmentScalars* known = &own;
    if (ahead.holds != 0) known = ahead.scalars + (x.thread() < ahead.segments ? x.thread() : 0);
    GRAMSTEP_ROLLED
    for (int s = x.thread(); s < a.segment_count; s += x.threads()) {
      SegmentState& segment = a.segments[s];
      const bool same = known->answer(segment);
      if (!segment.active) continue;
      if (!same) {
        own.ask(segment);
        work_out(state().controls, state().steps, a.groups, own);
        known = &own;
      }
      known->give(segment);
    }
  }

  template <class X>
  GRAMSTEP_BODY void write_plan(const X& x, bool skip, double clip) const {
    const double scale = clip / a.scaling.loss_scale(state());
    GRAMSTEP_ROLLED
    for (std::int64_t row = x.thread(); row < rows(); row += x.threads()) {
      a.memory.applied[row] = static_cast<float>(chosen.weights[row] * (a.unscaled ? clip : scale));
    }
    if (x.thread() != 0) return;
    StepState& next = *a.state;
    const StepState& now = state();
    next.plan = {static_cast<float>(scale), skip, now.steps + (skip ? 0 : 1)};
    next.findings.lr = ahead.holds != 0 ? ahead.lr : scheduled_lr(now.controls, now.steps);
    next.steps = now.steps + (skip ? 0 : 1);
    next.skipped_steps = now.skipped_steps + (skip ? 1 : 0);
    if (a.scaling.grad_scale == nullptr) adapt(now.loss_scale, skip, next.loss_scale);
  }

  /// As torch.amp.GradScaler.update: in fp32, and no growth beyond its numbers.
  GRAMSTEP_BODY static void adapt(const LossScale& now, bool skip, LossScale& next) {
    if (!now.adapts) return;
    const std::int64_t good = skip ? 0 : now.good_steps + 1;
    const bool grows = good >= now.dynamic.growth_interval;
    next.good_steps = grows ? 0 : good;
    double factor = skip ? now.dynamic.backoff_factor : 1.0;
    if (grows) factor = now.dynamic.growth_factor;
    const float value = static_cast<float>(now.value * factor);
    if (!is_finite(static_cast<double>(value)) || value == 0) return;
    next.value = static_cast<double>(value);
    next.published = value;
  }
};

/// The decision on one thread.
GRAMSTEP_BODY void decide_alone(const PlanArguments& a) {
  PlanSums room;
  Ahead ahead;
  ahead.begin(*a.state);
  StepDecision{a, ahead, {a.memory.gram, a.memory.weights}}(SingleThread{}, room);
}

/// A block a projection; with one projection the same block goes on to decide the step.
template <class Aggregator>
struct PlanBody {
  static constexpr int threads = plan_threads;
  PlanArguments a;
  Aggregator aggregator;
  bool decides;  // there is one projection, and a step to decide

  struct Shared {
    PlanSums sums;
    double near[near_size];
    Ahead ahead;
  };

  template <class X>
  GRAMSTEP_BODY void ahead(const X& x, Shared& shared) const {
    if (decides) prefetch_plan(x, a);
    read_state_early(x, a, shared.ahead);
    plan(x, shared).prepare(x);
    if (decides) foresee(x, a, shared.ahead);
  }

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    catch_up(x, a, shared.ahead);
    const Chosen chosen = plan(x, shared)(x, shared.sums);
    if (decides) StepDecision{a, shared.ahead, chosen}(x, shared.sums);
  }

 private:
  template <class X>
  GRAMSTEP_BODY ProjectionPlan<Aggregator> plan(const X& x, Shared& shared) const {
    const Ahead& ahead = shared.ahead;
    return {a, aggregator, x.block(), ahead.state(), &ahead.holds, shared.near};
  }
};

/// One block: the decision after several projections.
struct DecisionBody {
  static constexpr int threads = plan_threads;
  PlanArguments a;

  struct Shared {
    PlanSums sums;
    Ahead ahead;
  };

  template <class X>
  GRAMSTEP_BODY void ahead(const X& x, Shared& shared) const {
    read_state_early(x, a, shared.ahead);
    foresee(x, a, shared.ahead);
  }

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    catch_up(x, a, shared.ahead);
    x.sync();
    StepDecision{a, shared.ahead, {a.memory.gram, a.memory.weights}}(x, shared.sums);
  }
};

}  // namespace gramstep::kernels
