// Pairs: two digits in one image, the left one above, the right one below, overlapping.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "digits.hpp"

namespace two_digits {

inline constexpr int tasks = 2;  ///< what is the left digit, what is the right one
inline constexpr std::array<const char*, tasks> task_names{"left", "right"};
inline constexpr int canvas_side =
    12;  ///< an 8x8 digit in each of two corners, 4x4 pixels in common
inline constexpr int canvas_pixels = canvas_side * canvas_side;

/// Images with the label of each task.
struct Pairs {
  std::vector<float> images;                    ///< [size, canvas_pixels]
  std::array<std::vector<int>, tasks> labels;   ///< [size] for each task
  std::array<std::vector<int>, tasks> sources;  ///< [size] which digit it was

  std::int64_t size() const { return static_cast<std::int64_t>(labels[0].size()); }
};

/// Draws `count` pairs from the digits with these indices; where both have ink, the darker one
/// shows.
Pairs compose(std::span<const Digit> digits, std::span<const int> indices, std::int64_t count,
              std::uint64_t seed);

/// Replaces a share of the labels by classes drawn at random (a tenth of which are right by
/// chance).
void add_label_noise(std::span<int> labels, double share, std::uint64_t seed);

/// The pairs at `chosen`, in that order.
Pairs select(const Pairs& pairs, std::span<const std::int64_t> chosen);

}  // namespace two_digits
