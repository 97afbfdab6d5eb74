// Aligned-MTL: the gradients, rotated and scaled as little as makes them orthogonal and equally
// long.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/jacobi.hpp"
#include "gramstep/solvers/pseudo_inverse.hpp"

namespace gramstep::inline v1 {

/// How long the aligned gradients are: the square root of which of G's kept eigenvalues.
enum class AlignedMTLScale {
  min,     ///< the smallest, as in the paper and TorchJD
  median,  ///< the median, of two in the middle the smaller
  mean,    ///< their mean
};
/// The names of the values, in their order.
constexpr std::array<std::string_view, 3> names_of(AlignedMTLScale) {
  return {"min", "median", "mean"};
}

/// Independent component alignment.
///
///   G = V L V^T;   the eigenvalues > K rank_tolerance max(L) are kept;
///   w = sqrt(s) V L^(-1/2) V^T b,   s = the smallest, median or mean of the kept eigenvalues
///
/// so that d = sum_i b_i a_i, with aligned gradients a_i whose Gram matrix is s V V^T.
/// Source: Senushkin et al., "Independent Component Alignment for Multi-Task Learning", CVPR 2023,
/// algorithm 1; TorchJD's AlignedMTL for the default preference.
/// Promises: the aligned gradients have condition number 1 in the space of the kept eigenvectors.
/// Degenerate input: zero rows get weight 0, any rank is no special case, weights are finite; norms
/// that differ by more than 1 / sqrt(K rank_tolerance) lose the shorter rows' own directions. With
/// no row but zeros w = b; one task gets its preference.
/// Deterministic.
struct AlignedMTL {
  TaskValues preference = {};  ///< b: one finite number > 0 a task, or none for 1 / K each
  AlignedMTLScale scale = AlignedMTLScale::min;  ///< min, median or mean
  /// Eigenvalues up to K times this, relative to the largest, are dropped, in [2^-52, 1). The
  /// rounding of fp32 gradients by default.
  double rank_tolerance = solvers::fp32_rounding;

  static constexpr std::string_view name = "AlignedMTL";
  static constexpr std::string_view promise = "the aligned gradients have condition number 1";
  static constexpr double tolerance = 1e-6;
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("preference", self.preference);
    visit("scale", self.scale);
    visit("rank_tolerance", self.rank_tolerance);
  }
  /// Doubles of scratch for K tasks: the eigenvectors, a matrix of errors, their factors, the error
  /// of each, and the preference.
  static constexpr std::int64_t scratch(int tasks) {
    const std::int64_t order = tasks + 1;
    return solvers::eigen_scratch(tasks) + order * (order + 1) + 4 * order;
  }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int tasks) const {
    expect_preference("AlignedMTL.preference", preference, tasks);
    expect_in("AlignedMTL.rank_tolerance", rank_tolerance, 0x1p-52, 1);
  }

  /// Writes the weights [K]; one block, every thread of it calls.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    if (tasks == 1) {  // G may be NaN
      solvers::for_each(x, 1, [&](int) { w[0] = preferred(0, 1); });
      x.sync();
      return {};
    }
    const solvers::Eigen eigen = solvers::eigen_in(problem.scratch, tasks);
    const int order = eigen.order;
    double* inverse = problem.scratch + solvers::eigen_scratch(tasks);  // L^(-1/2), 0 where dropped
    double* along = inverse + order;
    double* error = along + order;
    double* wanted = error + order;  // b
    solvers::for_each(x, tasks, [&](int i) { wanted[i] = preferred(i, tasks); });
    const int sweeps = solvers::decompose(x, problem.gram, tasks, eigen);
    const double cutoff = tasks * rank_tolerance * largest_value(eigen);
    if (cutoff == 0) {  // no row but zeros
      solvers::for_each(x, tasks, [&](int i) { w[i] = wanted[i]; });
      x.sync();
      return {sweeps, 0};
    }
    solvers::for_each(x, order, [&](int k) {
      const double value = eigen.value(k);
      inverse[k] = value > cutoff ? 1.0 / sqrt(value) : 0.0;
      along[k] = inverse[k] * solvers::dot(eigen.vector(k), wanted, tasks);
    });
    const double length = sqrt(chosen_value(eigen, cutoff));
    x.sync();
    misalignment(x, eigen, problem.gram, tasks, inverse, wanted + order, error);
    solvers::for_each(x, tasks, [&](int i) {
      w[i] = length * solvers::sum_of(order, [&](int k) { return along[k] * eigen.vector(k)[i]; });
    });
    x.sync();
    return {sweeps, solvers::largest(error, order)};
  }

 private:
  GRAMSTEP_BODY double preferred(int i, int tasks) const {
    return preference.value_or(i, 1.0 / tasks);
  }

  GRAMSTEP_BODY static double largest_value(const solvers::Eigen& eigen) {
    double largest = 0;
    GRAMSTEP_ROLLED
    for (int k = 0; k < eigen.order; ++k) largest = fmax(largest, eigen.value(k));
    return largest;
  }

  /// s; the largest eigenvalue is always kept.
  GRAMSTEP_BODY double chosen_value(const solvers::Eigen& eigen, double cutoff) const {
    double smallest = infinity, sum = 0;
    int kept = 0;
    for (int k = 0; k < eigen.order; ++k) {
      if (!(eigen.value(k) > cutoff)) continue;
      smallest = fmin(smallest, eigen.value(k));
      sum += eigen.value(k);
      ++kept;
    }
    if (scale == AlignedMTLScale::min) return smallest;
    if (scale == AlignedMTLScale::mean) return sum / kept;
    for (int k = 0; k < eigen.order; ++k) {
      if (eigen.value(k) > cutoff && rank(eigen, cutoff, k) == (kept - 1) / 2) {
        return eigen.value(k);
      }
    }
    return smallest;
  }

  /// How many kept eigenvalues come before k, from the smallest up, equal ones by index.
  GRAMSTEP_BODY static int rank(const solvers::Eigen& eigen, double cutoff, int k) {
    const double value = eigen.value(k);
    int before = 0;
    for (int l = 0; l < eigen.order; ++l) {
      const double other = eigen.value(l);
      if (other > cutoff && (other < value || (other == value && l < k))) ++before;
    }
    return before;
  }

  /// How far every row of L^(-1/2) V^T G V L^(-1/2) is from that of the identity, by its largest
  /// element: errors [n]. Uses up the decomposed matrix; room: as large.
  template <class X>
  GRAMSTEP_BODY static void misalignment(const X& x, const solvers::Eigen& eigen,
                                         const double* gram, int tasks, const double* inverse,
                                         double* room, double* errors) {
    const int n = eigen.order, stride = eigen.stride;
    double* images = eigen.matrix;  // L^(-1/2) V^T G [n, K]
    solvers::for_elements(x, tasks, n, [&](int i, int k) {
      images[k * stride + i] = inverse[k] * solvers::dot(gram + i * tasks, eigen.vector(k), tasks);
    });
    x.sync();
    solvers::for_elements(x, n, n, [&](int l, int k) {
      const double element = inverse[l] * solvers::dot(eigen.vector(l), images + k * stride, tasks);
      const bool kept = inverse[k] > 0 && inverse[l] > 0;
      room[k * stride + l] = kept ? fabs(element - (l == k ? 1.0 : 0.0)) : 0.0;
    });
    x.sync();
    solvers::for_each(x, n, [&](int k) { errors[k] = solvers::largest(room + k * stride, n); });
  }
};

}  // namespace gramstep::inline v1
