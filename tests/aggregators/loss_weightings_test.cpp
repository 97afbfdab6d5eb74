// What all weightings by losses have in common: a reference, checkpoints, extremes, order of tasks.
#include <algorithm>
#include <memory>
#include <numeric>

#include "gramstep/aggregators/dwa.hpp"
#include "gramstep/aggregators/famo.hpp"
#include "gramstep/aggregators/gls.hpp"
#include "gramstep/aggregators/gradnorm.hpp"
#include "gramstep/aggregators/imtl_l.hpp"
#include "gramstep/aggregators/scale_invariant.hpp"
#include "gramstep/aggregators/stch.hpp"
#include "gramstep/aggregators/traits.hpp"
#include "gramstep/aggregators/uncertainty.hpp"
#include "tests/aggregators/course.hpp"
#include "tests/reference/loss_weightings.hpp"

namespace gramstep::test {
namespace {

using reference::Vector;

constexpr int some_counts[] = {1, 2, 3, 8, 17, 64};

/// Options with their reference.
template <class A>
struct Pair {
  A aggregator;
  std::unique_ptr<reference::Weighting> expected;
};

template <class Reference, class A, class... Arguments>
Pair<A> pair(const A& aggregator, Arguments&&... arguments) {
  return {aggregator, std::make_unique<Reference>(std::forward<Arguments>(arguments)...)};
}

TaskValues task_values(const Vector& values) { return TaskValues{std::span<const double>(values)}; }

bool adam(ScalarRule rule) { return rule == ScalarRule::adam; }

/// Defaults and other options of each method, with the reference for them.
std::vector<Pair<GLS>> pairs_of(GLS, int) {
  std::vector<Pair<GLS>> pairs;
  pairs.push_back(pair<reference::GeometricLoss>(GLS{}));
  return pairs;
}
std::vector<Pair<ScaleInvariant>> pairs_of(ScaleInvariant, int) {
  std::vector<Pair<ScaleInvariant>> pairs;
  pairs.push_back(pair<reference::LogarithmicLoss>(ScaleInvariant{}));
  return pairs;
}
std::vector<Pair<STCH>> pairs_of(STCH, int tasks) {
  const auto size = static_cast<std::size_t>(tasks);
  Random random(9);
  const Vector lambda = spread_numbers(tasks, 1, random), ideal = spread_numbers(tasks, 1, random);
  std::vector<Pair<STCH>> pairs;
  pairs.push_back(pair<reference::SmoothTchebycheff>(STCH{}, 1.0, Vector(size, 1.0 / tasks),
                                                     Vector(size, 0.0)));
  pairs.push_back(pair<reference::SmoothTchebycheff>(
      STCH{.mu = 30, .preference = task_values(lambda), .ideal = task_values(ideal)}, 30.0, lambda,
      ideal));
  return pairs;
}
std::vector<Pair<DWA>> pairs_of(DWA, int) {
  std::vector<Pair<DWA>> pairs;
  pairs.push_back(pair<reference::DynamicAverage>(DWA{}, 2.0, 1));
  pairs.push_back(pair<reference::DynamicAverage>(DWA{.temperature = 0.3, .period = 7}, 0.3, 7));
  return pairs;
}
template <class A>
std::vector<Pair<A>> learned_pairs(bool imtl) {
  std::vector<Pair<A>> pairs;
  for (const A& a : {A{}, A{.lr = 0.05, .initial = -0.5}, A{.lr = 1e-3, .rule = ScalarRule::sgd}}) {
    pairs.push_back(pair<reference::LearnedScale>(a, imtl, a.initial,
                                                  reference::Descent(adam(a.rule), a.lr, 0)));
  }
  return pairs;
}
std::vector<Pair<UncertaintyWeighting>> pairs_of(UncertaintyWeighting, int) {
  return learned_pairs<UncertaintyWeighting>(false);
}
std::vector<Pair<IMTLL>> pairs_of(IMTLL, int) { return learned_pairs<IMTLL>(true); }
std::vector<Pair<FAMO>> pairs_of(FAMO, int tasks) {
  std::vector<Pair<FAMO>> pairs;
  const Vector minima(static_cast<std::size_t>(tasks), -0.25);
  pairs.push_back(pair<reference::Famo>(FAMO{}, 0.025, 1e-3, Vector(minima.size(), 0.0)));
  pairs.push_back(pair<reference::Famo>(
      FAMO{.lr = 0.1, .gamma = 0.05, .min_losses = task_values(minima)}, 0.1, 0.05, minima));
  return pairs;
}
std::vector<Pair<GradNorm>> pairs_of(GradNorm, int) {
  std::vector<Pair<GradNorm>> pairs;
  for (const GradNorm& a : {GradNorm{}, GradNorm{.alpha = 0.5, .lr = 0.1},
                            GradNorm{.lr = 0.01, .rule = ScalarRule::sgd}}) {
    pairs.push_back(
        pair<reference::GradientNorms>(a, a.alpha, reference::Descent(adam(a.rule), a.lr, 0)));
  }
  return pairs;
}

/// The norms for methods that read them; others get a poisoned Gram matrix.
template <class A>
Vector norms_for(int tasks, Random& random) {
  if constexpr (!std::is_same_v<A, GradNorm>) return {};
  return spread_numbers(tasks, 1, random);
}

/// How far weights are off: each relative to itself, but to their mean, 1, where they were learned
/// by adding, which leaves small ones with the large ones' rounding.
template <class A>
double off_by(const Vector& w, const Vector& expected) {
  if constexpr (!std::is_same_v<A, GradNorm>) return relative_distance(w, expected);
  double largest = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double difference = std::abs(w[i] - expected[i]);
    largest = std::isnan(difference) ? infinity : std::max(largest, difference);
  }
  return largest;
}

template <class A>
class LossWeightings : public ::testing::Test {};
using Methods =
    ::testing::Types<UncertaintyWeighting, IMTLL, DWA, GLS, ScaleInvariant, FAMO, STCH, GradNorm>;
TYPED_TEST_SUITE(LossWeightings, Methods);

/// 100 steps, K = 64 terms a sum, numbers of order 1 inside logarithms and exponentials up to 20:
/// 100 * 20 * 2^-52 is 4e-13.
constexpr double hundred_steps_in_double = 1e-12;

TYPED_TEST(LossWeightings, HundredStepsAgreeWithTheReference) {
  double worst = 0;
  for (const int tasks : some_counts) {
    std::size_t variant = 0;
    for (auto& [aggregator, expected] : pairs_of(TypeParam{}, tasks)) {
      Course<TypeParam> course{aggregator};
      Wander losses(tasks, 1, static_cast<std::uint64_t>(tasks));
      Random random(variant++);
      for (int step = 0; step < 100; ++step) {
        const Vector now = losses.next();
        const Vector norms = norms_for<TypeParam>(tasks, random);
        const double off = off_by<TypeParam>(course.step(now, norms), expected->step(now, norms));
        ASSERT_LE(off, hundred_steps_in_double)
            << "K = " << tasks << ", variant " << variant << ", step " << course.steps;
        worst = std::max(worst, off);
      }
    }
  }
  record_share(worst / hundred_steps_in_double);
}

TYPED_TEST(LossWeightings, ACheckpointInTheMiddleChangesNoBit) {
  for (const int tasks : {1, 3, 64}) {
    for (auto& [aggregator, unused] : pairs_of(TypeParam{}, tasks)) {
      Course<TypeParam> whole{aggregator};
      Wander losses(tasks, 3, 11);
      Random random(1);
      for (int step = 0; step < 41; ++step) {
        whole.step(losses.next(), norms_for<TypeParam>(tasks, random));
      }
      Course<TypeParam> resumed{aggregator, whole.steps, whole.state};
      for (int step = 0; step < 41; ++step) {
        const Vector now = losses.next(), norms = norms_for<TypeParam>(tasks, random);
        ASSERT_TRUE(same_bits(whole.step(now, norms), resumed.step(now, norms)));
        ASSERT_TRUE(same_bits(whole.state, resumed.state));
      }
    }
  }
}

TYPED_TEST(LossWeightings, LossesOverSixtyOrdersGiveFiniteWeights) {
  for (const int tasks : some_counts) {
    for (auto& [aggregator, unused] : pairs_of(TypeParam{}, tasks)) {
      Course<TypeParam> course{aggregator};
      Random random(5);
      for (int step = 0; step < 50; ++step) {
        const Vector w =
            course.step(spread_numbers(tasks, 30, random), spread_numbers(tasks, 15, random));
        for (const double value : w) ASSERT_TRUE(std::isfinite(value) && value >= 0) << value;
        for (const double value : course.state) ASSERT_TRUE(std::isfinite(value)) << value;
        ASSERT_LE(course.solution.residual, aggregators::tolerance<TypeParam>());
      }
    }
  }
}

TYPED_TEST(LossWeightings, ReorderedTasksGetReorderedWeights) {
  // Sums in another order: K roundings a step, which 30 steps of learning carry on.
  constexpr double other_order = 64 * 30 * 0x1p-52;
  Random random(12);
  for (const int tasks : {2, 3, 17, 64}) {
    std::vector<std::size_t> order(static_cast<std::size_t>(tasks));
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t i = order.size(); i-- > 1;) {
      std::swap(order[i], order[random.bits() % (i + 1)]);
    }
    const auto reorder = [&](const Vector& values) {
      Vector result;
      for (const std::size_t i : order) result.push_back(values[i]);
      return result;
    };
    Course<TypeParam> course{}, reordered{};
    Wander losses(tasks, 1, 13);
    for (int step = 0; step < 30; ++step) {
      const Vector now = losses.next(), norms = spread_numbers(tasks, 1, random);
      const Vector w = course.step(now, norms);
      const Vector other = reordered.step(reorder(now), reorder(norms));
      ASSERT_LE(off_by<TypeParam>(other, reorder(w)), other_order) << "step " << step;
    }
  }
}

TYPED_TEST(LossWeightings, EqualTasksGetEqualWeights) {
  for (const int tasks : some_counts) {
    Course<TypeParam> course{};
    for (const double loss : {2.0, 0.7, 1.3, 1e-3, 3.0, 1e3}) {
      const Vector w = course.step(Vector(static_cast<std::size_t>(tasks), loss),
                                   Vector(static_cast<std::size_t>(tasks), 0.3));
      for (const double value : w) EXPECT_EQ(value, w[0]) << "K = " << tasks;
    }
  }
}

TYPED_TEST(LossWeightings, SaysWhatItNeedsAndKeeps) {
  EXPECT_TRUE(aggregators::needs_losses(TypeParam{}));
  int options = 0;
  TypeParam aggregator;
  TypeParam::options(aggregator, [&](std::string_view name, const auto&) {
    EXPECT_FALSE(name.empty());
    ++options;
  });
  EXPECT_EQ(sizeof(TypeParam) > 1, options > 0);
  for (const int tasks : some_counts) EXPECT_NO_THROW(aggregator.validate(tasks));
}

}  // namespace
}  // namespace gramstep::test
