#include "bench/floors.hpp"

#include <benchmark/benchmark.h>
#include <omp.h>

#include <algorithm>
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

/// Passes over a piece of a stream, and over what is fetched with it.
std::uint32_t pass(const Stream& stream, std::int64_t first, std::int64_t last) {
  auto* __restrict data = static_cast<std::uint32_t*>(stream.data);
  std::uint32_t sum = 0;
  if (!stream.written) {
    for (std::int64_t i = first; i < last; ++i) sum += data[i];
    return sum;
  }
  const auto zero = static_cast<std::uint32_t>(nothing);
  for (std::int64_t i = first; i < last; ++i) data[i] += zero;
  return sum;
}

/// Passes over a row that is read, beside the factors.
std::uint32_t pass(const float* row, std::span<const float> factors) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < factors.size(); ++i) {
    sum += std::bit_cast<std::uint32_t>(row[i]) ^ std::bit_cast<std::uint32_t>(factors[i]);
  }
  return sum;
}

}  // namespace

void stream_abreast(std::span<const Stream> streams) {
  constexpr std::int64_t piece_bytes = 4096;  // of the longest stream
  std::int64_t longest = 0;
  for (const Stream& each : streams) longest = std::max(longest, each.bytes);
  const std::int64_t pieces = (longest + piece_bytes - 1) / piece_bytes;
  std::uint32_t all = 0;
#pragma omp parallel for schedule(static) reduction(+ : all)
  for (std::int64_t p = 0; p < pieces; ++p) {
    for (const Stream& each : streams) {
      const std::int64_t words = each.bytes / 4;
      all += pass(each, words * p / pieces, words * (p + 1) / pieces);
    }
  }
  benchmark::DoNotOptimize(all);
}

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

void stream_rows(std::span<float* const> arrays, std::span<const float* const> read,
                 std::span<const float> factors, std::int64_t size) {
  const auto columns = static_cast<std::int64_t>(factors.size());
  const float zero = nothing;
  std::uint32_t all = 0;
#pragma omp parallel for schedule(static) reduction(+ : all)
  for (std::int64_t row = 0; row < size / columns; ++row) {
    const std::int64_t first = row * columns;
    if (arrays.empty()) {
      for (const float* array : read) all += pass(array + first, factors);
      continue;
    }
    float* __restrict to = arrays.front() + first;
    const float* __restrict g = read.front() + first;
    for (std::int64_t i = 0; i < columns; ++i) {
      to[i] += zero * (g[i] * factors[static_cast<std::size_t>(i)]);
    }
  }
  benchmark::DoNotOptimize(all);
}

}  // namespace gramstep::bench
