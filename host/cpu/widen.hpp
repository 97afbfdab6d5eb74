// Runs of elements between memory of any type and fp32 in a core's L1, where the loops over a rule and over
// pairs of rows work: so none of them is compiled for every type.
#pragma once

#include "host/cpu/leaves.hpp"
#include "host/cpu/vector.hpp"

namespace gramstep::host {
namespace {

constexpr int run_elements = 256;  // between prefetches

/// Fetches a run of fp32.
[[gnu::always_inline]] inline void prefetch_run(const float* run) {
  for (int c = 0; c < run_elements; c += cache_line) fetch(run + c);
}

/// Fetches a run of that type.
inline void prefetch_run(DType dtype, const void* run) {
  const auto* line = static_cast<const float*>(run);
  const int floats = run_elements * static_cast<int>(size_of(dtype)) / 4;
  for (int c = 0; c < floats; c += cache_line) fetch(line + c);
}

inline const void* element_at(DType dtype, const void* from, std::int64_t at) {
  return static_cast<const char*>(from) + at * size_of(dtype);
}
inline void* element_at(DType dtype, void* from, std::int64_t at) {
  return static_cast<char*>(from) + at * size_of(dtype);
}

/// to = from, elementwise by convert(from[i], i).
template <class From, class To, class Convert>
[[gnu::always_inline]] inline void convert_run(const From* __restrict from, To* __restrict to,
                                               int count, const Convert& convert) {
  GRAMSTEP_INDEPENDENT
  for (int i = 0; i < count; ++i) to[i] = convert(from[i], i);
}

/// Calls function(Bfloat16{}) or function(Float16{}).
template <class Function>
[[gnu::always_inline]] inline void with_half(DType dtype, const Function& function) {
  dtype == DType::bfloat16 ? function(kernels::Bfloat16{}) : function(kernels::Float16{});
}

/// `count` elements of that type from `at` on, in fp32.
[[gnu::noinline]] void widen_run(DType dtype, const void* from, std::int64_t at, int count,
                                 float* to) {
  const void* run = element_at(dtype, from, at);
  if (dtype == DType::float32) {
    return convert_run(static_cast<const float*>(run), to, count, [](float v, int) { return v; });
  }
  with_half(dtype, [&](auto half) {
    convert_run(static_cast<const std::uint16_t*>(run), to, count,
                [=](std::uint16_t v, int) { return half.widen(v); });
  });
}

}  // namespace
}  // namespace gramstep::host
