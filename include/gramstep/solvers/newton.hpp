// Newton's method for the conditions of Nash-MTL and FairGrad.
#pragma once

#include <cmath>
#include <cstdint>

#include "gramstep/rules/common.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1::solvers {

/// Solves H solution = b, H [K, K] symmetric; its upper triangle, which alone is read, and b are
/// used up. False, with a barrier, where H is not positive definite. Ends with a barrier.
template <class X>
GRAMSTEP_BODY bool solve_positive(const X& x, double* h, double* b, int tasks, double* solution) {
  double inverse = 0;
  GRAMSTEP_ROLLED
  for (int p = 0; p < tasks; ++p) {
    const double* row = h + p * tasks;
    if (!(row[p] > 0)) {
      x.sync();
      return false;
    }
    // The last pivot, which everybody has read, makes room for its inverse.
    if (p > 0 && x.thread() == 0) h[(p - 1) * (tasks + 1)] = inverse;
    inverse = 1.0 / row[p];
    const int rest = tasks - p - 1;
    if (alone(x)) {
      const double* __restrict from = row;
      for (int i = p + 1; i < tasks; ++i) {
        double* __restrict to = h + i * tasks;
        const double f = row[i] * inverse;
        for (int j = i; j < tasks; ++j) to[j] -= f * from[j];
      }
    } else {
      for_elements(x, rest, rest, [&](int e, int k) {
        const int i = p + 1 + e, j = p + 1 + k;
        if (j >= i) h[i * tasks + j] -= row[i] * inverse * row[j];
      });
    }
    for_each(x, rest, [&](int e) { b[p + 1 + e] -= row[p + 1 + e] * inverse * b[p]; });
    x.sync();
  }
  if (x.thread() == 0) h[tasks * tasks - 1] = inverse;
  x.sync();
  GRAMSTEP_ROLLED
  for (int p = tasks - 1; p >= 0; --p) {
    const double value = b[p] * h[p * tasks + p];
    if (x.thread() == 0) solution[p] = value;
    for_each(x, p, [&](int j) { b[j] -= h[j * tasks + p] * value; });
    x.sync();
  }
  return true;
}

/// Finds w > 0 with (G w)_i = w_i^(-1/alpha), alpha > 0, which minimises the strictly convex
/// 1/2 w^T G w - sum_i phi(w_i), phi'(w) = w^(-1/alpha).
///
/// With G = D C D, the norms n on D, and the solution for orthogonal rows, e_i = n_i^(-2 alpha / (1
/// + alpha)), as the unit of w_i = e_i t_i, that is for u = D w
///
///   (C u)_i = m_i t_i^(-1/alpha),   u_i = m_i t_i,
///   m_i = n_i e_i = n_i^((1 - alpha) / (1 + alpha))
///
/// with the Newton matrix C + diag(t^(-1/alpha - 1) / alpha), whatever the norms. From t = 1; steps
/// stay inside t > 0 and are halved while the objective's slope along them has grown too far beyond
/// its minimum. There is no solution where a convex combination of rows is 0: the ridge, which is
/// given up near a solution unless it carries it, keeps u below about 1e4 there.
/// A zero row has w_i = 0 and no condition.
struct Newton {
  int tasks;
  double alpha;
  double* memory;  // [scratch(K)]
  int iterations = 0;
  double residual = 0;  // largest |(G w)_i w_i^(1/alpha) - 1|

  static constexpr int most_iterations = 100;
  static constexpr double first_ridge = 1e-8;
  // Of the conditions' errors: small relative to (G w)_i; relative to the terms that (G w)_i is the
  // sum of, where it makes sense to stop for want of gain; and where to stop at once.
  static constexpr double near = 1e-6;
  static constexpr double rounding = 1e-9;
  static constexpr double converged = 1e-14;

  static constexpr std::int64_t scratch(int tasks) {
    return 2 * std::int64_t{tasks} * tasks + 13 * std::int64_t{tasks};
  }
  GRAMSTEP_BODY double* cosines() const { return memory; }
  GRAMSTEP_BODY double* matrix() const { return memory + tasks * tasks; }
  GRAMSTEP_BODY double* vector(int v) const { return memory + (2 * tasks + v) * tasks; }
  GRAMSTEP_BODY double* norms() const { return vector(0); }
  GRAMSTEP_BODY double* units() const { return vector(1); }  // m
  GRAMSTEP_BODY double* u() const { return vector(2); }
  GRAMSTEP_BODY double* along() const { return vector(3); }      // C u
  GRAMSTEP_BODY double* force() const { return vector(4); }      // m t^(-1/alpha)
  GRAMSTEP_BODY double* stiffness() const { return vector(5); }  // t^(-1/alpha - 1) / alpha
  GRAMSTEP_BODY double* slope() const { return vector(6); }      // of the objective, downwards
  GRAMSTEP_BODY double* step() const { return vector(7); }
  GRAMSTEP_BODY double* trial() const { return vector(8); }
  GRAMSTEP_BODY double* used() const { return vector(9); }
  // Of every condition, for whoever asks for the largest: no thread divides for all of them.
  GRAMSTEP_BODY double* errors() const { return vector(10); }  // relative, with the ridge
  GRAMSTEP_BODY double* shares() const { return vector(11); }  // of the ridge
  GRAMSTEP_BODY double* offs() const { return vector(12); }  // slopes relative to what they sum up

  /// Writes w [K] and sets iterations and residual. Ends with a barrier.
  template <class X>
  GRAMSTEP_BODY void solve(const X& x, const double* gram, double* w) {
    cosine_matrix(x, gram, tasks, norms(), cosines());
    for_each(x, tasks, [&](int i) {
      const double n = norms()[i];
      units()[i] = n == 0 ? 0.0 : alpha == 1 ? 1.0 : pow(n, (1 - alpha) / (1 + alpha));
      trial()[i] = units()[i];
      step()[i] = 0;
    });
    x.sync();
    iterate(x);
    for_each(x, tasks, [&](int i) { w[i] = norms()[i] == 0 ? 0.0 : u()[i] / norms()[i]; });
    x.sync();
  }

 private:
  template <class X>
  GRAMSTEP_BODY void iterate(const X& x) {
    constexpr double overshoot = 0.5, largest_ridge = 1e3;
    double ridge = first_ridge, before = infinity, descent = infinity, length = 1;
    bool needs_ridge = false;
    int halvings = 0;
    GRAMSTEP_ROLLED
    while (true) {  // trial is where to look
      evaluate(x, ridge);
      if (dot(slope(), step(), tasks) < -overshoot * descent && ++halvings < 40) {
        length /= 2;
        look(x, length);
        continue;
      }
      accept(x);
      descent = infinity;
      const double error = largest(errors()), off = largest(offs());
      if ((error <= near || off <= converged) && ridge > 0 && !needs_ridge) {
        needs_ridge = largest(shares()) > 1e-2;
        if (!needs_ridge) {
          ridge = 0;
          x.sync();
          continue;
        }
      }
      const bool stalled = off <= rounding && off > before / 2;
      if (off <= converged || stalled || iterations >= most_iterations) break;
      if (!find_step(x, ridge)) {  // rounding in G: C has an eigenvalue below 0
        needs_ridge = true;
        ridge = ridge > 0 ? 10 * ridge : first_ridge;
        if (!(ridge <= largest_ridge)) break;
        continue;
      }
      ++iterations;
      before = off;
      halvings = 0;
      length = longest_step();
      if (error > 1e-2 && off > rounding) descent = dot(slope(), step(), tasks);
      look(x, length);
    }
    x.sync();
    for_each(x, tasks, [&](int i) {
      errors()[i] = units()[i] == 0 ? 0.0 : fabs(along()[i] / force()[i] - 1);
    });
    x.sync();
    residual = largest(errors());
    x.sync();
  }

  /// How much of step() may be taken, at most all, with every u above 0.
  GRAMSTEP_BODY double longest_step() const {
    constexpr double towards_zero = 0.99;
    double length = 1;
    GRAMSTEP_ROLLED
    for (int i = 0; i < tasks; ++i) {
      if (-step()[i] * length > towards_zero * u()[i]) length = -towards_zero * u()[i] / step()[i];
    }
    return length;
  }

  /// trial = u + length step. Begins and ends with a barrier.
  template <class X>
  GRAMSTEP_BODY void look(const X& x, double length) const {
    x.sync();
    for_each(x, tasks, [&](int i) { trial()[i] = u()[i] + length * step()[i]; });
    x.sync();
  }

  /// u = trial. Begins and ends with a barrier.
  template <class X>
  GRAMSTEP_BODY void accept(const X& x) const {
    x.sync();
    for_each(x, tasks, [&](int i) { u()[i] = trial()[i]; });
    x.sync();
  }

  /// Computes along, force, stiffness, slope and the conditions' errors for u = trial. Begins after a
  /// barrier and ends with one.
  template <class X>
  GRAMSTEP_BODY void evaluate(const X& x, double ridge) const {
    const double* at = trial();
    for_each(x, tasks, [&](int i) {
      const double m = units()[i], t = m > 0 ? at[i] / m : 1.0;
      const double power = alpha == 1 ? 1 / t : pow(t, -1 / alpha);
      double sum = 0, absolute = 0;
      GRAMSTEP_ROLLED
      for (int j = 0; j < tasks; ++j) {
        const double term = cosines()[i * tasks + j] * at[j];
        sum += term;
        absolute += fabs(term);
      }
      const double wanted = m * power, carried = ridge * at[i];
      along()[i] = sum;
      force()[i] = wanted;
      stiffness()[i] = power / t / alpha;
      slope()[i] = wanted - sum - carried;
      errors()[i] = m == 0 ? 0.0 : fabs((sum + carried) / wanted - 1);
      shares()[i] = m == 0 ? 0.0 : carried / wanted;
      offs()[i] = m == 0 ? 0.0 : fabs(slope()[i]) / (absolute + wanted);
    });
    x.sync();
  }

  /// The largest of K values >= 0; every thread's own.
  GRAMSTEP_BODY double largest(const double* values) const {
    double result = 0;
    GRAMSTEP_ROLLED
    for (int i = 0; i < tasks; ++i) result = values[i] > result ? values[i] : result;
    return result;
  }

  template <class X>
  GRAMSTEP_BODY bool find_step(const X& x, double ridge) const {
    x.sync();
    for_elements(x, tasks, tasks, [&](int i, int j) {
      const double c = cosines()[i * tasks + j];
      matrix()[i * tasks + j] = i == j ? c + (ridge + stiffness()[i]) : c;
    });
    for_each(x, tasks, [&](int i) { used()[i] = slope()[i]; });
    x.sync();
    return solve_positive(x, matrix(), used(), tasks, step());
  }
};

}  // namespace gramstep::inline v1::solvers
