// The model: its gradients against finite differences, in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "backend.hpp"
#include "digits.hpp"
#include "gradient_buffer.hpp"
#include "model.hpp"
#include "pairs.hpp"
#include "random.hpp"

namespace two_digits {
namespace {

constexpr std::int64_t batch = 16;
constexpr std::array<double, tasks> scales{1.0, 3.0};

/// Half the distance of the two losses. Small, so that no ReLU changes sides on the way; what is
/// left of the quotient's error is rounding.
constexpr double h = 1e-6;

/// A loss of about log(10) passes through sums of this many terms in all, one rounding each.
constexpr double terms = canvas_pixels + 256 + 128 + classes;
const double quotient_error = terms * std::numeric_limits<double>::epsilon() * std::log(10.0) / h;

struct ModelGradient : testing::Test {
  std::unique_ptr<Backend<double>> backend = make_cpu_backend<double>(1);
  gramstep::Layout layout = model_layout();
  Model<double> model{*backend, layout, batch};
  GradientBuffer<double> gradients{*backend, layout};
  Pairs pairs = compose(read_digits(TWO_DIGITS_DATA), split_digits(1797).train, batch, 1);
  std::vector<double> images{pairs.images.begin(), pairs.images.end()};
  std::vector<double> params = initial();

  std::vector<double> initial() const {
    const std::vector<float> weights = initial_parameters(layout, 1);
    return {weights.begin(), weights.end()};
  }

  std::array<double, tasks> losses() {
    GradientBuffer<double> unused(*backend, layout);
    model.forward(params.data(), images);
    return model.backward(params.data(), pairs.labels, scales, unused);
  }

  void move(const std::string& segment, const std::vector<double>& direction, double by) {
    const auto at = gramstep::view(layout, params.data(), segment).span();
    for (std::size_t i = 0; i < at.size(); ++i) at[i] += by * direction[i];
  }

  /// The change of each task's scaled loss along a direction in one segment.
  std::array<double, tasks> slopes(const std::string& segment,
                                   const std::vector<double>& direction) {
    const std::vector<double> kept = params;
    move(segment, direction, h);
    const auto ahead = losses();
    params = kept;
    move(segment, direction, -h);
    const auto behind = losses();
    params = kept;
    std::array<double, tasks> result;
    for (std::size_t task = 0; task < tasks; ++task) {
      result[task] = scales[task] * (ahead[task] - behind[task]) / (2 * h);
    }
    return result;
  }

  void expect_slope(std::size_t task, const std::string& segment, std::vector<double> direction) {
    const double norm =
        std::sqrt(std::inner_product(direction.begin(), direction.end(), direction.begin(), 0.0));
    ASSERT_GT(norm, 0.0);
    for (double& d : direction) d /= norm;
    const auto gradient = gradients.view(task, segment).span();
    const double expected =
        std::inner_product(gradient.begin(), gradient.end(), direction.begin(), 0.0);
    EXPECT_NEAR(slopes(segment, direction)[task], expected, scales[task] * quotient_error)
        << task_names[task] << ": " << segment;
  }
};

TEST_F(ModelGradient, EqualsTheFiniteDifference) {
  model.forward(params.data(), images);
  model.backward(params.data(), pairs.labels, scales, gradients);
  auto random = random_engine(1, Purpose::pairs);
  std::normal_distribution<double> normal;
  for (int s = 0; s < layout.segments(); ++s) {
    const gramstep::Segment segment = layout.segment(s);
    for (std::size_t task = 0; task < tasks; ++task) {
      const bool mine = segment.task == static_cast<int>(task);
      if (segment.task != gramstep::shared_by_all && !mine) continue;
      const auto steepest = gradients.view(task, segment.name).span();
      expect_slope(task, segment.name, {steepest.begin(), steepest.end()});
      std::vector<double> any(static_cast<std::size_t>(segment.size));
      for (double& d : any) d = normal(random);
      expect_slope(task, segment.name, any);
    }
  }
}

TEST_F(ModelGradient, OfAnotherTasksHeadIsZero) {
  std::vector<double> direction(classes, 1.0);
  direction[0] = 2;
  EXPECT_EQ(slopes("left.bias", direction)[1], 0.0);
  EXPECT_EQ(slopes("right.bias", direction)[0], 0.0);
}

TEST_F(ModelGradient, PredictsTheLikeliestClass) {
  model.forward(params.data(), images);
  const std::vector<int> before = model.predictions(1);
  ASSERT_EQ(before.size(), static_cast<std::size_t>(batch));
  gramstep::view(layout, params.data(), "right.bias").data[6] += 1000;
  model.forward(params.data(), images);
  EXPECT_EQ(model.predictions(1), std::vector<int>(batch, 6));
  EXPECT_NE(model.predictions(0), model.predictions(1));
}

TEST(Model, StartsBetweenTheBoundsOfHe) {
  const gramstep::Layout layout = model_layout();
  const std::vector<float> params = initial_parameters(layout, 3);
  const auto weights = gramstep::view(layout, params.data(), "trunk.1.weight").span();
  const float bound = std::sqrt(6.0f / 256);
  EXPECT_LE(std::ranges::max(weights), bound);
  EXPECT_GE(std::ranges::min(weights), -bound);
  EXPECT_GT(std::ranges::max(weights), 0.99f * bound);
  for (const float bias : gramstep::view(layout, params.data(), "left.bias").span()) {
    EXPECT_EQ(bias, 0.0f);
  }
  EXPECT_NE(params, initial_parameters(layout, 4));
}

TEST(Model, SaysWhenTheBatchIsTooLarge) {
  const auto backend = make_cpu_backend<double>(1);
  Model<double> model(*backend, model_layout(), 1);
  const std::vector<double> params(static_cast<std::size_t>(model_layout().size()));
  EXPECT_THROW(model.forward(params.data(), std::vector<double>(2 * canvas_pixels)),
               std::invalid_argument);
}

}  // namespace
}  // namespace two_digits
