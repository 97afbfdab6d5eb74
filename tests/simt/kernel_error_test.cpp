// Kernels that would hang a GPU, or leave its result undefined, end in an error that says where.
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "test_support.hpp"

namespace gramstep::simt {
namespace {

/// The message of the KernelError, or an empty string if the kernel ran through.
template <class Body>
std::string error_of(const Body& body, Launch launch = {.blocks = 3, .threads = 64}) {
  try {
    run(launch, body);
  } catch (const KernelError& error) {
    return error.what();
  }
  return "";
}

/// "thread 3 waits in sync (/path/kernel_error_test.cpp:20)" as it stands in a message.
std::string waiting(int thread, const char* primitive, int line) {
  return "thread " + std::to_string(thread) + " waits in " + primitive + " (" + __FILE__ + ":" +
         std::to_string(line) + ")";
}

/// Its threads are dropped with an array on their stacks, whose red zones must not stay behind.
struct DivergentBarrier {
  using Shared = NoShared;
  static constexpr int line = __LINE__ + 8;  // of the first branch

  template <class X>
  void operator()(const X& x, Shared&) const {
    volatile int array[40];
    array[x.lane()] = 2;
    if (x.block() < array[x.lane()]) return;
    if (x.thread() < 40) {
      x.sync();
    } else {
      x.sync();
    }
  }
};

TEST(KernelErrorTest, DivergentBarrier) {
  constexpr int line = DivergentBarrier::line;
  for (const Order order : all_orders) {
    EXPECT_EQ(error_of(DivergentBarrier{}, {.blocks = 3, .threads = 64, .order = order}),
              "block 2: divergent barrier: " + waiting(0, "sync", line) + ", " +
                  waiting(40, "sync", line + 2));
  }
}

struct BarrierAfterExit {
  int* passed;
  using Shared = NoShared;
  static constexpr int line = __LINE__ + 5;

  template <class X>
  void operator()(const X& x, Shared&) const {
    if (x.thread() >= 50) return;
    x.sync();
    if (x.thread() == 0) ++*passed;
  }
};

TEST(KernelErrorTest, BarrierAfterExit) {
  int passed = 0;
  EXPECT_EQ(error_of(BarrierAfterExit{&passed}), "block 0: barrier after the exit of a thread: " +
                                                     waiting(0, "sync", BarrierAfterExit::line) +
                                                     ", thread 50 has exited");
  EXPECT_EQ(passed, 0);
}

TEST(KernelErrorTest, ExitedThreadsCountAsArrivedWhereThatIsAllowed) {
  int passed = 0;
  run({.blocks = 3, .threads = 64, .strict_exit = false}, BarrierAfterExit{&passed});
  EXPECT_EQ(passed, 3);
}

struct ShuffleAfterExit {
  using Shared = NoShared;
  static constexpr int line = __LINE__ + 5;

  template <class X>
  void operator()(const X& x, Shared&) const {
    if (x.thread() == 37) return;
    x.shuffle_down(1, 1);
  }
};

TEST(KernelErrorTest, ShuffleInAWarpOfWhichALaneHasExited) {
  EXPECT_EQ(error_of(ShuffleAfterExit{}), "block 0: a lane of the warp has exited: " +
                                              waiting(32, "shuffle_down", ShuffleAfterExit::line) +
                                              ", thread 37 has exited");
}

struct Deadlock {
  using Shared = NoShared;
  static constexpr int line = __LINE__ + 5;  // of the first branch

  template <class X>
  void operator()(const X& x, Shared&) const {
    if (x.lane() < 16) {
      x.sync();
    } else {
      x.warp_sum(1);
    }
  }
};

TEST(KernelErrorTest, Deadlock) {
  constexpr int line = Deadlock::line;
  EXPECT_EQ(error_of(Deadlock{}),
            "block 0: deadlock in a warp: " + waiting(16, "warp_sum", line + 2) + ", " +
                waiting(0, "sync", line));
}

struct DivergentShuffle {
  using Shared = NoShared;
  static constexpr int line = __LINE__ + 5;  // of the first branch

  template <class X>
  void operator()(const X& x, Shared&) const {
    if (x.lane() < 16) {
      x.shuffle_down(1, 1);
    } else {
      x.shuffle_down(2, 1);
    }
  }
};

TEST(KernelErrorTest, DivergentShuffle) {
  constexpr int line = DivergentShuffle::line;
  EXPECT_EQ(error_of(DivergentShuffle{}), "block 0: lanes of a warp meet in different calls: " +
                                              waiting(0, "shuffle_down", line) + ", " +
                                              waiting(16, "shuffle_down", line + 2));
}

struct Throw {
  using Shared = NoShared;

  template <class X>
  void operator()(const X& x, Shared&) const {
    x.sync();
    if (x.thread() == 33) throw std::out_of_range("thread 33");
    x.sync();
  }
};

TEST(KernelErrorTest, ExceptionsOfABodyReachTheCaller) {
  EXPECT_THROW(run({.threads = 64}, Throw{}), std::out_of_range);
}

double block_sum() {
  const std::vector<double> in = one_two_three(1000);
  double out = NAN;
  run({.threads = 256}, BlockSum<>{in.data(), 1000, &out});
  return out;
}

TEST(KernelErrorTest, LeavesTheRunnerUsable) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(error_of(DivergentBarrier{}), "");
    EXPECT_EQ(block_sum(), 500500.0);
    EXPECT_NE(error_of(Deadlock{}), "");
    EXPECT_THROW(run({.threads = 64}, Throw{}), std::out_of_range);
    EXPECT_EQ(block_sum(), 500500.0);
  }
}

}  // namespace
}  // namespace gramstep::simt
