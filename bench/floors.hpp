// Floors: plain loops that move the memory a stage has to move, and do nothing else with it.
#pragma once

#include <cstdint>
#include <span>

namespace gramstep::bench {

/// Reads `size` floats of every array once, an array after another.
void read_arrays(std::span<const float* const> arrays, std::int64_t size);

/// Elements of any size in memory.
struct Stream {
  void* data;
  std::int64_t bytes;
  bool written;  // in place
};

/// Reads all streams abreast, each a share of every piece of them, and writes back those that are written,
/// their values as they were.
void stream_abreast(std::span<const Stream> streams);

/// Reads up to four arrays together with the last of `read` and writes them back in place, their
/// values as they were; before that, reads the others.
void stream_in_place(std::span<float* const> arrays, std::span<const float* const> read,
                     std::int64_t size);

/// The same of at most one array to write, a matrix' row at a time, each beside a row of factors that is read over and
/// over: what an update moves whose elements have second moments of their row and column.
void stream_rows(std::span<float* const> arrays, std::span<const float* const> read,
                 std::span<const float> factors, std::int64_t size);

}  // namespace gramstep::bench
