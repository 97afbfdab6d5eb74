// Floors on a GPU that no call of the runtime gives.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace gramstep::bench {

/// Queues a kernel that reads `count` floats from a multiple of 16 bytes on, 128 bits at a time, four of
/// them on their way in every thread, and writes nothing but for a sum that no input here has.
void read_all(const float* from, std::int64_t count, float* sink, cudaStream_t stream);

/// Queues a kernel that does nothing.
void launch_nothing(cudaStream_t stream);

}  // namespace gramstep::bench
