// The scheduler. It is never instrumented by ThreadSanitizer: what it does on a fiber's behalf is
// no access of the kernel, and must be neither reported nor taken for synchronisation. For the same
// reason fibers do no more here than note what they wait for. All decisions are the scheduler's,
// taken while every fiber stands still.
#include "runtime.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fiber.hpp"
#include "sanitizers.hpp"

namespace gramstep::simt {
namespace {

// For ThreadSanitizer a barrier is: all threads release `arrivals`, the scheduler acquires it, then
// releases `departures`, which all threads acquire. With one mark for both, a thread that leaves
// late would acquire what the early ones did after the barrier, and a race would go unseen. In a
// shuffle threads only release, for the scheduler must be allowed to drop them there.
thread_local char arrivals;
thread_local char departures;

enum class State { ready, at_barrier, in_exchange, exited, threw };

}  // namespace

/// What the threads of a launch have in common.
struct Common {
  const Kernel& kernel;
  void* shared_memory;
  std::array<Exchanged, warp_size> exchanged;  // latest, of the warp that runs
};

class Thread {
 public:
  /// Back to the start of a kernel.
  void restart(const Common& common, const Place& place) {
    common_ = &common;
    place_ = place;
    state_ = State::ready;
    copies_.clear();
    group_ = 0;
  }

  /// Runs the thread until it waits or exits; throws what it throws.
  void resume() {
    fiber_.resume();
    if (state_ != State::threw) return;
    sanitizers::acquire(arrivals);
    std::rethrow_exception(escaped_);
  }

  void pass() { state_ = State::ready; }

  bool is(State state) const { return state_ == state; }
  const Place& place() const { return place_; }
  int lane() const { return place_.thread % warp_size; }
  const Exchanged& handed_in() const { return handed_in_; }

  bool meets(const Thread& other) const {
    return state_ == other.state_ && primitive_ == other.primitive_ && site_ == other.site_;
  }

  std::string description() const {
    std::string text = "thread " + std::to_string(place_.thread);
    if (state_ == State::exited) return text + " has exited";
    text.append(" waits in ").append(primitive_).append(" (").append(site_.file);
    return text + ":" + std::to_string(site_.line) + ")";
  }

  // The rest runs on the fiber.

  /// Stops until the scheduler lets the thread pass.
  void stop(State state) {
    state_ = state;
    sanitizers::release(arrivals);
    fiber_.suspend();
  }

  void wait(State state, std::string_view primitive, Site site) {
    primitive_ = primitive;
    site_ = site;
    stop(state);
  }

  void queue_copy(void* to, const void* from) { copies_.push_back({to, from, group_}); }
  void commit_copies() { ++group_; }
  void wait_for_copies(int pending) {
    std::erase_if(copies_, [&](const Copy& copy) {
      const bool due = copy.group < group_ - pending;
      if (due) std::memcpy(copy.to, copy.from, 16);
      return due;
    });
  }

  void hand_in(const Exchanged& words) { handed_in_ = words; }
  const Exchanged* exchanged() const { return common_->exchanged.data(); }

 private:
  static void live(void* self) {
    for (;;) static_cast<Thread*>(self)->live_once();
  }

  void live_once() {
    sanitizers::acquire(departures);
    State end = State::exited;
    try {
      const Kernel& kernel = common_->kernel;
      kernel.call(kernel.body, common_->shared_memory, *this, place_);
    } catch (...) {
      escaped_ = std::current_exception();
      end = State::threw;
    }
    stop(end);  // not in the handler: the C++ runtime counts handlers by operating-system thread
  }

  /// 16 bytes on their way from global to shared memory.
  struct Copy {
    void* to;
    const void* from;
    int group;
  };

  const Common* common_ = nullptr;
  std::vector<Copy> copies_;
  int group_ = 0;
  Place place_{};
  State state_ = State::exited;
  std::string_view primitive_;
  Site site_;
  Exchanged handed_in_{};
  std::exception_ptr escaped_;
  Fiber fiber_{&Thread::live, this};
};

namespace {

/// Stacks, and TSan's fibers even more, are costly to make: a launch that ends well leaves its
/// threads to the next.
thread_local std::vector<std::unique_ptr<Thread>> idle_threads;

/// Exactly as large as asked for, so that ASan sees the first byte beyond.
class SharedMemory {
 public:
  SharedMemory(std::size_t bytes, std::size_t alignment)
      : bytes_(bytes), alignment_{alignment}, memory_(operator new(bytes, alignment_)) {}
  ~SharedMemory() { operator delete(memory_, alignment_); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void* get() const { return memory_; }
  /// Makes floating-point values NaN and indices wild.
  void poison() { std::memset(memory_, 0xff, bytes_); }

 private:
  std::size_t bytes_;
  std::align_val_t alignment_;
  void* memory_;
};

class Scheduler {
 public:
  Scheduler(const Launch& launch, const Kernel& kernel);
  ~Scheduler() { sanitizers::acquire(arrivals); }
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  void run();

 private:
  using Threads = std::span<Thread* const>;

  template <class Index>
  std::vector<Index> ordered(Index count);
  void run_block(std::int64_t block);
  void run_warp(Threads lanes);
  bool open_exchange(Threads lanes);
  bool open_barrier();

  const Launch& launch_;
  std::mt19937 random_;
  SharedMemory shared_;
  Common common_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Thread*> by_rank_;
};

[[noreturn]] void fail(const char* what, const Thread& one, const Thread& other) {
  throw KernelError("block " + std::to_string(one.place().block) + ": " + what + ": " +
                    one.description() + ", " + other.description());
}

Thread* find(std::span<Thread* const> threads, State state) {
  const auto found = std::find_if(threads.begin(), threads.end(),
                                  [=](const Thread* thread) { return thread->is(state); });
  return found == threads.end() ? nullptr : *found;
}

Scheduler::Scheduler(const Launch& launch, const Kernel& kernel)
    : launch_(launch),
      random_(launch.seed),
      shared_(kernel.shared_bytes, kernel.shared_alignment),
      common_{kernel, shared_.get(), {}},
      threads_(std::exchange(idle_threads, {})) {
  const auto count = static_cast<std::size_t>(launch.threads);
  while (threads_.size() < count) threads_.push_back(std::make_unique<Thread>());
  for (std::size_t i = 0; i < count; ++i) by_rank_.push_back(threads_[i].get());
}

void Scheduler::run() {
  for (const std::int64_t block : ordered(launch_.blocks)) run_block(block);
  idle_threads = std::move(threads_);
}

/// 0 to count - 1 in the order of the launch.
template <class Index>
std::vector<Index> Scheduler::ordered(Index count) {
  std::vector<Index> indices(static_cast<std::size_t>(count));
  std::iota(indices.begin(), indices.end(), Index{0});
  if (launch_.order == Order::reverse) std::reverse(indices.begin(), indices.end());
  if (launch_.order == Order::random) std::shuffle(indices.begin(), indices.end(), random_);
  return indices;
}

void Scheduler::run_block(std::int64_t block) {
  std::vector<Thread*> in_order;
  for (const int warp : ordered(launch_.threads / warp_size)) {
    for (const int lane : ordered(warp_size)) {
      const int rank = warp * warp_size + lane;
      in_order.push_back(by_rank_[static_cast<std::size_t>(rank)]);
      in_order.back()->restart(common_, {rank, launch_.threads, block, launch_.blocks});
    }
  }
  shared_.poison();
  do {
    sanitizers::release(departures);
    for (std::size_t first = 0; first < in_order.size(); first += warp_size) {
      run_warp(Threads(in_order).subspan(first, warp_size));
    }
    sanitizers::acquire(arrivals);
  } while (open_barrier());
}

/// Runs the lanes until each waits at the block's barrier or has exited.
void Scheduler::run_warp(Threads lanes) {
  do {
    for (Thread* lane : lanes) {
      if (lane->is(State::ready)) lane->resume();
    }
  } while (open_exchange(lanes));
}

/// Hands the values of all lanes to all lanes, if they wait for that; false if none does.
bool Scheduler::open_exchange(Threads lanes) {
  const Thread* waiting = find(lanes, State::in_exchange);
  if (!waiting) return false;
  if (const Thread* gone = find(lanes, State::exited)) {
    fail("a lane of the warp has exited", *waiting, *gone);
  }
  if (const Thread* elsewhere = find(lanes, State::at_barrier)) {
    fail("deadlock in a warp", *waiting, *elsewhere);
  }
  for (const Thread* lane : lanes) {
    if (!lane->meets(*waiting)) fail("lanes of a warp meet in different calls", *waiting, *lane);
  }
  for (Thread* lane : lanes) {
    common_.exchanged[static_cast<std::size_t>(lane->lane())] = lane->handed_in();
    lane->pass();
  }
  return true;
}

/// Lets the threads pass that wait at the barrier; false if none does, and the block is done.
bool Scheduler::open_barrier() {
  const Thread* waiting = find(by_rank_, State::at_barrier);
  if (!waiting) return false;
  for (const Thread* thread : by_rank_) {
    if (thread->is(State::at_barrier)) {
      if (!thread->meets(*waiting)) fail("divergent barrier", *waiting, *thread);
    } else if (launch_.strict_exit) {
      fail("barrier after the exit of a thread", *waiting, *thread);
    }
  }
  for (Thread* thread : by_rank_) {
    if (thread->is(State::at_barrier)) thread->pass();
  }
  return true;
}

void validate(const Launch& launch) {
  if (launch.blocks < 1 || launch.blocks > INT32_MAX) {
    throw std::invalid_argument("a grid has 1 to 2^31 - 1 blocks, got " +
                                std::to_string(launch.blocks));
  }
  if (launch.threads < warp_size || launch.threads > 1024 || launch.threads % warp_size != 0) {
    throw std::invalid_argument("a block has 32 to 1024 threads, a multiple of 32, got " +
                                std::to_string(launch.threads));
  }
}

}  // namespace

void wait_for_block(Thread& self, Site site) {
  self.wait(State::at_barrier, "sync", site);
  sanitizers::acquire(departures);
}

void wait_for_warp(Thread& self, Site site) {
  self.wait(State::in_exchange, "warp_sync", site);
  sanitizers::acquire(arrivals);
}

const Exchanged* exchange_in_warp(Thread& self, const Exchanged& words, std::string_view primitive,
                                  Site site) {
  self.hand_in(words);
  self.wait(State::in_exchange, primitive, site);
  return self.exchanged();
}

void queue_copy(Thread& self, void* to, const void* from) { self.queue_copy(to, from); }
void commit_copies(Thread& self) { self.commit_copies(); }
void wait_for_copies(Thread& self, int pending) { self.wait_for_copies(pending); }

void run_grid(const Launch& launch, const Kernel& kernel) {
  validate(launch);
  Scheduler(launch, kernel).run();
}

}  // namespace gramstep::simt
