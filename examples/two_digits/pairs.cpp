#include "pairs.hpp"

#include <algorithm>
#include <random>

#include "random.hpp"

namespace two_digits {
namespace {

constexpr int right_corner = canvas_side - digit_side;

void draw(const Digit& digit, int corner, float* canvas) {
  for (int y = 0; y < digit_side; ++y) {
    for (int x = 0; x < digit_side; ++x) {
      float& pixel = canvas[(corner + y) * canvas_side + corner + x];
      pixel = std::max(pixel, digit.pixels[static_cast<std::size_t>(y * digit_side + x)]);
    }
  }
}

}  // namespace

Pairs compose(std::span<const Digit> digits, std::span<const int> indices, std::int64_t count,
              std::uint64_t seed) {
  auto random = random_engine(seed, Purpose::pairs);
  std::uniform_int_distribution<std::size_t> any(0, indices.size() - 1);
  Pairs pairs;
  pairs.images.resize(static_cast<std::size_t>(count * canvas_pixels));
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::size_t task = 0; task < tasks; ++task) {
      const int source = indices[any(random)];
      const Digit& digit = digits[static_cast<std::size_t>(source)];
      draw(digit, task == 0 ? 0 : right_corner,
           &pairs.images[static_cast<std::size_t>(i * canvas_pixels)]);
      pairs.labels[task].push_back(digit.label);
      pairs.sources[task].push_back(source);
    }
  }
  return pairs;
}

void add_label_noise(std::span<int> labels, double share, std::uint64_t seed) {
  auto random = random_engine(seed, Purpose::label_noise);
  std::bernoulli_distribution replaced(share);
  std::uniform_int_distribution<int> any_class(0, classes - 1);
  for (int& label : labels) {
    if (replaced(random)) label = any_class(random);
  }
}

Pairs select(const Pairs& pairs, std::span<const std::int64_t> chosen) {
  Pairs result;
  result.images.reserve(chosen.size() * canvas_pixels);
  for (const std::int64_t i : chosen) {
    const auto image = pairs.images.begin() + i * canvas_pixels;
    result.images.insert(result.images.end(), image, image + canvas_pixels);
    for (std::size_t task = 0; task < tasks; ++task) {
      result.labels[task].push_back(pairs.labels[task][static_cast<std::size_t>(i)]);
      result.sources[task].push_back(pairs.sources[task][static_cast<std::size_t>(i)]);
    }
  }
  return result;
}

}  // namespace two_digits
