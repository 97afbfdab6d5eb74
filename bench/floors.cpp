#include "bench/floors.hpp"

#include <benchmark/benchmark.h>
#include <omp.h>

#include <bit>
#include <stdexcept>

namespace gramstep::bench {
namespace {

/// Zero, but the compiler cannot know.
volatile float nothing = 0.0f;

template <int Arrays>
void stream(float* const* arrays, const float* __restrict g, std::int64_t size) {
  float* __restrict a0 = arrays[0];
  float* __restrict a1 = arrays[Arrays > 1 ? 1 : 0];
  float* __restrict a2 = arrays[Arrays > 2 ? 2 : 0];
  float* __restrict a3 = arrays[Arrays > 3 ? 3 : 0];
  const float zero = nothing;
#pragma omp parallel for simd schedule(static)
  for (std::int64_t i = 0; i < size; ++i) {
    a0[i] += zero * g[i];
    if constexpr (Arrays > 1) a1[i] += zero * g[i];
    if constexpr (Arrays > 2) a2[i] += zero * g[i];
    if constexpr (Arrays > 3) a3[i] += zero * g[i];
  }
}

}  // namespace

void read_arrays(std::span<const float* const> arrays, std::int64_t size) {
  std::uint32_t all = 0;
#pragma omp parallel reduction(+ : all)
  {
    const std::int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    const std::int64_t first = size * thread / threads, last = size * (thread + 1) / threads;
    // Integers: a float's sum waits four cycles for the sum before it.
    std::uint32_t sum = 0;
    for (const float* array : arrays) {
      for (std::int64_t i = first; i < last; ++i) sum += std::bit_cast<std::uint32_t>(array[i]);
    }
    all += sum;
  }
  benchmark::DoNotOptimize(all);
}

void stream_in_place(std::span<float* const> arrays, std::span<const float* const> read,
                     std::int64_t size) {
  if (arrays.empty()) return read_arrays(read, size);
  read_arrays(read.first(read.size() - 1), size);
  switch (arrays.size()) {
    case 1: return stream<1>(arrays.data(), read.back(), size);
    case 2: return stream<2>(arrays.data(), read.back(), size);
    case 3: return stream<3>(arrays.data(), read.back(), size);
    case 4: return stream<4>(arrays.data(), read.back(), size);
    default: throw std::invalid_argument("stream_in_place: expected at most four arrays");
  }
}

}  // namespace gramstep::bench
