#include "bench/memory.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <new>
#include <utility>

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

Floats::Floats(Floats&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), count_(other.count_) {}

void fill_uniform(std::span<float> to, std::uint32_t seed, float scale) {
  const auto count = static_cast<std::int64_t>(to.size());
#pragma omp parallel for
  for (std::int64_t i = 0; i < count; ++i) {
    // A bijection of 32-bit integers that mixes well: constants of Wellons' "lowbias32".
    std::uint32_t bits = static_cast<std::uint32_t>(i) ^ (seed * 0x9E3779B9u);
    bits = (bits ^ (bits >> 16)) * 0x7FEB352Du;
    bits = (bits ^ (bits >> 15)) * 0x846CA68Bu;
    bits ^= bits >> 16;
    const auto value = static_cast<float>(static_cast<std::int32_t>(bits));
    to[static_cast<std::size_t>(i)] = value * (scale / 2147483648.0f);
  }
}

Rows::Rows(int tasks, std::int64_t size, std::int64_t skew)
    : size_(size), stride_(size + skew), all_(tasks * stride_) {
  for (int k = 0; k < tasks; ++k) {
    pointers_.push_back(row(k));
    fill_uniform({row(k), static_cast<std::size_t>(stride_)}, static_cast<std::uint32_t>(k) + 1);
  }
}

}  // namespace gramstep::bench
