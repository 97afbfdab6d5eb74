// Bugs put into kernels on purpose, and who sees them: the plain build by a wrong value in some
// order, or a sanitizer, which ends the process with a report.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "test_support.hpp"

// A report ends the process. So wherever a kernel runs outside EXPECT_EXIT, in any file of this
// program, there was nothing to report.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "halt_on_error=1:exitcode=66"; }
extern "C" const char* __ubsan_default_options();
extern "C" const char* __ubsan_default_options() { return "halt_on_error=1"; }

namespace gramstep::simt {
namespace {

#define SKIP_UNLESS(build, name) \
  if (!(build)) GTEST_SKIP() << "needs GRAMSTEP_SANITIZE=" name

/// A new process each time: a fork of one with TSan's threads in it may hang.
class SeededBugTest : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

bool any_exit(int) { return true; }

// Every kernel below has `threads` threads and this shape: floats in, floats out.

constexpr int threads = 64;

std::vector<float> numbers() {
  std::vector<float> values(threads);
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

template <class Body>
std::vector<float> results_of(Order order) {
  const std::vector<float> in = numbers();
  std::vector<float> out(threads, NAN);
  run({.threads = threads, .order = order}, Body{in.data(), out.data()});
  return out;
}

/// Whether the body gives `expected` in all orders.
template <class Body>
bool is_right(const std::vector<float>& expected) {
  for (const Order order : all_orders) {
    if (results_of<Body>(order) != expected) return false;
  }
  return true;
}

template <class Body>
void expect_race_report() {
  for (const Order order : all_orders) {
    EXPECT_EXIT(results_of<Body>(order), testing::ExitedWithCode(66), "data race");
  }
}

std::vector<float> rotated() {
  std::vector<float> values = numbers();
  std::rotate(values.begin(), values.begin() + 1, values.end());
  return values;
}

/// out[i] = in[i + 1], cyclically, through shared memory.
template <Barrier barrier>
struct ReadAfterWrite {
  const float* in;
  float* out;

  struct Shared {
    float cells[threads];
  };

  template <class X>
  void operator()(const X& x, Shared& shared) const {
    shared.cells[x.thread()] = in[x.thread()];
    sync_if<barrier>(x);
    out[x.thread()] = shared.cells[(x.thread() + 1) % threads];
  }
};

TEST_F(SeededBugTest, ReadAfterWriteIsRightWithItsBarrier) {
  EXPECT_TRUE(is_right<ReadAfterWrite<Barrier::present>>(rotated()));
}

TEST_F(SeededBugTest, ReadAfterWriteIsWrongWithoutItsBarrier) {
  if (thread_build) GTEST_SKIP() << "reported as a race instead";
  EXPECT_FALSE(is_right<ReadAfterWrite<Barrier::missing>>(rotated()));
}

TEST_F(SeededBugTest, ReadAfterWriteIsReportedWithoutItsBarrier) {
  SKIP_UNLESS(thread_build, "thread");
  expect_race_report<ReadAfterWrite<Barrier::missing>>();
}

/// out[i] = in[i + 1], cyclically in the warp, by a barrier of the warp alone.
template <Barrier barrier>
struct ReadAfterWriteInWarp {
  const float* in;
  float* out;

  struct Shared {
    float cells[threads];
  };

  template <class X>
  void operator()(const X& x, Shared& shared) const {
    shared.cells[x.thread()] = in[x.thread()];
    if constexpr (barrier == Barrier::present) x.warp_sync();
    out[x.thread()] = shared.cells[x.warp() * warp_size + (x.lane() + 1) % warp_size];
  }
};

std::vector<float> rotated_by_warp() {
  std::vector<float> values = numbers();
  std::rotate(values.begin(), values.begin() + 1, values.begin() + warp_size);
  std::rotate(values.begin() + warp_size, values.begin() + warp_size + 1, values.end());
  return values;
}

TEST_F(SeededBugTest, ReadAfterWriteInAWarpIsRightWithItsBarrier) {
  EXPECT_TRUE(is_right<ReadAfterWriteInWarp<Barrier::present>>(rotated_by_warp()));
}

TEST_F(SeededBugTest, ReadAfterWriteInAWarpIsWrongWithoutItsBarrier) {
  if (thread_build) GTEST_SKIP() << "reported as a race instead";
  EXPECT_FALSE(is_right<ReadAfterWriteInWarp<Barrier::missing>>(rotated_by_warp()));
}

TEST_F(SeededBugTest, ReadAfterWriteInAWarpIsReportedWithoutItsBarrier) {
  SKIP_UNLESS(thread_build, "thread");
  expect_race_report<ReadAfterWriteInWarp<Barrier::missing>>();
}

/// The same, with shared memory rotated in place.
template <Barrier barrier>
struct WriteAfterRead {
  const float* in;
  float* out;

  struct Shared {
    float cells[threads];
  };

  template <class X>
  void operator()(const X& x, Shared& shared) const {
    shared.cells[x.thread()] = in[x.thread()];
    x.sync();
    const float next = shared.cells[(x.thread() + 1) % threads];
    sync_if<barrier>(x);
    shared.cells[x.thread()] = next;
    x.sync();
    out[x.thread()] = shared.cells[x.thread()];
  }
};

TEST_F(SeededBugTest, WriteAfterReadIsRightWithItsBarrier) {
  EXPECT_TRUE(is_right<WriteAfterRead<Barrier::present>>(rotated()));
}

TEST_F(SeededBugTest, WriteAfterReadIsWrongWithoutItsBarrier) {
  if (thread_build) GTEST_SKIP() << "reported as a race instead";
  EXPECT_FALSE(is_right<WriteAfterRead<Barrier::missing>>(rotated()));
}

TEST_F(SeededBugTest, WriteAfterReadIsReportedWithoutItsBarrier) {
  SKIP_UNLESS(thread_build, "thread");
  expect_race_report<WriteAfterRead<Barrier::missing>>();
}

enum class Adding { atomic, plain };

/// out[i] = sum of in. No fiber is interrupted inside an addition: no wrong value gives it away.
template <Adding adding>
struct Accumulate {
  const float* in;
  float* out;

  struct Shared {
    float sum;
  };

  template <class X>
  void operator()(const X& x, Shared& shared) const {
    if (x.thread() == 0) shared.sum = 0;
    x.sync();
    if constexpr (adding == Adding::atomic) {
      std::atomic_ref(shared.sum).fetch_add(in[x.thread()]);
    } else {
      shared.sum += in[x.thread()];
    }
    x.sync();
    out[x.thread()] = shared.sum;
  }
};

TEST_F(SeededBugTest, AtomicAccumulationIsNotReported) {
  EXPECT_TRUE(is_right<Accumulate<Adding::atomic>>(std::vector<float>(threads, 2080)));
}

TEST_F(SeededBugTest, PlainAccumulationIsReported) {
  SKIP_UNLESS(thread_build, "thread");
  expect_race_report<Accumulate<Adding::plain>>();
}

/// Lane 0 writes, the other lanes read after a shuffle, which orders no memory.
struct ShuffleForBarrier {
  const float* in;
  float* out;

  struct Shared {
    float of_warp[threads / warp_size];
  };

  template <class X>
  void operator()(const X& x, Shared& shared) const {
    if (x.lane() == 0) shared.of_warp[x.warp()] = in[x.thread()];
    out[x.thread()] = x.shuffle_down(in[x.thread()], 1) + shared.of_warp[x.warp()];
  }
};

TEST_F(SeededBugTest, ShuffleForBarrierIsReported) {
  SKIP_UNLESS(thread_build, "thread");
  expect_race_report<ShuffleForBarrier>();
}

TEST_F(SeededBugTest, BlockSumWithoutItsBarrierIsReported) {
  SKIP_UNLESS(thread_build, "thread");
  const std::vector<double> in = one_two_three(1000);
  double out = 0;
  for (const Order order : all_orders) {
    EXPECT_EXIT(
        run({.threads = 256, .order = order}, BlockSum<Barrier::missing>{in.data(), 1000, &out}),
        testing::ExitedWithCode(66), "data race");
  }
}

/// Forgets that shared memory does not start at zero.
struct Uninitialised {
  const float* in;
  float* out;

  struct Shared {
    float cells[threads];
  };

  template <class X>
  void operator()(const X& x, Shared& shared) const {
    shared.cells[x.thread()] += in[x.thread()];
    out[x.thread()] = shared.cells[x.thread()];
  }
};

TEST_F(SeededBugTest, UninitialisedSharedMemoryGivesNaN) {
  for (const float value : results_of<Uninitialised>(Order::forward))
    EXPECT_TRUE(std::isnan(value));
}

/// Touches one float beyond the end of shared memory.
struct SharedOverrun {
  const float* in;
  float* out;

  struct Shared {
    float cells[threads];
  };

  template <class X>
  void operator()(const X& x, Shared& shared) const {
    float* cells = shared.cells;
    cells[x.thread() + 1] = in[x.thread()];
  }
};

TEST_F(SeededBugTest, SharedOverrunIsReported) {
  SKIP_UNLESS(address_build, "address");
  EXPECT_EXIT(results_of<SharedOverrun>(Order::forward), any_exit, "heap-buffer-overflow");
}

/// Has no test for the tail of a buffer that is no multiple of the block.
struct Scale {
  float* values;
  using Shared = NoShared;

  template <class X>
  void operator()(const X& x, Shared&) const {
    values[x.block() * x.threads() + x.thread()] *= 2;
  }
};

TEST_F(SeededBugTest, TailOverrunIsReported) {
  SKIP_UNLESS(address_build, "address");
  std::vector<float> values(2 * threads - 1);
  EXPECT_EXIT(run({.blocks = 2, .threads = threads}, Scale{values.data()}), any_exit,
              "heap-buffer-overflow");
}

/// Takes it for granted that a buffer is aligned for vector loads.
struct VectorLoad {
  const float* in;
  float* out;
  using Shared = NoShared;

  struct alignas(16) Float4 {
    float v[4];
  };

  template <class X>
  void operator()(const X& x, Shared&) const {
    const Float4& four = reinterpret_cast<const Float4*>(in)[x.thread()];
    out[x.thread()] = four.v[0] + four.v[1] + four.v[2] + four.v[3];
  }
};

TEST_F(SeededBugTest, MisalignedVectorLoadIsReported) {
  SKIP_UNLESS(address_build, "address");
  alignas(16) static const float in[4 * threads + 4] = {};
  std::vector<float> out(threads);
  run({.threads = threads}, VectorLoad{in, out.data()});
  EXPECT_EXIT(run({.threads = threads}, VectorLoad{in + 1, out.data()}), any_exit,
              "misaligned address");
}

}  // namespace
}  // namespace gramstep::simt
