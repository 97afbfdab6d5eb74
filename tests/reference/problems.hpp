// Small problems with known outcomes, as losses' gradients at a point of the plane.
#pragma once

#include "tests/reference/aggregation.hpp"

namespace gramstep::reference {

/// Gradients of f = (x1^2, x2^2).
Matrix squares(const Vector& x);

/// Gradients of f_i = (x - u_i)^T B_i B_i^T (x - u_i): u = (+-1, 0), B_1 = R(pi/16) diag(1, 0.1),
/// B_2 = R(-pi/16) diag(sqrt(3), 0.1).
Matrix skewed_bowls(const Vector& x);

/// Losses and gradients of the two-task toy of the CAGrad paper (Liu et al. 2021, appendix), whose
/// valleys are steep, curved and in conflict.
struct Toy {
  Vector losses;
  Matrix gradients;
};
Toy two_task_toy(const Vector& x);

}  // namespace gramstep::reference
