// Correct kernels give what a GPU gives, in every order.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "test_support.hpp"

namespace gramstep::simt {
namespace {

class EveryOrder : public testing::TestWithParam<Order> {};

std::string name_of(const testing::TestParamInfo<Order>& order) {
  constexpr const char* names[] = {"Forward", "Reverse", "Random"};
  return names[static_cast<int>(order.param)];
}

INSTANTIATE_TEST_SUITE_P(, EveryOrder, testing::ValuesIn(all_orders), name_of);

double sum_over_grid(const Launch& launch, const std::vector<double>& in) {
  std::vector<double> out(static_cast<std::size_t>(launch.blocks), NAN);
  run(launch, BlockSum<>{in.data(), static_cast<std::int64_t>(in.size()), out.data()});
  return std::accumulate(out.begin(), out.end(), 0.0);
}

TEST_P(EveryOrder, SumsABlock) {
  for (const int threads : {32, 64, 256, 1024}) {
    EXPECT_EQ(
        sum_over_grid({.blocks = 1, .threads = threads, .order = GetParam()}, one_two_three(1000)),
        500500.0);
  }
}

TEST_P(EveryOrder, SumsOverManyBlocks) {
  EXPECT_EQ(
      sum_over_grid({.blocks = 100, .threads = 64, .order = GetParam()}, one_two_three(20000)),
      200010000.0);
}

/// A prefix sum over the block by Hillis and Steele: two barriers a round.
struct PrefixSum {
  int* values;

  struct Shared {
    int cells[1024];
  };

  template <class X>
  void operator()(const X& x, Shared& shared) const {
    const int t = x.thread();
    shared.cells[t] = values[t];
    for (int step = 1; step < x.threads(); step *= 2) {
      x.sync();
      const int below = t >= step ? shared.cells[t - step] : 0;
      x.sync();
      shared.cells[t] += below;
    }
    values[t] = shared.cells[t];
  }
};

TEST_P(EveryOrder, KeepsBarriersApart) {
  std::vector<int> values(1024, 1);
  run({.threads = 1024, .order = GetParam()}, PrefixSum{values.data()});
  for (int i = 0; i < 1024; ++i) ASSERT_EQ(values[static_cast<std::size_t>(i)], i + 1);
}

struct PlaceRecord {
  int thread, threads, lane, warp;
  std::int64_t block, blocks;
};

struct RecordPlaces {
  PlaceRecord* records;
  using Shared = NoShared;

  template <class X>
  void operator()(const X& x, Shared&) const {
    records[x.block() * x.threads() + x.thread()] = {x.thread(), x.threads(), x.lane(),
                                                     x.warp(),   x.block(),   x.blocks()};
  }
};

TEST_P(EveryOrder, TellsEveryThreadItsPlace) {
  std::vector<PlaceRecord> records(3 * 96);
  run({.blocks = 3, .threads = 96, .order = GetParam()}, RecordPlaces{records.data()});
  for (int i = 0; i < 3 * 96; ++i) {
    const PlaceRecord& record = records[static_cast<std::size_t>(i)];
    EXPECT_EQ(record.thread, i % 96);
    EXPECT_EQ(record.threads, 96);
    EXPECT_EQ(record.lane, i % 32);
    EXPECT_EQ(record.warp, i % 96 / 32);
    EXPECT_EQ(record.block, i / 96);
    EXPECT_EQ(record.blocks, 3);
  }
}

template <class T>
struct ShuffleDown {
  int offset;
  T* out;
  using Shared = NoShared;

  template <class X>
  void operator()(const X& x, Shared&) const {
    out[x.thread()] = x.shuffle_down(static_cast<T>(x.thread() + 1), offset);
  }
};

template <class T>
void expect_shuffle_down(Order order) {
  for (const int offset : {0, 1, 5, 31, 32}) {
    std::vector<T> out(64);
    run({.threads = 64, .order = order}, ShuffleDown<T>{offset, out.data()});
    for (int i = 0; i < 64; ++i) {
      const int source = i % 32 + offset < 32 ? i + offset : i;
      EXPECT_EQ(out[static_cast<std::size_t>(i)], static_cast<T>(source + 1)) << i << "+" << offset;
    }
  }
}

TEST_P(EveryOrder, ShufflesValuesOfOneToEightBytes) {
  expect_shuffle_down<std::int8_t>(GetParam());
  expect_shuffle_down<float>(GetParam());
  expect_shuffle_down<std::int64_t>(GetParam());
  expect_shuffle_down<double>(GetParam());
}

/// The same sum by warp_sum and by the shuffles it stands for.
struct WarpSums {
  const float* in;
  float* at_once;
  float* step_by_step;
  using Shared = NoShared;

  template <class X>
  void operator()(const X& x, Shared&) const {
    at_once[x.thread()] = x.warp_sum(in[x.thread()]);
    float sum = in[x.thread()];
    for (int offset = 16; offset > 0; offset /= 2) sum += x.shuffle_down(sum, offset);
    step_by_step[x.thread()] = sum;
  }
};

TEST_P(EveryOrder, SumsAWarpToTheBitsOfItsShuffles) {
  std::vector<float> in(64), at_once(64), step_by_step(64);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = 1.0f / static_cast<float>(i + 1);
  run({.threads = 64, .order = GetParam()},
      WarpSums{in.data(), at_once.data(), step_by_step.data()});
  for (const std::size_t warp : {0u, 32u}) EXPECT_EQ(at_once[warp], step_by_step[warp]);
  EXPECT_TRUE(std::isnan(at_once[1])) << "valid in lane 0 only";
}

/// Sums over eight lanes, one of which has them.
struct GroupSums {
  const float* in;
  float* out;
  using Shared = NoShared;

  template <class X>
  void operator()(const X& x, Shared&) const {
    out[x.thread()] = x.template warp_sum<8>(in[x.thread()]);
  }
};

TEST_P(EveryOrder, SumsGroupsOfLanes) {
  std::vector<float> in(64), out(64);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
  run({.threads = 64, .order = GetParam()}, GroupSums{in.data(), out.data()});
  for (std::size_t first = 0; first < 64; first += 8) {
    EXPECT_EQ(out[first], static_cast<float>(8 * first + 28));
    EXPECT_TRUE(std::isnan(out[first + 1]));
  }
}

/// Numbers of 16 bits that are integers.
struct Integer16 {
  static float widen(std::uint16_t stored) { return static_cast<float>(stored); }
};

/// 1 + A B of matrices whose elements come by row of A and by column of B.
struct MultiplyAdd {
  const std::uint16_t* a;  // [16, 16]
  const std::uint16_t* b;  // [8, 16]
  float* sums;             // [16, 8]
  using Shared = NoShared;

  template <class X>
  void operator()(const X& x, Shared&) const {
    const int g = x.lane() / 4, t = x.lane() % 4;
    const auto two = [](const std::uint16_t* at) { return std::uint32_t{at[1]} << 16 | at[0]; };
    const auto of_a = [&](int row, int column) { return two(a + row * 16 + column); };
    float own[4] = {1, 1, 1, 1};
    x.template multiply_add<Integer16>(
        own, {of_a(g, 2 * t), of_a(g + 8, 2 * t), of_a(g, 2 * t + 8), of_a(g + 8, 2 * t + 8)},
        {two(b + g * 16 + 2 * t), two(b + g * 16 + 2 * t + 8)});
    for (int c = 0; c < 4; ++c) sums[(g + c / 2 * 8) * 8 + 2 * t + c % 2] = own[c];
  }
};

TEST_P(EveryOrder, MultipliesMatrices) {
  std::vector<std::uint16_t> a(16 * 16), b(8 * 16);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<std::uint16_t>(i * i % 251);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<std::uint16_t>(i * 7 % 127);
  std::vector<float> sums(16 * 8);
  run({.order = GetParam()}, MultiplyAdd{a.data(), b.data(), sums.data()});
  for (std::size_t i = 0; i < 16; ++i) {
    for (std::size_t j = 0; j < 8; ++j) {
      int expected = 1;
      for (std::size_t k = 0; k < 16; ++k) expected += a[i * 16 + k] * b[j * 16 + k];
      EXPECT_EQ(sums[i * 8 + j], static_cast<float>(expected)) << i << ", " << j;
    }
  }
}

/// Two groups of copies of 16 bytes a thread; what is there after a wait that leaves `Pending`.
template <int Pending>
struct Copies {
  const float* in;  // [2, 4 threads]
  float* out;
  struct Shared {
    alignas(16) float staged[2][4 * 32];
  };

  template <class X>
  void operator()(const X& x, Shared& shared) const {
    const int at = 4 * x.thread();
    for (int group = 0; group < 2; ++group) {
      x.copy_async(&shared.staged[group][at], in + group * 4 * x.threads() + at);
      x.commit_copies();
    }
    x.template wait_for_copies<Pending>();
    x.sync();
    const int neighbour = 4 * ((x.thread() + 1) % x.threads());
    for (int group = 0; group < 2; ++group) {
      out[2 * x.thread() + group] = shared.staged[group][neighbour + 3];
    }
  }
};

TEST_P(EveryOrder, CopiesAreThereAfterAWaitAndNotBefore) {
  std::vector<float> in(2 * 4 * 32), all(64), first(64);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
  run({.order = GetParam()}, Copies<0>{in.data(), all.data()});
  run({.order = GetParam()}, Copies<1>{in.data(), first.data()});
  for (std::size_t t = 0; t < 32; ++t) {
    const std::size_t element = 4 * ((t + 1) % 32) + 3;
    EXPECT_EQ(all[2 * t], in[element]);
    EXPECT_EQ(all[2 * t + 1], in[128 + element]);
    EXPECT_EQ(first[2 * t], in[element]);
    EXPECT_TRUE(std::isnan(first[2 * t + 1])) << "still on its way";
  }
}

/// Who ran when.
struct Trace {
  int* clock;
  std::int64_t* ran;
  using Shared = NoShared;

  template <class X>
  void operator()(const X& x, Shared&) const {
    ran[std::atomic_ref(*clock).fetch_add(1)] = x.block() * x.threads() + x.thread();
  }
};

std::vector<std::int64_t> trace(Order order, unsigned seed = 1) {
  int clock = 0;
  std::vector<std::int64_t> ran(4 * 64);
  run({.blocks = 4, .threads = 64, .order = order, .seed = seed}, Trace{&clock, ran.data()});
  return ran;
}

TEST(OrderTest, ForwardAndReverseAreEachOthersMirror) {
  std::vector<std::int64_t> expected(4 * 64);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(trace(Order::forward), expected);
  EXPECT_EQ(trace(Order::reverse), std::vector(expected.rbegin(), expected.rend()));
}

TEST(OrderTest, RandomIsAPermutationThatTheSeedDetermines) {
  std::vector<std::int64_t> seven = trace(Order::random, 7);
  EXPECT_EQ(seven, trace(Order::random, 7));
  EXPECT_NE(seven, trace(Order::random, 8));
  std::sort(seven.begin(), seven.end());
  EXPECT_EQ(seven, trace(Order::forward));
}

struct RoundingMode {
  int* out;
  using Shared = NoShared;

  template <class X>
  void operator()(const X& x, Shared&) const {
    x.sync();
    out[x.thread()] = std::fegetround();
  }
};

TEST(EnvironmentTest, KernelsRunInTheFloatingPointEnvironmentOfTheCaller) {
  const int before = std::fegetround();
  for (const int mode : {FE_TONEAREST, FE_UPWARD, FE_TONEAREST}) {
    std::fesetround(mode);
    std::vector<int> out(32, -1);
    run({}, RoundingMode{out.data()});
    EXPECT_EQ(std::fegetround(), mode);
    EXPECT_EQ(out, std::vector<int>(32, mode));
  }
  std::fesetround(before);
}

TEST(LaunchTest, RefusesWhatAGpuWouldRefuse) {
  const RecordPlaces body{nullptr};
  EXPECT_THROW(run({.blocks = 0}, body), std::invalid_argument);
  EXPECT_THROW(run({.blocks = std::int64_t{1} << 31}, body), std::invalid_argument);
  for (const int threads : {0, 1, 33, 1056, -32}) {
    EXPECT_THROW(run({.threads = threads}, body), std::invalid_argument) << threads;
  }
}

}  // namespace
}  // namespace gramstep::simt
