// Systems of equations in the cosine matrix, of any rank.
#pragma once

#include <cmath>
#include <cstdint>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/eigen.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1::solvers {

/// What rounding of fp32 gradients leaves of a zero eigenvalue, relative to the largest: the
/// default of the options named rank_tolerance.
inline constexpr double fp32_rounding = 0x1p-23;

/// A pivot of the cosine matrix below this leaves the fast solve for the eigenvectors. A pivot is
/// at least the smallest eigenvalue, and seldom more than K times as much: what passes has full
/// rank.
inline constexpr double smallest_pivot = 0x1p-10;

/// C s = p, with C the cosine matrix of all rows that are not zero.
struct CosineSystem {
  double* norms;    // [K] n
  double* wanted;   // [K] p, 0 for a zero row
  double* solved;   // [K] s = C^+ p, 0 for a zero row
  double* reached;  // [K] C s
  double* cosines;  // [K, K] C
  double* work;     // the solver's own
};

/// What was found of C s = p; every thread has the same.
struct CosineSolution {
  int iterations;   // pivots, or sweeps
  double residual;  // the largest |C s - p| over the largest p: rounding, where p can be had
  bool found;       // false: p is orthogonal to all that C reaches, as with two opposite rows
};

/// Doubles that cosine_system needs for K tasks.
constexpr std::int64_t cosine_scratch(int tasks) {
  const std::int64_t k = tasks;
  const std::int64_t table = line + k * row_stride(tasks + 1);
  const std::int64_t eigen = eigen_scratch(tasks) + k;
  return 4 * k + k * k + (table > eigen ? table : eigen);
}

/// A system's memory, laid out in scratch [cosine_scratch(K)].
GRAMSTEP_BODY CosineSystem cosine_system(double* scratch, int tasks) {
  double* matrix = scratch + 4 * tasks;
  return {scratch, scratch + tasks,       scratch + 2 * tasks, scratch + 3 * tasks,
          matrix,  matrix + tasks * tasks};
}

/// s = C^-1 p by K pivots, the last row first; -1 without an answer where a pivot is small. Ends with
/// a barrier.
template <class X>
GRAMSTEP_BODY int solve_by_pivots(const X& x, const CosineSystem& system, int tasks) {
  // p and C, a row side by side. A pivot leaves columns up to its own as they are to be; the others
  // are done with.
  const int stride = row_stride(tasks + 1), shift = row_shift(tasks + 1);
  double* table = line_begin(system.work);
  for_elements(x, shift, tasks, tasks + 1, [&](int i, int j) {
    table[i * stride + j] = j == 0 ? system.wanted[i] : system.cosines[i * tasks + j - 1];
  });
  x.sync();
  for (int p = tasks - 1; p >= 0; --p) {
    const double* row = table + p * stride;
    const double element = row[p + 1];
    // The barrier keeps the work area the threads' until the last one has looked.
    if (element < smallest_pivot) {
      x.sync();
      return -1;
    }
    const double inverse = 1.0 / element;
    for_each(x, 1, [&](int) { system.solved[p] = inverse; });
    for_pieces(
        x, shift, tasks, with_room(x, p + 1),
        [&]<class T>(int c, T) { return inverse * load_as<T>(row + c); },
        [&]<class T>(int i, int c, const T& scaled) {
          double* own = table + i * stride;
          if (i != p) store_as<T>(load_as<T>(own + c) - own[p + 1] * scaled, own + c);
        });
    x.sync();
  }
  for_each(x, tasks, [&](int i) { system.solved[i] *= table[i * stride]; });
  x.sync();
  return tasks;
}

/// s = C^+ p from the eigenvectors, without those whose eigenvalues are at most `cutoff`; returns
/// the sweeps. Ends with a barrier.
template <class X>
GRAMSTEP_BODY int solve_by_eigenvectors(const X& x, const CosineSystem& system, int tasks,
                                        double cutoff) {
  const Eigen eigen = eigen_in(system.work, tasks);
  double* along = system.work + eigen_scratch(tasks);
  const int sweeps = decompose(x, system.cosines, tasks, eigen);
  for_each(x, tasks, [&](int k) {
    const double value = eigen.values[k];
    along[k] = value > cutoff ? dot(eigen.vector(k), system.wanted, tasks) / value : 0.0;
  });
  x.sync();
  for_each(x, tasks, [&](int i) {
    const double sum = sum_of(tasks, [&](int k) { return along[k] * eigen.vector(k)[i]; });
    system.solved[i] = system.norms[i] == 0 ? 0.0 : sum;
  });
  x.sync();
  return sweeps;
}

/// Solves C s = p for the Gram matrix G [K, K] and p_i = wanted(i) > 0. Where C has no inverse, in
/// the least squares sense and with the smallest |s|; eigenvalues up to K * rank_tolerance count as
/// 0 (C has a diagonal of 1). K >= 2. Ends with a barrier.
template <class X, class Wanted>
GRAMSTEP_BODY CosineSolution solve_cosines(const X& x, const GramProblem& problem,
                                           const Wanted& wanted, double rank_tolerance,
                                           const CosineSystem& system) {
  const int tasks = problem.tasks;
  cosine_matrix(x, problem.gram, tasks, system.norms, system.cosines);
  for_each(x, tasks, [&](int i) { system.wanted[i] = system.norms[i] == 0 ? 0.0 : wanted(i); });
  x.sync();
  int iterations = solve_by_pivots(x, system, tasks);
  if (iterations < 0) iterations = solve_by_eigenvectors(x, system, tasks, tasks * rank_tolerance);
  multiply(x, system.cosines, system.solved, tasks, system.reached);
  double missed = 0, most = 0;
  for (int i = 0; i < tasks; ++i) {
    most = fmax(most, system.wanted[i]);
    if (system.norms[i] > 0) missed = fmax(missed, fabs(system.reached[i] - system.wanted[i]));
  }
  // p^T C^+ p: at least |p|^2 / K for a p that can be had, the square of a rounding for one that is
  // orthogonal to all that can.
  const double length = dot(system.wanted, system.solved, tasks);
  return {iterations, most > 0 ? missed / most : 0.0, length > 1e-12 * most * most};
}

}  // namespace gramstep::inline v1::solvers
