// PCGrad's fresh orders: random enough, and the same everywhere.
#include <algorithm>
#include <array>
#include <map>

#include "gramstep/philox.hpp"
#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

/// Known answers from Random123, the generator's own distribution.
TEST(Philox, KnownAnswers) {
  const auto expect_words = [](const PhiloxWords& got, const std::array<std::uint32_t, 4>& words) {
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(got.word[i], words[i]) << "word " << i;
  };
  expect_words(philox(0, {{0, 0, 0, 0}}), {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  expect_words(philox(~std::uint64_t{0}, {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}}),
               {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  // The digits of pi as counter and key.
  expect_words(philox(0x299f31d0a4093822, {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}),
               {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

using Order = std::vector<int>;

Order order_of(const PCGrad& pcgrad, int task, int tasks, std::int64_t step) {
  return orders_of(pcgrad, tasks, step)[static_cast<std::size_t>(task)];
}

TEST(FreshOrder, IsAPermutationOfAllTasks) {
  for (const int tasks : {1, 2, 3, 17, 64}) {
    Order all(static_cast<std::size_t>(tasks));
    for (int i = 0; i < tasks; ++i) all[static_cast<std::size_t>(i)] = i;
    for (const std::int64_t step : {std::int64_t{1}, std::int64_t{1} << 40}) {
      for (Order order : orders_of(PCGrad{.seed = 3}, tasks, step)) {
        std::sort(order.begin(), order.end());
        EXPECT_EQ(order, all);
      }
    }
  }
}

TEST(FreshOrder, FixedOrderIsByIndex) {
  const PCGrad fixed{.order = PCGradOrder::fixed, .seed = 3};
  EXPECT_EQ(order_of(fixed, 2, 5, 77), (Order{0, 1, 2, 3, 4}));
}

TEST(FreshOrder, DependsOnSeedStepAndTaskAlone) {
  const PCGrad pcgrad{.seed = 5};
  const Order order = order_of(pcgrad, 3, 64, 1000);
  EXPECT_EQ(order, order_of(PCGrad{.reduction = Reduction::mean, .seed = 5}, 3, 64, 1000));
  EXPECT_NE(order, order_of(PCGrad{.seed = 6}, 3, 64, 1000));
  EXPECT_NE(order, order_of(PCGrad{.seed = 5 + (std::uint64_t{1} << 32)}, 3, 64, 1000));
  EXPECT_NE(order, order_of(pcgrad, 4, 64, 1000));
  EXPECT_NE(order, order_of(pcgrad, 3, 64, 1001));
  EXPECT_NE(order, order_of(pcgrad, 3, 64, 1000 + (std::int64_t{1} << 32)));
}

/// Orders are part of the promise that a run can be resumed: these
/// must not change between versions.
TEST(FreshOrder, IsWhatItWas) {
  EXPECT_EQ(order_of(PCGrad{.seed = 7}, 0, 8, 1), (Order{2, 7, 4, 0, 5, 6, 1, 3}));
  EXPECT_EQ(order_of(PCGrad{.seed = 7}, 1, 8, 1), (Order{2, 6, 3, 0, 1, 4, 5, 7}));
}

/// The statistic of counts that should all be the same.
double chi_square(const std::vector<int>& counts, double expected) {
  double sum = 0;
  for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

// The seeds are fixed, so these tests always pass or always fail; had a seed been drawn at random,
// a perfect generator would have failed one in a million.

TEST(FreshOrder, AllOrdersAreEquallyLikely) {
  constexpr int draws = 24'000;
  constexpr double one_in_a_million = 70.55;  // of chi-square, 4! - 1 degrees of freedom
  for (const int task : {0, 3}) {
    std::map<Order, int> seen;
    for (int step = 1; step <= draws; ++step) ++seen[order_of(PCGrad{.seed = 11}, task, 4, step)];
    ASSERT_EQ(seen.size(), 24u);
    std::vector<int> counts;
    for (const auto& [order, count] : seen) counts.push_back(count);
    EXPECT_LE(chi_square(counts, draws / 24.0), one_in_a_million) << "task " << task;
  }
}

TEST(FreshOrder, EveryTaskIsInEveryPlaceEquallyOften) {
  constexpr int tasks = 64, steps = 100, draws = steps * tasks;
  constexpr double one_in_a_million = 4407.0;  // 63 * 63 degrees of freedom
  std::vector<int> counts(tasks * tasks);
  for (int step = 1; step <= steps; ++step) {
    for (const Order& order : orders_of(PCGrad{.seed = 13}, tasks, step)) {
      for (std::size_t place = 0; place < tasks; ++place) {
        ++counts[place * tasks + static_cast<std::size_t>(order[place])];
      }
    }
  }
  EXPECT_LE(chi_square(counts, draws / static_cast<double>(tasks)), one_in_a_million);
}

TEST(FreshOrder, TasksDrawIndependently) {
  constexpr int draws = 36'000;
  constexpr double one_in_a_million = 89.95;  // 36 - 1 degrees of freedom
  std::map<std::pair<Order, Order>, int> seen;
  for (int step = 1; step <= draws; ++step) {
    const auto orders = orders_of(PCGrad{.seed = 17}, 3, step);
    ++seen[{orders[0], orders[1]}];
  }
  ASSERT_EQ(seen.size(), 36u);
  std::vector<int> counts;
  for (const auto& [pair, count] : seen) counts.push_back(count);
  EXPECT_LE(chi_square(counts, draws / 36.0), one_in_a_million);
}

}  // namespace
}  // namespace gramstep::test
