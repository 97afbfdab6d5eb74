// Runs a grid of CUDA threads on the CPU, each a fiber, with the barriers and shuffles of a GPU.
//
// Blocks run one after another. Inside a block, warps run in turn: each until all its lanes wait at
// the block's barrier or have exited, its lanes in turn from one shuffle to the next. So between
// two barriers Order::forward puts all accesses of one warp before those of the next, and
// Order::reverse all after: where a barrier is missing between two warps, one of the two orders
// reads wrong data. ThreadSanitizer sees a missing barrier in any order, and takes a shuffle for
// none.
//
// What stays unseen: races between blocks; threads that diverge before a barrier in a helper which
// both branches call (it is one line to us); a loop that waits for another thread's write, which
// hangs here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace gramstep::simt {

inline constexpr int warp_size = 32;

/// Order in which the blocks of a grid, the warps of a block and the lanes of a warp run.
enum class Order { forward, reverse, random };

struct Launch {
  std::int64_t blocks = 1;
  int threads = warp_size;  // of a block: a multiple of 32, up to 1024
  Order order = Order::forward;
  unsigned seed = 1;  // of Order::random
  /// Whether a barrier that some threads of the block can no longer reach is an error. If not, they
  /// count as arrived, as they do on a GPU; the programming guide does not promise it.
  bool strict_exit = true;
};

/// What a kernel did that would hang a GPU or give undefined results. The message names the block,
/// two threads, and for each the primitive and the line where it waits.
class KernelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A line of a kernel body; std::source_location for compilers which lack it (clang 14).
struct Site {
  std::string_view file;
  int line = 0;

  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
  friend bool operator==(const Site&, const Site&) = default;
};

/// Which thread of the grid.
struct Place {
  int thread;
  int threads;
  std::int64_t block;
  std::int64_t blocks;
};

/// A thread as the scheduler sees it.
class Thread;

/// Suspends the calling thread until all threads of its block have called.
void wait_for_block(Thread& self, Site site);

/// Suspends the calling thread until all lanes of its warp have called, and shows each what the others
/// wrote before.
void wait_for_warp(Thread& self, Site site);

/// What a lane hands in: as many words as the largest primitive needs, for every meeting is two switches.
using Exchanged = std::array<std::uint64_t, 3>;

/// Suspends the calling thread until all lanes of its warp have called. Returns what they handed
/// in, by lane; valid until the caller's next wait. As on a GPU, this orders no accesses to memory.
const Exchanged* exchange_in_warp(Thread& self, const Exchanged& words, std::string_view primitive,
                                  Site site);

/// Queues a copy of 16 bytes with the caller's current group; see wait_for_copies.
void queue_copy(Thread& self, void* to, const void* from);

/// Ends the caller's current group of copies, which may be empty, and begins the next.
void commit_copies(Thread& self);

/// Makes the copies of all but the caller's last `pending` groups: no earlier than they must be there.
void wait_for_copies(Thread& self, int pending);

/// A kernel body without its types.
struct Kernel {
  const void* body;
  std::size_t shared_bytes;
  std::size_t shared_alignment;
  void (*call)(const void* body, void* shared, Thread& self, const Place& place);
};

/// Runs the grid. Throws KernelError, whatever a kernel body throws, and std::invalid_argument for
/// a launch no GPU would take. After any of these the next launch finds everything in order.
void run_grid(const Launch& launch, const Kernel& kernel);

}  // namespace gramstep::simt
