// step() and the setters take no memory: counted by this program's own operator new.
#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/rig.hpp"

namespace {

std::atomic<std::int64_t> allocations = 0;

void* counted_or_null(std::size_t bytes, std::size_t alignment) noexcept {
  ++allocations;
  const std::size_t padded = (bytes + alignment - 1) / alignment * alignment;
  return std::aligned_alloc(alignment, padded == 0 ? alignment : padded);
}

void* counted(std::size_t bytes, std::size_t alignment) {
  void* memory = counted_or_null(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
// The standard library's stable sort takes its buffer by this one, which a sanitizer has of its own.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return counted_or_null(bytes, alignof(std::max_align_t));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace gramstep::test {
namespace {

/// How often memory was taken during `action`.
template <class Action>
std::int64_t taken_by(const Action& action) {
  const std::int64_t before = allocations;
  action();
  return allocations - before;
}

TEST(Allocation, IsCounted) {
  EXPECT_EQ(taken_by([] { std::vector<int>(100).clear(); }), 1);
}

TEST(Allocation, StepsAndSettersTakeNoMemory) {
  for (const int tasks : {1, 2, 64}) {
    Rig rig(mixed_layout(tasks), {.rule = AdamW{},
                                  .aggregator = PCGrad{},
                                  .tasks = tasks,
                                  .clip_norm = 1.0,
                                  .non_finite = NonFinite::error});
    std::vector<float> others(rig.rows[0].span().begin(), rig.rows[0].span().end());
    std::vector<const float*> rows(static_cast<std::size_t>(tasks), others.data());
    Gradients elsewhere = rig.gradients();
    elsewhere.rows = rows;
    EXPECT_EQ(taken_by([&] { rig.step(); }), 0) << "the first";
    EXPECT_EQ(taken_by([&] { rig.step(); }), 0) << "the same again";
    EXPECT_EQ(taken_by([&] { rig.optimizer.step(rig.params.span(), elsewhere); }), 0)
        << "with gradients elsewhere";
    EXPECT_EQ(taken_by([&] { rig.optimizer.set_lr(0.1); }), 0);
    EXPECT_EQ(taken_by([&] { rig.optimizer.set_loss_scale(2); }), 0);
    EXPECT_EQ(taken_by([&] { rig.optimizer.set_active("shared127", false); }), 0);
  }
}

TEST(Allocation, NorDoWhatElseMayBeSetOrHandedIn) {
  Rig rig(mixed_layout(2), {.rule = AdamW{},
                            .tasks = 2,
                            .schedule = OneCycleLR{.total_steps = 9},
                            .clip_norm = 1.0,
                            .dynamic_loss_scale = DynamicLossScale{}});
  const float scale = 4, none = 0;
  Gradients gradients = rig.gradients();
  gradients.grad_scale = &scale;
  gradients.found_inf = &none;
  Floats out(rig.optimizer.layout().size());
  Optimizer& optimizer = rig.optimizer;
  EXPECT_EQ(taken_by([&] { optimizer.step(rig.params.span(), gradients); }), 0);
  EXPECT_EQ(taken_by([&] { optimizer.set_rule(Adam{.lr = 0.1}); }), 0);
  EXPECT_EQ(taken_by([&] { optimizer.set_schedule(StepLR{}, {.steps = 3}); }), 0);
  EXPECT_EQ(taken_by([&] { optimizer.set_clip_norm(2); }), 0);
  EXPECT_EQ(taken_by([&] { optimizer.evaluation_params(rig.params.span(), out.span()); }), 0);
  EXPECT_EQ(taken_by([&] { optimizer.loss_scale_data(); }), 0);
}

TEST(Allocation, NorDoRulesThatMeasure) {
  for (const Rule& rule : {Rule(LAMB{}), Rule(LARS{}), Rule(Adafactor{}), Rule(Muon{})}) {
    Layout layout = mixed_layout(2);
    layout.add("matrix", {300, 200});
    Rig rig(layout, {.rule = rule, .tasks = 2});
    EXPECT_EQ(taken_by([&] { rig.step(); }), 0) << text_of(rule);
  }
}

TEST(Allocation, NorDoesOneGradientOverTheWholeBuffer) {
  Rig rig(mixed_layout(1), {.rule = SGD{}});
  Floats gradient(rig.optimizer.layout().size());
  EXPECT_EQ(taken_by([&] { rig.optimizer.step(rig.params.span(), gradient.span()); }), 0);
}

}  // namespace
}  // namespace gramstep::test
