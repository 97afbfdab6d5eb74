#include "bench/unfused.hpp"

#include <algorithm>
#include <cmath>

namespace gramstep::bench {
namespace {

volatile float loss_scale = 1.0f;
volatile float clip_norm = 1e30f;

/// Calls body(i) for every element: one pass over memory.
template <class Body>
[[gnu::always_inline]] inline void pass(std::int64_t size, const Body& body) {
#pragma omp parallel for simd schedule(static)
  for (std::int64_t i = 0; i < size; ++i) body(i);
}

}  // namespace

Unfused::Unfused(const Rows& rows, std::int64_t size)
    : rows_(rows),
      size_(size),
      projected_(size_),
      combined_(size_),
      params_(size_),
      rule_("AdamW", size_),
      squares_(static_cast<std::size_t>(rows.tasks())) {
  fill_uniform(params_.span(), 0);
  for (const Floats* array : {&projected_, &combined_}) fill_uniform(array->span(), 0, 0);
}

void Unfused::step() {
  streams_ = 0;
  unscale();
  float* gradient = rows_.row(0);
  if (rows_.tasks() > 1) {
    combine();
    gradient = combined_.data();
  }
  clip(gradient);
  rule_.step(gradient, params_.data(), ++steps_);
  streams_ += rule_.streams();
}

void Unfused::unscale() {
  for (int k = 0; k < rows_.tasks(); ++k) scale(1.0f / loss_scale, rows_.row(k));
}

void Unfused::combine() {
  for (int k = 0; k < rows_.tasks(); ++k) {
    squares_[static_cast<std::size_t>(k)] = dot(rows_.row(k), rows_.row(k));
  }
  for (int k = 0; k < rows_.tasks(); ++k) {
    project(k);
    k == 0 ? copy(projected_.data(), combined_.data())
           : axpy(1.0f, projected_.data(), combined_.data());
  }
}

void Unfused::project(int task) {
  copy(rows_.row(task), projected_.data());
  for (int other = 0; other < rows_.tasks(); ++other) {
    if (other == task) continue;
    const float product = dot(projected_.data(), rows_.row(other));
    if (product >= 0) continue;
    axpy(-product / squares_[static_cast<std::size_t>(other)], rows_.row(other), projected_.data());
  }
}

void Unfused::clip(float* gradient) {
  const float norm = std::sqrt(dot(gradient, gradient));
  scale(std::min(1.0f, clip_norm / (norm + 1e-6f)), gradient);
}

void Unfused::scale(float factor, float* x) {
  pass(size_, [=](std::int64_t i) { x[i] *= factor; });
  streams_ += 2;
}

void Unfused::copy(const float* x, float* y) {
  pass(size_, [=](std::int64_t i) { y[i] = x[i]; });
  streams_ += 2;
}

void Unfused::axpy(float factor, const float* x, float* y) {
  pass(size_, [=](std::int64_t i) { y[i] += factor * x[i]; });
  streams_ += 3;
}

float Unfused::dot(const float* x, const float* y) {
  float sum = 0;
#pragma omp parallel for simd schedule(static) reduction(+ : sum)
  for (std::int64_t i = 0; i < size_; ++i) sum += x[i] * y[i];
  streams_ += x == y ? 1 : 2;
  return sum;
}

}  // namespace gramstep::bench
