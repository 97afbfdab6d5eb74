// Schedules against torch's formulas: every phase, the boundaries, beyond the end, counts of 64 bits.
#include "gramstep/schedules.hpp"

#include <algorithm>
#include <limits>

#include "tests/reference/schedules.hpp"
#include "tests/support.hpp"

namespace gramstep::test {
namespace {

using reference::Real;

constexpr double lr = 0.3;

/// A dozen roundings of the larger of the rates between which a schedule moves, which a cosine's own
/// error is among.
void expect_near(double got, Real expected, double largest) {
  constexpr double roundings = 12 * 0x1p-53;
  ASSERT_LE(std::fabs(static_cast<Real>(got) - expected), roundings * largest)
      << got << " against " << static_cast<double>(expected);
}

/// Step counts around every multiple of the lengths, and far beyond.
std::vector<std::int64_t> steps_around(std::int64_t length) {
  std::vector<std::int64_t> steps{0, 1, 2};
  for (int multiple = 1; multiple <= 5; ++multiple) {
    for (const std::int64_t by : {-1, 0, 1}) steps.push_back(multiple * length + by);
    steps.push_back(multiple * length - length / 3);
  }
  return steps;
}

constexpr std::int64_t lengths[] = {1, 2, 7, 1000, (std::int64_t{1} << 40) + 12345};

TEST(Schedules, ConstantIsTheRulesOwn) {
  EXPECT_EQ(ConstantLR{}.at(lr, 0).lr, lr);
  EXPECT_EQ(ConstantLR{}.at(lr, INT64_MAX).lr, lr);
  EXPECT_TRUE(std::isnan(ConstantLR{}.at(lr, 0).momentum));
}

TEST(Schedules, CosineGoesDownAndUpAgain) {
  for (const std::int64_t length : lengths) {
    for (const double least : {0.0, 0.01, 0.5}) {  // torch lets it rise, too
      const CosineAnnealingLR schedule{.total_steps = length, .min_lr = least};
      for (const std::int64_t t : steps_around(length)) {
        SCOPED_TRACE(t);
        expect_near(schedule.at(lr, t).lr, reference::cosine_annealing(lr, t, length, least), 0.5);
      }
    }
  }
}

/// torch steps from rate to rate, which loses a few hundred roundings on the way: long double.
TEST(Schedules, CosineIsTorchsChain) {
  const CosineAnnealingLR schedule{.total_steps = 50, .min_lr = 0.01};
  for (std::int64_t t = 0; t <= 160; ++t) {
    const Real chained = reference::chained_cosine_annealing(lr, t, 50, 0.01);
    EXPECT_NEAR(schedule.at(lr, t).lr, static_cast<double>(chained), 1e-14) << t;
  }
}

TEST(Schedules, PolynomialEndsAtZeroAndStays) {
  for (const std::int64_t length : lengths) {
    for (const double exponent : {0.0, 0.5, 1.0, 2.0, 4.0, 63.0}) {
      const PolynomialLR schedule{.total_steps = length, .exponent = exponent};
      for (const std::int64_t t : steps_around(length)) {
        SCOPED_TRACE(std::to_string(t) + " of " + std::to_string(length));
        // 1 - t / T has an absolute error of two roundings, magnified by the exponent; raised() has
        // 7 |y log x| + 4 roundings of x^y, and x^y |log x| is below 1 / (e y).
        const double got = schedule.at(lr, t).lr;
        const Real expected = reference::polynomial(lr, t, length, exponent);
        const double roundings = 2 * exponent + 7 / std::exp(1.0) + 8;
        ASSERT_LE(std::fabs(static_cast<Real>(got) - expected), roundings * 0x1p-53 * lr);
      }
      EXPECT_EQ(schedule.at(lr, length).lr, exponent == 0 ? lr : 0.0);
      EXPECT_EQ(schedule.at(lr, INT64_MAX).lr, exponent == 0 ? lr : 0.0);
    }
  }
}

TEST(Schedules, StepsDownByAFactor) {
  for (const std::int64_t length : lengths) {
    const StepLR schedule{.step_size = length, .gamma = 0.7};
    for (const std::int64_t t : steps_around(length)) {
      SCOPED_TRACE(t);
      const Real expected = reference::step_lr(lr, t, length, static_cast<Real>(0.7));
      expect_near(schedule.at(lr, t).lr, expected, static_cast<double>(expected));
    }
  }
  EXPECT_EQ((StepLR{.step_size = 5, .gamma = 0.5}.at(1, 4).lr), 1.0);
  EXPECT_EQ((StepLR{.step_size = 5, .gamma = 0.5}.at(1, 5).lr), 0.5);
  EXPECT_EQ((StepLR{.gamma = 0}.at(1, 0).lr), 1.0);
  EXPECT_EQ((StepLR{.gamma = 0}.at(1, 1).lr), 0.0);
  EXPECT_EQ((StepLR{.gamma = 0.5}.at(1, std::int64_t{1} << 40).lr), 0.0);
}

TEST(Schedules, StaysThenDecays) {
  for (const Anneal anneal : {Anneal::linear, Anneal::cosine}) {
    for (const std::int64_t stable : {std::int64_t{0}, std::int64_t{10}, std::int64_t{1} << 40}) {
      const StableDecayLR schedule{
          .stable_steps = stable, .decay_steps = 8, .min_lr = 0.1, .anneal = anneal};
      expect_near(schedule.at(lr, 0).lr, lr, lr);
      expect_near(schedule.at(lr, stable).lr, lr, lr);
      for (int late = 0; late <= 10; ++late) {
        const Real share = static_cast<Real>(std::min(late, 8)) / 8;
        const Real left =
            anneal == Anneal::linear ? 1 - share : (1 + std::cos(reference::pi * share)) / 2;
        const Real least = static_cast<Real>(0.1);
        expect_near(schedule.at(lr, stable + late).lr, least + (lr - least) * left, lr);
      }
    }
  }
}

/// All steps, and one beyond the end, where torch throws and this one stays.
void expect_one_cycle(const OneCycleLR& schedule) {
  const reference::OneCycle torch{.max_lr = lr,
                                  .total_steps = schedule.total_steps,
                                  .pct_start = static_cast<Real>(schedule.pct_start),
                                  .cosine = schedule.anneal == Anneal::cosine,
                                  .base_momentum = static_cast<Real>(schedule.base_momentum),
                                  .max_momentum = static_cast<Real>(schedule.max_momentum),
                                  .div_factor = static_cast<Real>(schedule.div_factor),
                                  .final_div_factor = static_cast<Real>(schedule.final_div_factor),
                                  .three_phase = schedule.three_phase};
  const std::int64_t last = schedule.total_steps - 1;
  // pct_start * total - 1, where a phase ends, is off by a rounding of total: so much is a share of a
  // phase, and as much of what lies between its ends.
  const double total = static_cast<double>(schedule.total_steps);
  const double up = schedule.pct_start * total - 1;
  const double share = total / std::min(up, total - 1 - (schedule.three_phase ? 2 * up : up));
  for (std::int64_t t = 0; t <= last; t += std::max<std::int64_t>(1, last / 997)) {
    SCOPED_TRACE(std::to_string(t) + " of " + std::to_string(schedule.total_steps));
    const auto [rate, momentum] = torch.at(t);
    const Scheduled got = schedule.at(lr, t);
    expect_near(got.lr, rate, lr * share);
    expect_near(got.momentum, momentum, share);
  }
  EXPECT_EQ(schedule.at(lr, last).lr, schedule.at(lr, last + 1).lr);
  EXPECT_EQ(schedule.at(lr, last).momentum, schedule.at(lr, INT64_MAX).momentum);
}

TEST(Schedules, OneCycleIsTorchs) {
  for (const std::int64_t total :
       {std::int64_t{10}, std::int64_t{37}, std::int64_t{1000}, (std::int64_t{1} << 40) + 7}) {
    for (const Anneal anneal : {Anneal::cosine, Anneal::linear}) {
      for (const double pct_start : {0.3, 0.45, 0.21}) {
        for (const bool three_phase : {false, true}) {
          expect_one_cycle({.total_steps = total,
                            .pct_start = pct_start,
                            .anneal = anneal,
                            .base_momentum = 0.8,
                            .max_momentum = 0.9,
                            .div_factor = 10,
                            .final_div_factor = 100,
                            .three_phase = three_phase});
        }
      }
    }
  }
}

TEST(Schedules, OneCycleAtItsEdges) {
  const OneCycleLR half{.total_steps = 11, .pct_start = 1.0 / 11 * 6};  // its peak is step 5
  expect_near(half.at(lr, 0).lr, lr / 25, lr);
  expect_near(half.at(lr, 5).lr, lr, lr);
  expect_near(half.at(lr, 5).momentum, static_cast<Real>(0.85), 1);
  expect_near(half.at(lr, 10).lr, lr / 25e4, lr);
  expect_near(half.at(lr, 10).momentum, static_cast<Real>(0.95), 1);
  // No steps in which to rise, or to fall; one step alone: torch divides by zero.
  for (const OneCycleLR& odd :
       {OneCycleLR{.total_steps = 10, .pct_start = 0},
        OneCycleLR{.total_steps = 10, .pct_start = 0.1},
        OneCycleLR{.total_steps = 10, .pct_start = 1},
        OneCycleLR{.total_steps = 10, .pct_start = 1, .three_phase = true},
        OneCycleLR{.total_steps = 2, .pct_start = 0.5}, OneCycleLR{.total_steps = 1}}) {
    for (std::int64_t t = 0; t < odd.total_steps + 2; ++t) {
      const Scheduled now = odd.at(lr, t);
      EXPECT_TRUE(now.lr > 0 && now.lr <= lr * (1 + 1e-15)) << now.lr;
      EXPECT_TRUE(now.momentum >= 0.85 - 1e-15 && now.momentum <= 0.95 + 1e-15) << now.momentum;
    }
  }
  const OneCycleLR steady{.total_steps = 10, .cycle_momentum = false};
  EXPECT_TRUE(std::isnan(steady.at(lr, 3).momentum));
}

}  // namespace
}  // namespace gramstep::test
