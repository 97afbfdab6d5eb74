// Newton's method for the conditions of Nash-MTL and FairGrad.
#pragma once

#include <cmath>
#include <cstdint>

#include "gramstep/rules/common.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1::solvers {

/// The second half of solve_positive, for a warp alone: there are K barriers and no work for more.
/// Finds the inverse pivots in solution.
template <class X>
GRAMSTEP_BODY void substitute_back(const X& x, const double* h, double* b, int tasks,
                                   double* solution) {
  GRAMSTEP_ROLLED
  for (int p = tasks - 1; p >= 0; --p) {
    const double value = b[p] * solution[p];
    for_each(x, p, [&](int j) { b[j] -= h[j * tasks + p] * value; });
    x.sync();
    if (x.thread() == 0) solution[p] = value;
  }
}

/// Solves H solution = b, H [K, K] symmetric; its upper triangle, which alone is read, and b are
/// used up. False, with a barrier, where H is not positive definite. Ends with a barrier.
template <class X>
GRAMSTEP_BODY bool solve_positive(const X& x, double* h, double* b, int tasks, double* solution) {
  const int shift = row_shift(tasks);
  GRAMSTEP_ROLLED
  for (int p = 0; p < tasks; ++p) {
    const double* row = h + p * tasks;
    const double pivot = row[p];
    if (!(pivot > 0)) {
      x.sync();
      return false;
    }
    const double inverse = 1.0 / pivot;
    const int rest = tasks - p - 1;
    if (alone(x)) {
      const double* __restrict from = row;
      for (int i = p + 1; i < tasks; ++i) {
        double* __restrict to = h + i * tasks;
        const double f = row[i] * inverse;
        for (int j = i; j < tasks; ++j) to[j] -= f * from[j];
      }
    } else {
      for_elements(x, shift, rest, rest, [&](int e, int k) {
        const int i = p + 1 + e, j = p + 1 + k;
        if (j >= i) h[i * tasks + j] -= row[i] * inverse * row[j];
      });
    }
    const FromLast<X> last{x};
    for_each(last, rest, [&](int e) { b[p + 1 + e] -= row[p + 1 + e] * inverse * b[p]; });
    if (last.thread() == 0) solution[p] = inverse;
    x.sync();
  }
  if (x.warp() == 0) substitute_back(Team<X>{x}, h, b, tasks, solution);
  x.sync();
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
/// with the Newton matrix C + diag(t^(-1/alpha - 1) / alpha), whatever the norms. From the best t
/// that is the same for all; steps stay inside t > 0 and are halved while the objective's slope
/// along them has grown too far beyond its minimum. There is no solution where a convex combination
/// of rows is 0: the ridge, which is given up near a solution unless it carries it, keeps u below
/// about 1e4 there.
/// A zero row has w_i = 0 and no condition.
struct Newton {
  int tasks;
  double alpha;
  double* memory;  // [scratch(K)]
  int iterations = 0;
  double residual = 0;  // largest |(G w)_i w_i^(1/alpha) - 1|
  double share = 1 / alpha;
  int current = 0;  // of the two places, the one of u

  static constexpr int most_iterations = 100;
  static constexpr double first_ridge = 1e-8;
  // Of the conditions' errors: small relative to (G w)_i; relative to the terms that (G w)_i is the
  // sum of, where it makes sense to stop for want of gain; and where to stop at once.
  static constexpr double near = 1e-6;
  static constexpr double rounding = 1e-9;
  static constexpr double converged = 1e-14;

  static constexpr std::int64_t scratch(int tasks) {
    return 2 * std::int64_t{tasks} * tasks + 14 * std::int64_t{tasks};
  }
  GRAMSTEP_BODY double* cosines() const { return memory; }
  GRAMSTEP_BODY double* matrix() const { return memory + tasks * tasks; }
  GRAMSTEP_BODY double* vector(int v) const { return memory + (2 * tasks + v) * tasks; }
  GRAMSTEP_BODY double* u() const { return vector(current); }
  GRAMSTEP_BODY double* trial() const { return vector(1 - current); }
  GRAMSTEP_BODY double* norms() const { return vector(2); }
  GRAMSTEP_BODY double* units() const { return vector(3); }          // m
  GRAMSTEP_BODY double* inverse_units() const { return vector(4); }  // 1 / m, 0 for a zero row
  GRAMSTEP_BODY double* along() const { return vector(5); }          // C u
  GRAMSTEP_BODY double* inverse_force() const { return vector(6); }  // t^(1/alpha) / m
  GRAMSTEP_BODY double* stiffness() const { return vector(7); }      // t^(-1/alpha - 1) / alpha
  GRAMSTEP_BODY double* inverse_u() const { return vector(8); }
  GRAMSTEP_BODY double* slope() const { return vector(9); }  // of the objective, downwards
  GRAMSTEP_BODY double* step() const { return vector(10); }
  GRAMSTEP_BODY double* used() const { return vector(11); }
  // Of every condition, for whoever asks for the largest: no thread divides for all of them.
  GRAMSTEP_BODY double* errors() const { return vector(12); }  // relative, with the ridge
  GRAMSTEP_BODY double* offs() const { return vector(13); }  // slopes relative to what they sum up

  /// Writes w [K] and sets iterations and residual. Ends with a barrier.
  template <class X>
  GRAMSTEP_BODY void solve(const X& x, const double* gram, double* w) {
    cosine_matrix(x, gram, tasks, norms(), cosines());
    for_each(x, tasks, [&](int i) {
      const double n = norms()[i];
      const double m = n == 0 ? 0.0 : alpha == 1 ? 1.0 : pow(n, (1 - alpha) / (1 + alpha));
      units()[i] = m;
      inverse_units()[i] = m == 0 ? 0.0 : 1 / m;
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
    approach(x, ridge);
    GRAMSTEP_ROLLED
    while (true) {  // trial is where to look
      evaluate(x, ridge);
      if (descent < infinity && dot(slope(), step(), tasks) < -overshoot * descent &&
          ++halvings < 40) {
        length /= 2;
        look(x, length);
        continue;
      }
      current = 1 - current;
      descent = infinity;
      halvings = 0;
      const double error = largest(errors(), tasks), off = largest(offs(), tasks);
      if ((error <= near || off <= converged) && ridge > 0 && !needs_ridge) {
        needs_ridge = largest_share(x, ridge) > 1e-2;
        if (!needs_ridge) {
          ridge = 0;
          current = 1 - current;
          continue;
        }
      }
      const bool stalled = off <= rounding && off > before / 2;
      if (off <= converged || stalled || iterations >= most_iterations) break;
      if (!find_step(x, ridge)) {  // rounding in G: C has an eigenvalue below 0
        needs_ridge = true;
        ridge = ridge > 0 ? 10 * ridge : first_ridge;
        if (!(ridge <= largest_ridge)) break;
        current = 1 - current;
        continue;
      }
      ++iterations;
      before = off;
      if (error > 1e-2 && off > rounding) descent = dot(slope(), step(), tasks);
      length = longest_step(x);
      look(x, length);
    }
    x.sync();
    for_each(x, tasks, [&](int i) {
      errors()[i] = units()[i] == 0 ? 0.0 : fabs(along()[i] * inverse_force()[i] - 1);
    });
    x.sync();
    residual = largest(errors(), tasks);
    x.sync();
  }

  /// Where to begin: the best multiple of m, and two damped steps from it with the Newton matrix's
  /// diagonal alone, which for a third of a step of Newton's save one or more of them. Ends with a
  /// barrier.
  template <class X>
  GRAMSTEP_BODY void approach(const X& x, double ridge) {
    constexpr double damping = 0.5;
    scale_trial(x, ridge);
    GRAMSTEP_ROLLED
    for (int turn = 0; turn < 2; ++turn) {
      evaluate(x, ridge);
      current = 1 - current;
      for_each(x, tasks, [&](int i) { step()[i] = slope()[i] / (1 + ridge + stiffness()[i]); });
      x.sync();
      look(x, fmin(damping, longest_step(x)));
    }
  }

  /// Moves trial from m to its best multiple. Ends with a barrier.
  template <class X>
  GRAMSTEP_BODY void scale_trial(const X& x, double ridge) const {
    multiply(x, cosines(), units(), tasks, along());
    const double squares = dot(units(), units(), tasks);
    const double curvature = fmax(dot(along(), units(), tasks), 0.0) + ridge * squares;
    const double ratio = squares > 0 ? squares / curvature : 1.0;
    const double multiple = alpha == 1 ? sqrt(ratio) : pow(ratio, alpha / (1 + alpha));
    for_each(x, tasks, [&](int i) { trial()[i] = multiple * units()[i]; });
    x.sync();
  }

  /// The largest part of a condition that the ridge carries. Ends with a barrier.
  template <class X>
  GRAMSTEP_BODY double largest_share(const X& x, double ridge) const {
    x.sync();
    for_each(x, tasks, [&](int i) { used()[i] = ridge * u()[i] * inverse_force()[i]; });
    x.sync();
    const double result = largest(used(), tasks);
    x.sync();
    return result;
  }

  /// How much of step() may be taken, at most all, with every u above 0.
  template <class X>
  GRAMSTEP_BODY double longest_step(const X& x) const {
    constexpr double towards_zero = 0.99;
    for_each(x, tasks, [&](int i) { used()[i] = -step()[i] * inverse_u()[i]; });
    x.sync();
    const double most = largest(used(), tasks);
    return most > towards_zero ? towards_zero / most : 1.0;
  }

  /// trial = u + length step. Ends with a barrier.
  template <class X>
  GRAMSTEP_BODY void look(const X& x, double length) const {
    for_each(x, tasks, [&](int i) { trial()[i] = u()[i] + length * step()[i]; });
    x.sync();
  }

  /// Row i of C u, and the sum of its terms' magnitudes.
  struct Row {
    double sum, absolute;

    GRAMSTEP_BODY Row operator+(const Row& other) const {
      return {sum + other.sum, absolute + other.absolute};
    }
    GRAMSTEP_BODY void operator+=(const Row& other) {
      sum += other.sum;
      absolute += other.absolute;
    }
  };

  /// Computes what belongs to u = trial. Begins after a barrier and ends with one.
  template <class X>
  GRAMSTEP_BODY void evaluate(const X& x, double ridge) const {
    const double* at = trial();
    for_each(x, tasks, [&](int i) {
      const double* cosine = cosines() + i * tasks;
      const Row row = sum_of(tasks, [&](int j) {
        const double term = cosine[j] * at[j];
        return Row{term, fabs(term)};
      });
      const double m = units()[i], inverse_m = inverse_units()[i];
      const double t = m > 0 ? at[i] * inverse_m : 1.0, inverse_t = 1 / t;
      // The usual exponents without a power: it is most of what a condition costs.
      const double root = alpha == 1 ? t : alpha == 2 ? sqrt(t) : pow(t, share);
      const double power = alpha == 1 ? inverse_t : 1 / root;
      const double wanted = m * power;
      along()[i] = row.sum;
      inverse_force()[i] = root * inverse_m;
      inverse_u()[i] = inverse_t * inverse_m;
      stiffness()[i] = power * inverse_t * share;
      slope()[i] = wanted - row.sum - ridge * at[i];
      errors()[i] = fabs(slope()[i]) * inverse_force()[i];
      offs()[i] = m == 0 ? 0.0 : fabs(slope()[i]) / (row.absolute + wanted);
    });
    x.sync();
  }

  /// Begins and ends with a barrier.
  template <class X>
  GRAMSTEP_BODY bool find_step(const X& x, double ridge) const {
    x.sync();
    for_elements(x, tasks, tasks, [&](int i, int j) {
      const double c = cosines()[i * tasks + j];
      matrix()[i * tasks + j] = i == j ? c + (ridge + stiffness()[i]) : c;
    });
    for_each(FromLast<X>{x}, tasks, [&](int i) { used()[i] = slope()[i]; });
    x.sync();
    return solve_positive(x, matrix(), used(), tasks, step());
  }
};

}  // namespace gramstep::inline v1::solvers
