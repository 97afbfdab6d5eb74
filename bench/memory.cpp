#include "bench/memory.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace gramstep::bench {
namespace {

/// A number in [-1, 1) by index and seed: Wellons' "lowbias32", whose bits look random.
float uniform(std::uint32_t index, std::uint32_t seed) {
  std::uint32_t bits = index ^ (seed * 0x9E3779B9u);
  bits = (bits ^ (bits >> 16)) * 0x7FEB352Du;
  bits = (bits ^ (bits >> 15)) * 0x846CA68Bu;
  bits ^= bits >> 16;
  return static_cast<float>(static_cast<std::int32_t>(bits)) / 2147483648.0f;
}

/// to[i] = value(i), on all threads: where a page is touched first is where it will be used.
template <class Value>
void fill(std::span<float> to, const Value& value) {
  const auto count = static_cast<std::int64_t>(to.size());
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    to[static_cast<std::size_t>(i)] = value(static_cast<std::uint32_t>(i));
  }
}

}  // namespace

Floats::Floats(std::int64_t count) : count_(count) {
  constexpr std::size_t huge_page = std::size_t{2} << 20;
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(float);
  const std::size_t padded = (bytes + huge_page - 1) / huge_page * huge_page;
  data_ = static_cast<float*>(std::aligned_alloc(huge_page, padded));
  if (data_ == nullptr) throw std::bad_alloc();
  madvise(data_, padded, MADV_HUGEPAGE);
}

Floats::~Floats() { std::free(data_); }

void fill_uniform(std::span<float> to, std::uint32_t seed, float scale) {
  fill(to, [=](std::uint32_t i) { return scale * uniform(i, seed); });
}

Rows::Rows(int tasks, std::int64_t size, std::int64_t padded_by)
    : size_(size), stride_(size + padded_by), all_(tasks * stride_) {
  for (int k = 0; k < tasks; ++k) {
    const auto own = static_cast<std::uint32_t>(k) + 1;
    const float common = k % 2 == 0 ? 0.5f : -0.5f;
    fill(row_span(k), [=](std::uint32_t i) { return uniform(i, own) + common * uniform(i, 0); });
    pointers_.push_back(row(k));
  }
}

}  // namespace gramstep::bench
