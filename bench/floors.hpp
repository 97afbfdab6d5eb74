// Floors: plain loops that move the memory a stage has to move, and do nothing else with it.
#pragma once

#include <cstdint>
#include <span>

namespace gramstep::bench {

/// Reads `size` floats of every array once, an array after another.
void read_arrays(std::span<const float* const> arrays, std::int64_t size);

/// Reads the last gradient and one to four arrays together and writes the arrays back in place,
/// their values as they were; before that, reads the other gradients.
void stream_in_place(std::span<float* const> arrays, std::span<const float* const> gradients,
                     std::int64_t size);

}  // namespace gramstep::bench
