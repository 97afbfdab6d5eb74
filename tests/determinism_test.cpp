// The same bits, whatever the threads and the instruction set; subnormals flushed, the caller's
// floating-point mode kept.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "tests/rig.hpp"

namespace gramstep::test {
namespace {

/// Tensors large and small, so that threads share out every stage, and some begin in a tensor's
/// midst.
Layout wide_layout() {
  Layout layout;
  layout.add("large", {150'001});
  for (int s = 0; s < 40; ++s) layout.add("small" + std::to_string(s), {s * 50});
  layout.add("second", {60'000}, {.weight_decay = 0.5});
  layout.add("matrix", {70, 601});
  layout.add("head", {30'001}, {.task = 1});
  return layout;
}

/// What three steps on wide_layout leave, gradients with roundings in every sum.
Snapshot outcome_of(const OptimizerOptions& options) {
  Rig rig(wide_layout(), options);
  for (int i = 0; i < 3; ++i) {
    rig.draw_uniform();
    rig.step();
  }
  return rig.snapshot();
}

std::vector<OptimizerOptions> varied_options() {
  std::vector<OptimizerOptions> all;
  for (const int tasks : {2, 3, 8, 17}) {
    all.push_back({.rule = AdamW{.amsgrad = tasks == 3},
                   .aggregator = PCGrad{},
                   .tasks = tasks,
                   .clip_norm = 1.0});
  }
  all.push_back({.rule = SGD{.lr = 0.1, .momentum = 0.9, .nesterov = true}, .tasks = 2});
  all.push_back({.rule = SGD{.lr = 0.1, .weight_decay = 0.1}, .tasks = 5});
  all.push_back({.rule = LAMB{.weight_decay = 0.1}, .aggregator = PCGrad{}, .tasks = 3});
  all.push_back({.rule = LARS{.weight_decay = 0.1}, .tasks = 17});
  all.push_back({.rule = Adafactor{.weight_decay = 0.1}, .aggregator = PCGrad{}, .tasks = 3});
  all.push_back({.rule = LAMB{}, .aggregator = TrimmedMean{.trim = 1}, .tasks = 3});
  all.push_back({.rule = AdamW{}, .aggregator = GradDrop{.seed = 3}, .tasks = 3});
  all.push_back({.rule = AdamW{}, .aggregator = TrimmedMean{.trim = 2}, .tasks = 9});
  return all;
}

TEST(Determinism, ThreadsDoNotChangeABit) {
  for (OptimizerOptions options : varied_options()) {
    SCOPED_TRACE(std::to_string(options.tasks) + " tasks");
    options.device = cpu(1);
    const Snapshot expected = outcome_of(options);
    for (const int threads : {0, 2, 3, 8}) {
      SCOPED_TRACE(std::to_string(threads) + " threads");
      options.device = cpu(threads);
      expect_same(expected, outcome_of(options));
    }
  }
}

TEST(Determinism, RepeatedRunsAreTheSame) {
  for (const OptimizerOptions& options : varied_options()) {
    expect_same(outcome_of(options), outcome_of(options));
  }
}

/// GRAMSTEP_CPU_ISA for as long as it lives.
class WantedIsa {
 public:
  explicit WantedIsa(const char* isa) {
    if (const char* before = std::getenv(variable)) before_ = before;
    ::setenv(variable, isa, 1);
  }
  ~WantedIsa() { before_ ? ::setenv(variable, before_->c_str(), 1) : ::unsetenv(variable); }
  WantedIsa(const WantedIsa&) = delete;
  WantedIsa& operator=(const WantedIsa&) = delete;

 private:
  static constexpr const char* variable = "GRAMSTEP_CPU_ISA";
  std::optional<std::string> before_;
};

/// Those that this build has and this machine can run.
std::vector<std::string> available_isas() {
  std::vector<std::string> available;
  for (const char* isa : {"x86-64-v2", "x86-64-v3", "x86-64-v4", "generic"}) {
    const WantedIsa wanted(isa);
    try {
      EXPECT_EQ(cpu_isa(), isa);
      available.push_back(isa);
    } catch (const InvalidArgument&) {
    } catch (const DeviceUnavailable&) {
    }
  }
  return available;
}

TEST(Determinism, InstructionSetsDoNotChangeABit) {
  const std::vector<std::string> isas = available_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(cpu_isa(), isas.back()) << "not the best there is";
  for (const OptimizerOptions& options : varied_options()) {
    SCOPED_TRACE(std::to_string(options.tasks) + " tasks");
    const Snapshot expected = outcome_of(options);
    for (const std::string& isa : isas) {
      SCOPED_TRACE(isa);
      const WantedIsa wanted(isa.c_str());
      expect_same(expected, outcome_of(options));
    }
  }
}

TEST(Determinism, AnUnknownInstructionSetIsRefused) {
  const WantedIsa wanted("x86-64-v9");
  const std::vector<std::string> words{"GRAMSTEP_CPU_ISA", "got x86-64-v9", "expected"};
  expect_error<InvalidArgument>([] { cpu_isa(); }, words);
  expect_error<InvalidArgument>([] { Optimizer(mixed_layout(1), {}); }, words);
}

#if defined(__SSE__) || defined(__aarch64__)

/// Steps with a gradient of 1, then with none, and what is left in `state`. Nothing may turn
/// subnormal on the way.
float left_over(const Rule& rule, std::string_view state) {
  Layout layout;
  layout.add("a", {100});
  Rig rig(layout, {.rule = rule});
  std::ranges::fill(rig.gradient("a"), 1.0f);
  rig.step();
  std::ranges::fill(rig.gradient("a"), 0.0f);
  for (int i = 0; i < 1000; ++i) {
    rig.step();
    for (const std::string_view name : rig.optimizer.state_names()) {
      for (const float value : rig.optimizer.state(name, "a").span()) {
        EXPECT_NE(std::fpclassify(value), FP_SUBNORMAL) << name << " after " << i;
      }
    }
  }
  return rig.optimizer.state(state, "a").data[99];
}

/// 0.9^n is subnormal from n = 829 on, and would stay so for ever.
TEST(Subnormals, StateIsFlushedToZero) {
  EXPECT_EQ(left_over(SGD{.momentum = 0.9}, "momentum_buffer"), 0.0f);
  EXPECT_EQ(left_over(Adam{.beta2 = 0.9}, "exp_avg_sq"), 0.0f);
  // m += 0.1 (0 - m) stands still where a tenth of m is flushed, at a number that is none.
  EXPECT_LE(left_over(Adam{}, "exp_avg"), 10.1f * std::numeric_limits<float>::min());
}

TEST(Subnormals, GradientsAreZero) {
  Layout layout;
  layout.add("a", {100});
  Rig rig(layout, {.rule = SGD{.lr = 1, .momentum = 0.5}, .tasks = 2});
  for (const int k : {0, 1}) {
    std::ranges::fill(rig.gradient("a", k), std::numeric_limits<float>::denorm_min());
  }
  const std::vector<float> before(rig.param("a").begin(), rig.param("a").end());
  rig.step();
  EXPECT_TRUE(same_bits(before, rig.param("a")));
  EXPECT_EQ(rig.optimizer.state("momentum_buffer", "a").data[99], 0.0f);
}

#endif

/// Whether this thread's arithmetic keeps subnormals.
bool keeps_subnormals() {
  volatile float smallest = std::numeric_limits<float>::min();
  return smallest / 2 != 0.0f;
}

TEST(Subnormals, TheCallersModeIsItsOwn) {
  ASSERT_TRUE(keeps_subnormals());
  for (const int threads : {1, 2}) {
    Rig rig(wide_layout(), {.rule = AdamW{}, .tasks = 2, .device = cpu(threads)});
    rig.step();
    EXPECT_TRUE(keeps_subnormals()) << threads;
  }
#if defined(__SSE__)
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8000);
  Rig rig(wide_layout(), {.rule = AdamW{}, .tasks = 2});
  rig.step();
  const bool flushes = !keeps_subnormals();
  _mm_setcsr(before);
  EXPECT_TRUE(flushes) << "the caller's own flush-to-zero was switched off";
#endif
}

}  // namespace
}  // namespace gramstep::test
