#include "tests/reference/problems.hpp"

#include <cmath>
#include <numbers>

namespace gramstep::reference {

Matrix squares(const Vector& x) { return {{2 * x[0], 0}, {0, 2 * x[1]}}; }

namespace {

/// 2 B B^T y with B = R(angle) diag(a, b).
Vector bowl_gradient(double angle, double a, double b, const Vector& y) {
  const double c = std::cos(angle), s = std::sin(angle);
  const double along = 2 * a * a * (c * y[0] + s * y[1]);
  const double across = 2 * b * b * (-s * y[0] + c * y[1]);
  return {c * along - s * across, s * along + c * across};
}

}  // namespace

Matrix skewed_bowls(const Vector& x) {
  constexpr double tilt = std::numbers::pi / 16;
  return {bowl_gradient(tilt, 1, 0.1, {x[0] - 1, x[1]}),
          bowl_gradient(-tilt, std::sqrt(3.0), 0.1, {x[0] + 1, x[1]})};
}

Toy two_task_toy(const Vector& x) {
  const double t = std::tanh(x[1]), dt = 1 - t * t;
  const double half = std::tanh(x[1] / 2), dhalf = (1 - half * half) / 2;
  const double upper = std::fmax(half, 0), d_upper = half > 0 ? dhalf : 0;
  const double lower = std::fmax(-half, 0), d_lower = half < 0 ? -dhalf : 0;
  const double a[2] = {(-x[0] - 7) / 2 + t, (-x[0] + 3) / 2 - t + 2};
  const double da2[2] = {dt, -dt};
  const double center[2] = {7, -7};
  Toy toy{Vector(2), Matrix(2, Vector(2))};
  for (std::size_t i = 0; i < 2; ++i) {
    const bool clamped = std::abs(a[i]) < 5e-6;
    const double h = std::log(clamped ? 5e-6 : std::abs(a[i])) + 6;
    const double dh1 = clamped ? 0 : -0.5 / a[i], dh2 = clamped ? 0 : da2[i] / a[i];
    const double away = x[0] - center[i], down = x[1] + 8;
    const double q = (away * away + 0.1 * down * down) / 10 - 20;
    toy.losses[i] = h * upper + q * lower;
    toy.gradients[i] = {dh1 * upper + 0.2 * away * lower,
                        dh2 * upper + h * d_upper + 0.02 * down * lower + q * d_lower};
  }
  return toy;
}

}  // namespace gramstep::reference
