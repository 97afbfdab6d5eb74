// The step by hand equals the library's, for every method that was written by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include "backend.hpp"
#include "gradient_buffer.hpp"
#include "methods.hpp"
#include "model.hpp"
#include "probe.hpp"
#include "random.hpp"
#include "unfused.hpp"

namespace gs = gramstep;

namespace two_digits {
namespace {

constexpr int steps = 3;

struct Method {
  std::string rule;
  std::string aggregator;
};

std::ostream& operator<<(std::ostream& out, const Method& method) {
  return out << method.rule << " with " << method.aggregator;
}

std::vector<Method> all_methods() {
  std::vector<Method> all;
  for (const char* rule : {"SGD(lr=0.3)", "SGD(lr=0.1, momentum=0.9)", "Adam", "AdamW"}) {
    for (const char* aggregator : {"Sum", "PCGrad"}) all.push_back({rule, aggregator});
  }
  return all;
}

struct UnfusedStep : testing::TestWithParam<Method> {
  std::unique_ptr<Backend<float>> backend = make_cpu_backend<float>(1);
  gs::Layout layout = model_layout();
  GradientBuffer<float> gradients{*backend, layout};
  std::vector<float> params = initial_parameters(layout, 1);
  std::mt19937_64 random = random_engine(1, Purpose::pairs);
  double cancellation = 1;  // largest (|w_0 g_0| + |w_1 g_1|) / |d| of an element

  /// Fills the rows so that they conflict and yet nothing cancels: an element of the second row is
  /// less than half that of the first, against it five times in nine. Signs stay from step to step.
  void fill_gradients() {
    std::uniform_real_distribution<float> large(0.75f, 1.25f), small(0.1f, 0.35f);
    for (int s = 0; s < layout.segments(); ++s) {
      const gs::Segment segment = layout.segment(s);
      for (std::size_t task = 0; task < tasks; ++task) {
        if (segment.task != gs::shared_by_all && segment.task != static_cast<int>(task)) continue;
        const auto gradient = gradients.view(task, segment.name).span();
        for (std::size_t i = 0; i < gradient.size(); ++i) {
          const float sign = i % 2 == 0 ? 1.0f : -1.0f;
          const float against = i % 9 < 4 ? 1.0f : -1.0f;
          gradient[i] = task == 0 ? sign * large(random) : sign * against * small(random);
        }
      }
    }
  }

  void note_cancellation(const std::vector<double>& w) {
    for (std::int64_t i = 0; i < layout.shared_size(); ++i) {
      const double a = w[0] * static_cast<double>(gradients.for_step().rows.row<float>(0)[i]);
      const double b = w[1] * static_cast<double>(gradients.for_step().rows.row<float>(1)[i]);
      if (a + b != 0) {  // padding
        cancellation = std::max(cancellation, (std::abs(a) + std::abs(b)) / std::abs(a + b));
      }
    }
  }
};

TEST_P(UnfusedStep, EqualsTheFusedStep) {
  const gs::Rule rule = gs::rule_of(GetParam().rule);
  const gs::Aggregator aggregator = gs::aggregator_of(GetParam().aggregator);
  gs::Optimizer optimizer(
      layout,
      {.rule = rule, .aggregator = aggregator, .tasks = tasks, .device = backend->device()});
  ASSERT_TRUE(Unfused::written_for(optimizer.options()));
  Unfused unfused(*backend, layout, rule, aggregator);
  unfused.copy_from(optimizer, params);
  const std::vector<float> before = params;
  std::vector<float> path(params.size());  // the sum of every element's moves
  for (int t = 1; t <= steps; ++t) {
    fill_gradients();
    const std::vector<float> last = params;
    optimizer.step(params, gradients.for_step());
    unfused.step(gradients.for_step(), t);
    const gs::Report report = optimizer.report();
    ASSERT_EQ(report.conflict_rate, 1.0);
    note_cancellation(report.weights);
    for (std::size_t i = 0; i < path.size(); ++i) path[i] += std::abs(params[i] - last[i]);
  }
  ASSERT_LT(cancellation, 10.0);
  // Every step rounds each result's parameters twice, and moves them by something that is no worse
  // conditioned than the combined gradient: of one sign from step to step, Adam's two moments have
  // each the relative error of the gradients in them.
  for (std::size_t i = 0; i < params.size(); ++i) {
    const double largest = std::abs(static_cast<double>(before[i])) + static_cast<double>(path[i]);
    const double tolerance =
        steps * rounding_unit *
        (4 * largest + 2 * gradient_roundings * cancellation * static_cast<double>(path[i]));
    ASSERT_NEAR(unfused.params()[i], params[i], tolerance) << "element " << i;
  }
}

TEST_P(UnfusedStep, StaysWithinTheProbesTolerance) {
  const gs::Rule rule = gs::rule_of(GetParam().rule);
  const gs::Aggregator aggregator = gs::aggregator_of(GetParam().aggregator);
  gs::Optimizer optimizer(
      layout,
      {.rule = rule, .aggregator = aggregator, .tasks = tasks, .device = backend->device()});
  Unfused right(*backend, layout, rule, aggregator);
  Unfused wrong(*backend, layout, with_lr(rule, 1.02 * lr_of(rule)), aggregator);
  fill_gradients();
  const std::vector<float> before = params;
  right.copy_from(optimizer, params);
  wrong.copy_from(optimizer, params);
  optimizer.step(params, gradients.for_step());
  right.step(gradients.for_step(), 1);
  wrong.step(gradients.for_step(), 1);
  EXPECT_LE(distance(right.params(), params), allowed_distance(before, params));
  EXPECT_GT(distance(wrong.params(), params), allowed_distance(before, params));
}

INSTANTIATE_TEST_SUITE_P(Methods, UnfusedStep, testing::ValuesIn(all_methods()),
                         [](const auto& tested) {
                           std::string name = tested.param.rule + "_" + tested.param.aggregator;
                           std::erase_if(
                               name, [](unsigned char c) { return c != '_' && !std::isalnum(c); });
                           return name;
                         });

TEST(Probe, ComparesNothingThatDiverged) {
  const auto backend = make_cpu_backend<float>(1);
  const gs::Layout layout = model_layout();
  GradientBuffer<float> gradients(*backend, layout);
  std::vector<float> params = initial_parameters(layout, 1);
  gs::Optimizer optimizer(
      layout, {.rule = gs::SGD{.lr = 1e38}, .tasks = tasks, .device = backend->device()});
  Probe probe(*backend, optimizer);
  std::ranges::fill(gradients.view(0, "left.weight").span(), 1e6f);
  EXPECT_NO_THROW(probe.step(optimizer, params, gradients.for_step(), 16));
  EXPECT_TRUE(std::ranges::any_of(params, [](float p) { return std::isinf(p); }));
  EXPECT_TRUE(probe.times().unfused_us);
}

TEST(Unfused, LeavesOptionsItWasNotWrittenForToTheLibrary) {
  const auto written_for = [](const gs::Rule& rule, const gs::Aggregator& aggregator) {
    return Unfused::written_for({.rule = rule, .aggregator = aggregator});
  };
  EXPECT_FALSE(written_for(gs::Adam{.amsgrad = true}, gs::Sum{}));
  EXPECT_FALSE(written_for(gs::AdamW{.epsilon_hat = true}, gs::Sum{}));
  EXPECT_FALSE(written_for(gs::Lion{}, gs::Sum{}));
  EXPECT_FALSE(written_for(gs::SGD{.momentum = 0.9, .nesterov = true}, gs::Sum{}));
  EXPECT_FALSE(written_for(gs::Adam{}, gs::Mean{}));
  EXPECT_FALSE(
      Unfused::written_for({.rule = gs::Adam{}, .precision = {.states = gs::DType::bfloat16}}));
}

}  // namespace
}  // namespace two_digits
