// Floors: plain loops that move the memory a stage has to move, and do nothing else with it.
#pragma once

#include <cstdint>
#include <span>

namespace gramstep::bench {

/// Reads `size` floats of every array once, an array after another.
void read_arrays(std::span<const float* const> arrays, std::int64_t size);

/// Reads `gradient` and up to four arrays, and writes those arrays back in place. Their values stay.
void stream_in_place(std::span<float* const> arrays, const float* gradient, std::int64_t size);

}  // namespace gramstep::bench
