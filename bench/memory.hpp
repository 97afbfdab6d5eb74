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
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;

  float* data() const { return data_; }
  std::span<float> span() const { return {data_, static_cast<std::size_t>(count_)}; }

 private:
  float* data_;
  std::int64_t count_;
};

/// Fills with numbers uniform in [-scale, scale), by `seed` and index.
void fill_uniform(std::span<float> to, std::uint32_t seed, float scale = 1.0f);

/// K gradient rows in one matrix, every second one in conflict with the others (cosines of 0.2 and
/// -0.2). Rows lie further apart than their length: a stride that is a power of two maps all of
/// them to the same sets of the caches.
class Rows {
 public:
  static constexpr std::int64_t padding = 272;  // 17 cache lines

  Rows(int tasks, std::int64_t size, std::int64_t padded_by = padding);

  int tasks() const { return static_cast<int>(pointers_.size()); }
  std::int64_t size() const { return size_; }
  std::int64_t stride() const { return stride_; }
  float* row(int task) const { return all_.data() + task * stride_; }
  std::span<float> row_span(int task) const { return all_.span().subspan(offset(task), extent()); }
  /// [K]
  std::span<const float* const> pointers() const { return pointers_; }

 private:
  std::size_t offset(int task) const { return static_cast<std::size_t>(task * stride_); }
  std::size_t extent() const { return static_cast<std::size_t>(size_); }

  std::int64_t size_;
  std::int64_t stride_;
  Floats all_;
  std::vector<const float*> pointers_;
};

}  // namespace gramstep::bench
