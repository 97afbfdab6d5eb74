// The plan stage's body, block-parallel under the fiber runner, against the same body on one thread.
#include <cstddef>
#include <limits>
#include <string>

#include "tests/kernels/stage_rig.hpp"

namespace gramstep::test {
namespace {

struct Case {
  const char* name;
  Aggregator aggregator;
  friend std::ostream& operator<<(std::ostream& out, const Case& each) { return out << each.name; }
};

const Case cases[] = {
    {"Sum", Sum{}},
    {"Mean", Mean{}},
    {"PCGrad", PCGrad{.seed = 11}},
    {"PCGradFixedMean", PCGrad{.reduction = Reduction::mean, .order = PCGradOrder::fixed}},
};

/// Sums of the partials differ in their order alone, and a sum of n doubles by n 2^-53 of the sum of
/// magnitudes; conflict and clip magnify that by the conditioning of G, which random rows keep small.
constexpr double relative = 1e-11;

void expect_close(double a, double b) {
  EXPECT_LE(std::fabs(a - b), relative * (std::fabs(a) + std::fabs(b))) << a << " against " << b;
}

class PlanBodyTest : public ::testing::TestWithParam<Case> {
 protected:
  /// A plan over a second step, with one segment that sat out the first.
  StageRig rig(int tasks) const {
    StageRig rig(awkward_layout(tasks), {.rule = AdamW{},
                                         .aggregator = GetParam().aggregator,
                                         .tasks = tasks,
                                         .clip_norm = 0.01,
                                         .loss_scale = 1024});
    rig.run_gram_on_cpu();
    rig.step.steps = 1;
    for (auto& segment : rig.segments) segment.steps = 1;
    rig.segments[2].steps = 0;
    rig.segments[4].active = 0;
    return rig;
  }
};

TEST_P(PlanBodyTest, DecidesAsOneThreadDoes) {
  for (const int tasks : {1, 2, 3, 8, 17, 64}) {
    StageRig one = rig(tasks);
    one.run_plan_on_cpu();
    EXPECT_EQ(one.step.plan.skip, 0);
    EXPECT_LT(one.step.findings.clip, 1.0);
    for (const simt::Launch& order : every_order) {
      StageRig block = rig(tasks);
      block.run_plan<Sum, Mean, PCGrad>(order);
      EXPECT_EQ(block.step.steps, 2);
      EXPECT_EQ(block.step.plan.skip, 0);
      expect_close(block.step.findings.norm, one.step.findings.norm);
      expect_close(block.step.findings.clip, one.step.findings.clip);
      for (int i = 0; i < tasks; ++i) {
        expect_close(block.plan_memory().weights[i], one.plan_memory().weights[i]);
        EXPECT_FLOAT_EQ(block.applied(i), one.applied(i));
      }
      // What does not depend on G agrees to the last bit.
      for (std::size_t s = 0; s < one.segments.size(); ++s) {
        EXPECT_EQ(block.segments[s].steps, one.segments[s].steps);
        EXPECT_EQ(block.segments[s].sign, one.segments[s].sign);
        EXPECT_EQ(
            std::memcmp(&block.segments[s].scalars, &one.segments[s].scalars, sizeof(AdamScalars)),
            0);
      }
    }
  }
}

TEST_P(PlanBodyTest, WorksOnAGramMatrixThatIsGiven) {
  for (const int tasks : {2, 8, 64}) {
    StageRig one = rig(tasks);
    one.run_plan_on_cpu();
    for (const simt::Launch& order : every_order) {
      StageRig block = rig(tasks);
      block.setup.look = false;
      block.step.findings.heads_squared = 0;  // there are none
      std::copy_n(one.plan_memory().gram, tasks * tasks, block.plan_memory().gram);
      block.run_plan<Sum, Mean, PCGrad>(order);
      EXPECT_EQ(block.step.plan.skip, 0);
      for (int i = 0; i < tasks; ++i) {
        EXPECT_EQ(block.plan_memory().weights[i], one.plan_memory().weights[i]);
      }
    }
  }
}

TEST_P(PlanBodyTest, SkipsANonFiniteRowAndCountsNothing) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), infinity}) {
    StageRig block = rig(3);
    const auto segments = block.segments;
    block.partials[static_cast<std::size_t>(kernels::pair_index(1, 1, 3))] = bad;
    block.run_plan<Sum, Mean, PCGrad>({.order = simt::Order::reverse});
    EXPECT_EQ(block.step.plan.skip, 1);
    EXPECT_EQ(block.step.steps, 1);
    EXPECT_EQ(block.step.skipped_steps, 1);
    EXPECT_EQ(
        std::memcmp(block.segments.data(), segments.data(), segments.size() * sizeof(segments[0])),
        0);
  }
}

/// To the last bit; of rules whose scalars are not padded.
void expect_same_segments(const StageRig& one, const StageRig& other) {
  for (std::size_t s = 0; s < one.segments.size(); ++s) {
    SCOPED_TRACE("segment " + std::to_string(s));
    const kernels::SegmentState &a = one.segments[s], &b = other.segments[s];
    EXPECT_EQ(a.steps, b.steps);
    EXPECT_EQ(a.sign, b.sign);
    EXPECT_EQ(std::memcmp(a.kept, b.kept, sizeof a.kept), 0);
    if (a.active == 0) continue;
    EXPECT_EQ(std::memcmp(&a.scalars, &b.scalars, sizeof a.scalars), 0);
  }
}

/// A plan during whose wait the state and a segment change, as setters queued behind the gram stage change them.
struct InterruptedPlan {
  static constexpr int threads = kernels::plan_threads;
  using Shared = kernels::PlanBody<PCGrad>::Shared;
  kernels::PlanBody<PCGrad> plan;
  const kernels::StepState* next;
  kernels::SegmentState segment;

  template <class X>
  void operator()(const X& x, Shared& shared) const {
    plan.ahead(x, shared);
    x.sync();
    if (x.thread() == 0) {
      *plan.a.state = *next;
      plan.a.segments[1] = segment;
    }
    x.sync();
    plan(x, shared);
  }
};

TEST(PlanBody, SeesWhatChangesAfterItWasForeseen) {
  const PCGrad pcgrad{.seed = 11};
  const auto rig = [&] {
    StageRig made(awkward_layout(5),
                  {.rule = AdamW{}, .aggregator = pcgrad, .tasks = 5, .clip_norm = 1.0});
    made.run_gram_on_cpu();
    return made;
  };
  const auto change = [](int which, kernels::StepState& step, kernels::SegmentState& segment) {
    if (which == 1) step.controls.rule = kernels::OneOfT<Rule>(AdamW{.lr = 0.25, .maximize = true});
    if (which == 2) step.steps = 7;  // other orders
    if (which == 3) step.loss_scale.value = 8;
    if (which == 4) step.controls.clip_norm = 1e-3;
    if (which == 5) segment.active = 0;
    if (which == 6) segment.steps = 3;
  };
  for (int which = 0; which < 7; ++which) {
    SCOPED_TRACE(which);
    StageRig before = rig(), late = rig();
    change(which, before.step, before.segments[1]);
    kernels::StepState next = late.step;
    InterruptedPlan body{{late.plan_arguments(), pcgrad, true}, &next, late.segments[1]};
    change(which, next, body.segment);
    before.run_plan<PCGrad>({.order = simt::Order::reverse});
    simt::run({.threads = body.threads, .order = simt::Order::reverse}, body);
    EXPECT_EQ(before.plan, late.plan);
    EXPECT_EQ(before.step.findings.lr, late.step.findings.lr);
    EXPECT_EQ(before.step.findings.clip, late.step.findings.clip);
    EXPECT_EQ(before.step.plan.head_weight, late.step.plan.head_weight);
    EXPECT_EQ(before.step.steps, late.step.steps);
    expect_same_segments(before, late);
  }
}

/// More segments than are foreseen and than a block has threads, of several step counts.
TEST(PlanBody, TellsManySegmentsWhatOneThreadDoes) {
  Layout layout;
  for (int s = 0; s < 300; ++s) layout.add("s" + std::to_string(s), {s % 3 + 1});
  const auto rig = [&] {
    StageRig made(layout, {.rule = NAdam{}, .tasks = 2, .clip_norm = 1.0});
    made.run_gram_on_cpu();
    for (std::size_t s = 0; s < made.segments.size(); ++s) {
      made.segments[s].steps = static_cast<std::int64_t>(s / 7 % 5);
      made.segments[s].kept[0] = s % 11 == 0 ? 0.5 : 0.25;
    }
    return made;
  };
  StageRig one = rig(), block = rig();
  one.run_plan_on_cpu();
  block.run_plan<Sum>({.order = simt::Order::random});
  expect_same_segments(one, block);
}

/// Bytes of a rule's scalars, without what pads them.
std::size_t bytes_of(const SgdScalars&) { return offsetof(SgdScalars, nesterov) + sizeof(bool); }
std::size_t bytes_of(const RAdamScalars&) {
  return offsetof(RAdamScalars, rectified) + sizeof(bool);
}
std::size_t bytes_of(const LAMBScalars&) { return offsetof(LAMBScalars, adapts) + sizeof(bool); }
std::size_t bytes_of(const LARSScalars&) { return offsetof(LARSScalars, nesterov) + sizeof(bool); }
std::size_t bytes_of(const ScheduleFreeScalars&) {
  return offsetof(ScheduleFreeScalars, first) + sizeof(bool);
}
template <class Scalars>
std::size_t bytes_of(const Scalars& all_floats) {
  return sizeof all_floats;
}

/// What every segment is told, by every rule and every schedule: scalars do not depend on G and have the
/// bits of one thread, and so has what the rule keeps.
class DecisionBodyTest : public ::testing::TestWithParam<RuleCase> {
 protected:
  static StageRig rig(const Schedule& schedule, bool warm) {
    StageRig rig(awkward_layout(2), {.rule = GetParam().rule,
                                     .tasks = 2,
                                     .schedule = schedule,
                                     .warmup = {.steps = warm ? 5 : 1},
                                     .loss_scale = 4,
                                     .dynamic_loss_scale = DynamicLossScale{.growth_interval = 4}});
    rig.run_gram_on_cpu();
    rig.step.steps = 3;
    rig.step.loss_scale.good_steps = 3;
    // Neighbours that agree in their step count and not in what they keep, and the reverse.
    for (std::size_t s = 0; s < rig.segments.size(); ++s) {
      rig.segments[s].steps = s < 4 ? 3 : s % 3;
      for (double& kept : rig.segments[s].kept) kept = s % 2 == 0 ? 0.25 : 0.125;
    }
    rig.segments[5].active = 0;
    return rig;
  }

  static void expect_same(const StageRig& block, const StageRig& one) {
    std::size_t bytes = 0;
    const auto measure = [&](auto update) {
      bytes = bytes_of(typename decltype(update)::Scalars{});
    };
    std::visit([&](const auto& rule) { rules::with_update(rule, measure); }, one.setup.rule);
    for (std::size_t s = 0; s < one.segments.size(); ++s) {
      const kernels::SegmentState &a = block.segments[s], &b = one.segments[s];
      EXPECT_EQ(a.steps, b.steps);
      EXPECT_EQ(a.sign, b.sign);
      EXPECT_EQ(std::memcmp(a.kept, b.kept, sizeof a.kept), 0) << "segment " << s;
      EXPECT_EQ(std::memcmp(&a.scalars, &b.scalars, bytes), 0) << "segment " << s;
    }
    EXPECT_EQ(block.step.findings.lr, one.step.findings.lr);
    EXPECT_EQ(block.step.loss_scale.value, one.step.loss_scale.value);
    EXPECT_EQ(block.step.loss_scale.published, one.step.loss_scale.published);
    EXPECT_EQ(block.step.loss_scale.good_steps, one.step.loss_scale.good_steps);
  }
};

TEST_P(DecisionBodyTest, TellsEverySegmentWhatOneThreadDoes) {
  for (const Schedule& schedule : schedule_cases) {
    for (const bool warm : {false, true}) {
      SCOPED_TRACE(text_of(schedule));
      StageRig one = rig(schedule, warm);
      one.run_plan_on_cpu();
      EXPECT_EQ(one.step.loss_scale.published, 8.0f);
      StageRig block = rig(schedule, warm);
      block.run_plan<Sum>({.order = warm ? simt::Order::reverse : simt::Order::random});
      expect_same(block, one);
    }
  }
}

/// found_inf = 2, a scale that is none: nothing is counted, and nothing kept is touched.
TEST_P(DecisionBodyTest, CountsNothingWhereItIsForbidden) {
  const float two = 2, none = 0;
  for (const kernels::Scaling& scaling : {kernels::Scaling{nullptr, &two}, {&none, nullptr}}) {
    StageRig block = rig(ConstantLR{}, false);
    const auto segments = block.segments;
    block.scaling = scaling;
    block.run_plan<Sum>({.order = simt::Order::random});
    EXPECT_EQ(block.step.plan.skip, 1);
    EXPECT_EQ(block.step.steps, 3);
    EXPECT_EQ(block.step.skipped_steps, 1);
    EXPECT_EQ(block.step.loss_scale.value, scaling.grad_scale == nullptr ? 2.0 : 4.0);
    EXPECT_EQ(
        std::memcmp(block.segments.data(), segments.data(), segments.size() * sizeof(segments[0])),
        0);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, DecisionBodyTest, ::testing::ValuesIn(rule_cases),
                         [](const auto& each) { return each.param.name; });

INSTANTIATE_TEST_SUITE_P(Aggregators, PlanBodyTest, ::testing::ValuesIn(cases),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace gramstep::test
