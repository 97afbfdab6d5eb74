// The step's decision, the second part of the plan: whether to skip, the clip by global norm
// (||d||^2 = w^T G w: no pass over memory), the schedule, the counts, each segment's scalars, the loss
// scale. No power, logarithm or cosine is left to libm, so that CPU and GPU agree to the last bit on
// whatever does not depend on the Gram matrix.
#pragma once

#include "kernels/plan.hpp"

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

/// The whole step: skip, clip, counts, scalars, what is added up for the report's means.
struct StepDecision {
  const PlanArguments& a;

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, PlanSums& room) const {
    if (a.look) collect_heads(x, room);
    const bool skip = skips(x, room);
    const double clip = a.look ? clip_coefficient(x, room) : 1.0;
    if (a.look && !skip) add_to_totals(x, room);
    if (!skip) {
      controls().rule.visit([&](const auto& rule) { segment_scalars(x, rule); });
    }
    const double scale = clip / a.scaling.loss_scale(*a.state);
    x.sync();  // everyone has read the state that is written now
    write_plan(x, skip, clip, scale);
  }

 private:
  GRAMSTEP_BODY int tasks() const { return a.shape.tasks; }
  GRAMSTEP_BODY const Controls& controls() const { return a.state->controls; }
  GRAMSTEP_BODY std::int64_t rows() const {
    return std::int64_t{a.shape.projections} * a.shape.tasks;
  }
  /// Of all Gram matrices. Threads take entries, not rows: a cosine is two roots and two quotients.
  GRAMSTEP_BODY std::int64_t entries() const { return rows() * a.shape.tasks; }

  /// Where an entry is: at (i, j) of the matrix whose first row that is.
  struct Entry {
    std::int64_t first_row;
    int i, j;
  };
  /// Of 32 bits: divisions of 64 are functions, and as many entries would be 32 GiB.
  GRAMSTEP_BODY Entry entry(std::int64_t e) const {
    const auto entry = static_cast<std::uint32_t>(e), k = static_cast<std::uint32_t>(tasks());
    const std::uint32_t row = entry / k, matrix = row / k;
    return {std::int64_t{matrix * k}, static_cast<int>(row - matrix * k),
            static_cast<int>(entry - row * k)};
  }

  template <class X>
  GRAMSTEP_BODY void collect_heads(const X& x, PlanSums& room) const {
    const double* heads = a.partials + std::int64_t{a.work.shared_spans} * pairs_of(tasks());
    add_columns(x, room, heads, a.work.head_spans, 1, 1, a.scratch);
    const double scale = 1.0 / a.scaling.loss_scale(*a.state);
    if (x.thread() == 0) a.state->findings.heads_squared = a.scratch[0] * scale * scale;
    x.sync();
  }

  /// Whether a gradient is not finite, or a loss or a scale not what can be used.
  template <class X>
  GRAMSTEP_BODY bool skips(const X& x, PlanSums& room) const {
    if (!losses_valid(a.scratch + pairs_of(tasks()) + 1, tasks(), a.losses)) return true;
    if (a.scaling.forbids()) return true;
    if (!a.checks) return false;
    const double bad = block_total(x, room, rows(), [&](std::int64_t row) {
      const bool finite = is_finite(a.memory.gram[row * tasks() + row % tasks()]);
      // The update multiplies in fp32. NaN stands for no weight at all.
      const bool fits = !(fabs(a.memory.weights[row]) > largest_weight);
      return finite && fits ? 0.0 : 1.0;
    });
    return bad > 0 || !is_finite(a.state->findings.heads_squared);
  }

  /// min(1, clip_norm / (norm + 1e-6)) as torch.nn.utils.clip_grad_norm_, norm^2 = w^T G w + heads.
  template <class X>
  GRAMSTEP_BODY double clip_coefficient(const X& x, PlanSums& room) const {
    Findings& found = a.state->findings;
    const double squared = block_total(x, room, entries(), [&](std::int64_t e) {
      const Entry at = entry(e);
      const double* w = a.memory.weights + at.first_row;
      return a.memory.gram[e] * w[at.i] * w[at.j];
    });
    // Rounding may leave a sum that cancels a little below zero.
    const double norm = sqrt((squared < 0 ? 0.0 : squared) + found.heads_squared);
    const double clip_norm = controls().clip_norm, ratio = clip_norm / (norm + 1e-6);
    // A norm that is not finite comes through, but only where a clip was asked for.
    const double clip = !is_finite(clip_norm) || ratio >= 1.0 ? 1.0 : ratio;
    if (x.thread() == 0) {
      found.norm = norm;
      found.clip = clip;
    }
    return clip;
  }

  /// G_ij / (n_i n_j), 0 beside a zero row. Divided twice: n_i n_j may leave the range of double.
  GRAMSTEP_BODY double cosine(const Entry& at) const {
    const double* g = a.memory.gram + at.first_row * tasks();
    const double ni = sqrt(g[at.i * tasks() + at.i]), nj = sqrt(g[at.j * tasks() + at.j]);
    if (ni == 0 || nj == 0) return 0.0;
    return at.i == at.j ? 1.0 : g[at.i * tasks() + at.j] / ni / nj;
  }

  template <class X>
  GRAMSTEP_BODY void add_to_totals(const X& x, PlanSums& room) const {
    const double conflicts = block_total(x, room, entries(), [&](std::int64_t e) {
      const Entry at = entry(e);
      const double c = cosine(at);
      a.memory.cosine_sums[e] += c;
      return at.j > at.i && c < 0 ? 1.0 : 0.0;
    });
    for (std::int64_t row = x.thread(); row < rows(); row += x.threads()) {
      a.memory.weight_sums[row] += a.memory.weights[row];
    }
    for (int p = x.thread(); p < a.shape.projections; p += x.threads()) {
      a.memory.kept_sums[p] += a.memory.solutions[p].residual <= a.tolerance ? 1.0 : 0.0;
    }
    if (x.thread() != 0) return;
    const double pairs = static_cast<double>(a.shape.projections) * tasks() * (tasks() - 1) / 2;
    a.state->totals.steps += 1;
    a.state->totals.conflict_rate += pairs > 0 ? conflicts / pairs : 0.0;
  }

  /// What a rule is told of the segments of a group that took t steps.
  template <class Rule>
  GRAMSTEP_BODY RuleInput input_of(const Rule& rule, const GroupSettings& group, std::int64_t t,
                                   bool matrix) const {
    const Scheduled now = scheduled(controls(), a.state->steps, rule.lr * group.lr_scale);
    const bool own = group.weight_decay == group.weight_decay;
    return {now.lr, own ? group.weight_decay : rule.weight_decay, t, matrix, now.momentum};
  }

  /// Counts the step of every active segment and writes the scalars of its rule.
  template <class X, class Rule>
  GRAMSTEP_BODY void segment_scalars(const X& x, const Rule& rule) const {
    // Segments mostly share their group and step count, and so their scalars: a thread works them out
    // only where they change. Neighbours go to neighbouring threads, whose accesses meet in a line.
    constexpr int kept = rules::segment_states<Rule>;
    RuleInput input{};
    int group = -1;
    double before[rules::max_segment_states] = {}, after[rules::max_segment_states] = {};
    decltype(rules::scalars(rule, input, after)) scalars{};
    for (int s = x.thread(); s < a.segment_count; s += x.threads()) {
      SegmentState& segment = a.segments[s];
      if (!segment.active) continue;
      const std::int64_t t = ++segment.steps;
      const bool matrix = segment.matrix != 0;
      bool same = segment.group == group && t == input.t && matrix == input.matrix;
      for (int i = 0; i < kept; ++i) same = same && segment.kept[i] == before[i];
      if (!same) {
        group = segment.group;
        input = input_of(rule, a.groups[group], t, matrix);
        for (int i = 0; i < kept; ++i) before[i] = after[i] = segment.kept[i];
        scalars = rules::scalars(rule, input, after);
      }
      const std::int32_t maximize = a.groups[group].maximize;
      segment.sign = (maximize < 0 ? rule.maximize : maximize != 0) ? -1.0f : 1.0f;
      for (int i = 0; i < kept; ++i) segment.kept[i] = after[i];
      segment.put(scalars);
    }
  }

  template <class X>
  GRAMSTEP_BODY void write_plan(const X& x, bool skip, double clip, double scale) const {
    StepState& state = *a.state;
    for (std::int64_t row = x.thread(); row < rows(); row += x.threads()) {
      a.memory.applied[row] =
          static_cast<float>(a.memory.weights[row] * (a.unscaled ? clip : scale));
    }
    if (x.thread() != 0) return;
    state.plan = {static_cast<float>(scale), skip, state.steps + (skip ? 0 : 1)};
    double lr = 0;
    controls().rule.visit([&](const auto& rule) { lr = rule.lr; });
    state.findings.lr = scheduled(controls(), state.steps, lr).lr;
    (skip ? state.skipped_steps : state.steps) += 1;
    if (a.scaling.grad_scale == nullptr) adapt(state.loss_scale, skip);
  }

  /// As torch.amp.GradScaler.update: in fp32, and no growth beyond its numbers.
  GRAMSTEP_BODY static void adapt(LossScale& scale, bool skip) {
    if (!scale.adapts) return;
    scale.good_steps = skip ? 0 : scale.good_steps + 1;
    double factor = skip ? scale.dynamic.backoff_factor : 1.0;
    if (scale.good_steps >= scale.dynamic.growth_interval) {
      scale.good_steps = 0;
      factor = scale.dynamic.growth_factor;
    }
    const float next = static_cast<float>(scale.value * factor);
    if (!is_finite(static_cast<double>(next)) || next == 0) return;
    scale.value = static_cast<double>(next);
    scale.published = next;
  }
};

/// The decision, compiled once a source and called: a plan kernel an aggregator would each have every
/// rule's scalars in it.
template <class X>
GRAMSTEP_OUTLINED void decide(const X& x, const PlanArguments& a, PlanSums& room) {
  StepDecision{a}(x, room);
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
  };

  template <class X>
  GRAMSTEP_BODY void prefetch(const X& x) const {
    if (decides) prefetch_plan(x, a);
  }

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    ProjectionPlan<Aggregator>{a, aggregator, x.block(), shared.near}(x, shared.sums);
    if (decides) decide(x, a, shared.sums);
  }
};

/// One block: the decision after several projections.
struct DecisionBody {
  static constexpr int threads = plan_threads;
  PlanArguments a;

  struct Shared {
    PlanSums sums;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    decide(x, a, shared.sums);
  }
};

}  // namespace gramstep::kernels
