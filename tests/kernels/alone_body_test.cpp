// The bodies of the stages alone, and momenta and elementwise combinations: the bits of the CPU.
#include "kernels/alone.hpp"
#include "tests/kernels/stage_rig.hpp"

namespace gramstep::test {
namespace {

template <class Body>
void launch(simt::Launch order, const Body& body, std::int64_t blocks) {
  const host::FlushToZero flush;
  order.blocks = blocks;
  order.threads = Body::threads;
  simt::run(order, body);
}

TEST(CombineBody, HasTheBitsOfTheCpu) {
  for (const int tasks : {1, 2, 5, 64}) {
    for (const int shift : {0, 1}) {
      for (const std::int64_t size : {1, 127, 4'096, 9'001}) {
        Random random(3);
        std::vector<Floats> rows;
        kernels::CombineBody<kernels::Float32> body{};
        std::vector<double> weights;
        for (int k = 0; k < tasks; ++k) {
          rows.emplace_back(size, shift);
          for (float& g : rows.back().span()) g = static_cast<float>(random.uniform());
          body.rows[k] = rows.back().data();
          weights.push_back(random.uniform());
        }
        Floats got(size, shift), expected(size, shift);
        body.weights = weights.data();
        body.combined = got.data();
        Layout layout;
        layout.add("row", {size});
        const host::Work work(layout, {0}, kernels::chunk_elements);
        body.chunks = work.chunks.data();
        body.chunk_count = static_cast<std::int32_t>(work.chunks.size());
        body.tasks = tasks;
        body.aligned = shift == 0;
        std::vector<float> rounded(weights.begin(), weights.end());
        host::choose_leaves().leaves->combine(DType::float32, body.rows, rounded.data(), tasks, 0,
                                              static_cast<int>(size), expected.data());
        for (const simt::Launch& order : every_order) {
          launch(order, body, 2);  // blocks stride
          EXPECT_TRUE(same_bits(got.span(), expected.span())) << tasks << " of " << size;
        }
      }
    }
  }
}

TEST(GramSumBody, SumsThePartialsFoldedOrNot) {
  for (const int tasks : {1, 3, 17, 64}) {
    StageRig rig(awkward_layout(tasks), {.tasks = tasks, .clip_norm = 1.0}, 0, 1,
                 kernels::least_chunk_elements);
    const std::int32_t spans = rig.setup.work.shared_spans;
    ASSERT_GT(spans, 4);
    const auto entries = static_cast<std::size_t>(tasks * tasks);
    std::vector<double> got(entries, NAN), expected(entries, NAN);
    rig.run_gram_on_cpu();
    const std::vector<double> partials = rig.partials;
    kernels::PlanSums room;
    kernels::collect_gram(
        kernels::SingleThread{}, room, {partials.data(), spans, 1}, tasks, [] { return 1.0; },
        expected.data());
    for (const simt::Launch& order : every_order) {
      for (const int fold : {1, 3, 32}) {
        rig.partials = partials;
        if (fold > 1) {
          const kernels::FoldBody body{rig.partials.data(), spans, kernels::pairs_of(tasks), fold};
          launch(order, body, 2);  // blocks stride
        }
        launch(order, kernels::GramSumBody{{rig.partials.data(), spans, fold}, tasks, got.data()},
               1);
        for (std::size_t e = 0; e < entries; ++e) {
          // Sums of the same doubles in another order.
          const std::size_t row = e / static_cast<std::size_t>(tasks);
          EXPECT_NEAR(got[e], expected[e],
                      1e-12 * expected[row * static_cast<std::size_t>(tasks + 1)]);
        }
      }
    }
  }
}

/// Two steps of the gram stage and what it keeps.
TEST(MomentumBody, HasTheBitsOfTheCpuAndPassesOverInactiveSegments) {
  const std::pair<Aggregator, std::vector<int>> cases[] = {{MoCo{}, {1, 2, 9, 64}},
                                                           {DBMTL{}, {2, 17}}};
  for (const auto& [aggregator, counts] : cases) {
    for (const int tasks : counts) {
      for (const int shift : {0, 1}) {
        if (tasks == 64 && shift == 1) continue;  // which would take longest of all
        const OptimizerOptions options{.aggregator = aggregator, .tasks = tasks, .loss_scale = 4};
        for (const simt::Launch& order : every_order) {
          if (tasks > 2 && order.order != simt::Order::random) continue;
          StageRig fibers(awkward_layout(tasks), options, shift);
          StageRig again(awkward_layout(tasks), options, shift);
          for (StageRig* rig : {&fibers, &again}) {
            for (std::int64_t step = 0; step < 2; ++step) {
              rig->step.steps = step;
              rig->segments[4].active = step == 0;
              if (rig == &fibers) {
                rig->run_gram(order);
              } else {
                rig->run_gram_on_cpu();
              }
            }
          }
          EXPECT_TRUE(same_bits(fibers.momenta.span(), again.momenta.span()))
              << tasks << " tasks, shift " << shift;
        }
      }
    }
  }
}

/// Blocks stride over the chunks; segments that took no step, and rules without an average, are copied.
TEST(EvaluationBody, HasTheBitsOfOneThreadInPlaceAndApart) {
  for (const int shift : {0, 1}) {
    StageRig rig(awkward_layout(2), {.rule = ScheduleFreeSGD{}, .tasks = 2}, shift);
    for (std::size_t s = 0; s < rig.segments.size(); ++s) rig.segments[s].steps = s == 4 ? 0 : 3;
    kernels::EvaluationBody body{.params = rig.params.data(),
                                 .z = rig.states[0].data(),
                                 .out = nullptr,
                                 .storage = rig.setup.storage({}, nullptr, nullptr),
                                 .chunks = rig.setup.work.chunks.data(),
                                 .segments = rig.segments.data(),
                                 .chunk_count = rig.chunks(),
                                 .beyond = 1.0f - 1.0f / 0.9f};
    for (const float* z : {body.z, static_cast<const float*>(nullptr)}) {
      Floats expected(rig.layout.size(), shift), got(rig.layout.size(), shift);
      body.z = z;
      body.out = expected.data();
      kernels::EvaluationBody::Shared none;
      body(kernels::SingleThread{}, none);
      EXPECT_TRUE(same_bits(rig.segment(expected, 4), rig.segment(rig.params, 4)));
      EXPECT_EQ(same_bits(rig.segment(expected, 5), rig.segment(rig.params, 5)), z == nullptr);
      for (const simt::Launch& order : every_order) {
        body.out = got.data();
        launch(order, body, 3);
        EXPECT_TRUE(same_bits(got.span(), expected.span()));
        StageRig again(awkward_layout(2), {.rule = ScheduleFreeSGD{}, .tasks = 2}, shift);
        kernels::EvaluationBody in_place = body;
        in_place.params = in_place.out = again.params.data();
        launch(order, in_place, 3);
        EXPECT_TRUE(same_bits(again.params.span(), expected.span()));
      }
    }
  }
}

/// The update of a rule that combines element by element, by fibers and on the CPU.
template <class Held>
void expect_by_element(const Held& rule) {
  for (const Aggregator& aggregator :
       {Aggregator(TrimmedMean{}), Aggregator(GradDrop{.leak = {0.5, 0, 1}, .seed = 9})}) {
    for (const int shift : {0, 1}) {
      const OptimizerOptions options{.rule = rule, .aggregator = aggregator, .tasks = 3};
      StageRig cpu(awkward_layout(3), options, shift);
      cpu.run_gram_on_cpu();
      cpu.run_plan_on_cpu();
      cpu.run_update_on_cpu();
      for (const simt::Launch& order : every_order) {
        StageRig fibers(awkward_layout(3), options, shift);
        fibers.run_gram_on_cpu();
        fibers.run_plan_on_cpu();
        fibers.run_update_by_element<Held>(order, 3);
        EXPECT_TRUE(same_bits(fibers.params.span(), cpu.params.span()));
        EXPECT_FALSE(std::isnan(cpu.segment(cpu.params, 8)[0]));
      }
    }
  }
}

TEST(ByElementBody, HasTheBitsOfTheCpu) {
  expect_by_element(AdamW{});
  expect_by_element(LAMB{.weight_decay = 0.1});
  expect_by_element(LARS{});
}

}  // namespace
}  // namespace gramstep::test
