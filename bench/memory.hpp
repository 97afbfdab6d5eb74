// Memory of the benchmarks: large arrays on huge pages, filled with random numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace gramstep::bench {

/// Uninitialised floats on huge pages, as the library has its own state.
class Floats {
 public:
  explicit Floats(std::int64_t count);
  ~Floats();
  Floats(Floats&& other) noexcept;
  Floats& operator=(Floats&&) = delete;

  float* data() const { return data_; }
  std::span<float> span() const { return {data_, static_cast<std::size_t>(count_)}; }

 private:
  float* data_;
  std::int64_t count_;
};

/// Fills with numbers uniform in [-scale, scale), by `seed` and index.
void fill_uniform(std::span<float> to, std::uint32_t seed, float scale = 1.0f);

/// K gradient rows of one task each. Rows are `row_skew` longer than they need be: a row stride that
/// is a power of two maps all rows to the same sets of the caches.
class Rows {
 public:
  static constexpr std::int64_t row_skew = 272;  // 17 cache lines

  Rows(int tasks, std::int64_t size, std::int64_t skew = row_skew);

  const float* const* pointers() const { return pointers_.data(); }
  std::span<const float* const> span() const { return pointers_; }
  float* row(int task) const { return all_.data() + task * stride_; }
  std::int64_t stride() const { return stride_; }
  std::int64_t size() const { return size_; }
  int tasks() const { return static_cast<int>(pointers_.size()); }

 private:
  std::int64_t size_;
  std::int64_t stride_;
  Floats all_;
  std::vector<const float*> pointers_;
};

}  // namespace gramstep::bench
