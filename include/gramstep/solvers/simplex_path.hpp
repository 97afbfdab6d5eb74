// What MGDA and CAGrad share: the path of min-max directions from a mean gradient, in cosine scale.
#pragma once

#include <cmath>
#include <cstdint>

#include "gramstep/solvers/path.hpp"

namespace gramstep::inline v1::solvers {

/// For weights b + v of the gradients, v >= 0, the path
///
///   y = G (b + v) - lambda 1 >= 0,   v >= 0,   y . v = 0
///
/// along which the least of g_i . d is lambda and |J^T v| is as short as it can be for that. As
/// lambda goes to infinity, v turns into the shortest convex combination. It is followed in
/// s = D v, D = diag(lengths), with G = n_max^2 D C D:
///
///   y = C s + C D b - t (m / lengths),   t = lambda / (m n_max^2),  m the shortest length but 0
///
/// A zero row is left out of it.
struct SimplexPath {
  int tasks;
  double* memory;       // [scratch(K)]
  double shortest = 0;  // m
  double longest = 0;   // n_max
  int zero_rows = 0;

  // The root of 2^-52: what it moves and what rounding does in its inverse are alike, and far below
  // the 4e-6 by which an entry of an fp32 Gram matrix may err.
  static constexpr double ridge = 1e-8;

  static constexpr std::int64_t scratch(int tasks) {
    return Path::scratch(tasks) + 3 * std::int64_t{tasks};
  }
  GRAMSTEP_BODY Path path() const { return {.tasks = tasks, .ridge = ridge, .memory = memory}; }
  GRAMSTEP_BODY double* cosines() const { return path().matrix(); }
  GRAMSTEP_BODY double* q0() const { return path().q0(); }        // C D b
  GRAMSTEP_BODY double* q1() const { return path().q1(); }        // -m / lengths
  GRAMSTEP_BODY double* lengths() const { return path().end(); }  // n / n_max
  GRAMSTEP_BODY double* z() const { return lengths() + tasks; }   // room for s
  GRAMSTEP_BODY double* along() const { return z() + tasks; }     // room for C s

  /// Computes everything but z and along from G and preference(i) = b_i.
  template <class X, class Preference>
  GRAMSTEP_BODY void prepare(const X& x, const double* gram, const Preference& preference) {
    cosine_matrix(x, gram, tasks, z(), cosines());
    shortest = infinity;
    GRAMSTEP_ROLLED
    for (int i = 0; i < tasks; ++i) {
      longest = fmax(longest, z()[i]);
      if (z()[i] > 0) shortest = fmin(shortest, z()[i]);
      if (z()[i] == 0) ++zero_rows;
    }
    for_each(x, tasks, [&](int i) {
      const bool zero = z()[i] == 0;
      lengths()[i] = zero ? 0 : z()[i] / longest;
      q1()[i] = zero ? 0 : -(shortest / z()[i]);
      along()[i] = lengths()[i] * preference(i);
    });
    shortest /= longest;
    x.sync();
    multiply(x, cosines(), along(), tasks, q0());
  }
};

}  // namespace gramstep::inline v1::solvers
