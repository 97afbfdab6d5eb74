#include "bench/memory.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace gramstep::bench {

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
  const auto count = static_cast<std::int64_t>(to.size());
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    // Wellons' "lowbias32": a bijection of 32-bit integers whose bits look random.
    std::uint32_t bits = static_cast<std::uint32_t>(i) ^ (seed * 0x9E3779B9u);
    bits = (bits ^ (bits >> 16)) * 0x7FEB352Du;
    bits = (bits ^ (bits >> 15)) * 0x846CA68Bu;
    bits ^= bits >> 16;
    const auto integer = static_cast<float>(static_cast<std::int32_t>(bits));
    to[static_cast<std::size_t>(i)] = integer * (scale / 2147483648.0f);
  }
}

Rows::Rows(int tasks, std::int64_t size, std::int64_t padded_by)
    : size_(size), stride_(size + padded_by), all_(tasks * stride_) {
  for (int k = 0; k < tasks; ++k) {
    pointers_.push_back(row(k));
    fill_uniform(row_span(k), static_cast<std::uint32_t>(k) + 1);
  }
}

}  // namespace gramstep::bench
