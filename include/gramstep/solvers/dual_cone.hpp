// What DualProj and UPGrad share: projection onto the cone in which no gradient is opposed.
#pragma once

#include <cmath>
#include <cstdint>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/path.hpp"

namespace gramstep::inline v1::solvers {

/// v(u) = argmin v^T (Q + ridge I) v subject to v >= u, with Q = G / tr G: v = u + z, where
///
///   y = (Q + ridge I)(z + u) >= 0,   z >= 0,   y . z = 0
///
/// reached by pivots from -t large in y = .. - t sqrt(diagonal), to t = 0.
struct DualCone {
  int tasks;
  double ridge;
  double* memory;  // [scratch(K)]

  static constexpr double least_ridge = 1e-10;

  GRAMSTEP_BOTH static constexpr std::int64_t scratch(int tasks) {
    return Path::scratch(tasks) + 2 * std::int64_t{tasks};
  }
  GRAMSTEP_BODY Path path() const { return {.tasks = tasks, .ridge = ridge, .memory = memory}; }
  GRAMSTEP_BODY double* matrix() const { return path().matrix(); }  // Q
  GRAMSTEP_BODY double* q0() const { return path().q0(); }
  GRAMSTEP_BODY double* q1() const { return path().q1(); }
  GRAMSTEP_BODY double* u() const { return path().end(); }
  GRAMSTEP_BODY double* z() const { return u() + tasks; }

  /// Computes Q and q1 from G. No trace, no gradient: Q = 0.
  template <class X>
  GRAMSTEP_BODY void prepare(const X& x, const double* gram) {
    ridge = fmax(ridge, least_ridge);
    const double trace = sum_of(tasks, [&](int i) { return gram[i * tasks + i]; });
    for_elements(x, tasks, tasks, [&](int i, int j) {
      matrix()[i * tasks + j] = trace > 0 ? gram[i * tasks + j] / trace : 0.0;
    });
    for_each(x, tasks, [&](int i) {
      q1()[i] = -sqrt((trace > 0 ? gram[i * tasks + i] / trace : 0.0) + ridge);
    });
    x.sync();
  }

  /// Follows the path for the u with (Q + ridge I) u = q0, which is in place, to its end; the pivots.
  /// A ridge that rounding in G makes too small is raised for this u alone.
  template <class X>
  GRAMSTEP_BODY static int solve(const X& x, Path& path) {
    return with_enough_ridge(path, [&] {
      path.start(x);
      return path.follow(x, 0) != PathEnd::indefinite;
    });
  }

  /// The largest -((Q + ridge I) w)_i / (sqrt(diagonal_i) sum_j sqrt(diagonal_j) |w_j|).
  template <class X>
  GRAMSTEP_BODY double violation(const X& x, const double* w) const {
    for_each(x, tasks, [&](int i) {
      z()[i] = (dot(matrix() + i * tasks, w, tasks) + ridge * w[i]) / q1()[i];
    });
    x.sync();
    const double aligned = -sum_of(tasks, [&](int i) { return q1()[i] * fabs(w[i]); });
    const double worst = largest(z(), tasks);
    x.sync();
    return aligned > 0 ? worst / aligned : 0.0;
  }
};

}  // namespace gramstep::inline v1::solvers
