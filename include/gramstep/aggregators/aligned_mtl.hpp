// Aligned-MTL: the gradients, rotated and scaled as little as makes them orthogonal and equally
// long.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/eigen.hpp"
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
/// The residual is that of B b, B = V L^(-1/2) V^T: B G B b misses the kept part of b by that much
/// of b's largest element.
/// Degenerate input: zero rows get weight 0, any rank is no special case, weights are finite; norms
/// that differ by more than 1 / sqrt(K rank_tolerance) lose the shorter rows' own directions. An
/// eigenvalue errs by some 2^-52 of the largest, so that a rank_tolerance t leaves about log2(t) + 52
/// right bits in the smallest that are kept. With no row but zeros w = b; one task gets its
/// preference.
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
  /// Doubles of scratch for K tasks: the eigenvectors, and vectors in their coordinates and in tasks.
  static constexpr std::int64_t scratch(int tasks) {
    return solvers::eigen_scratch(tasks) + 6 * tasks;
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
    double* inverse = problem.scratch + solvers::eigen_scratch(tasks);  // L^(-1/2), 0 where dropped
    double* along = inverse + tasks;                                    // V^T b
    double* errors = along + tasks;
    double* wanted = errors + tasks;   // b
    double* image = wanted + tasks;    // G a
    double* aligning = image + tasks;  // a = V L^(-1/2) V^T b
    solvers::for_each(x, tasks, [&](int i) { wanted[i] = preferred(i, tasks); });
    const int sweeps = solvers::decompose(x, problem.gram, tasks, eigen);
    const double cutoff = tasks * rank_tolerance * solvers::largest(eigen.values, tasks);
    if (cutoff == 0) {  // no row but zeros
      solvers::for_each(x, tasks, [&](int i) { w[i] = wanted[i]; });
      x.sync();
      return {sweeps, 0};
    }
    solvers::for_each(x, tasks, [&](int k) {
      const double value = eigen.values[k];
      inverse[k] = value > cutoff ? 1.0 / sqrt(value) : 0.0;
      along[k] = solvers::dot(eigen.vector(k), wanted, tasks);
      errors[k] = inverse[k] * along[k];
    });
    const double length = sqrt(chosen_value(eigen, cutoff));
    x.sync();
    solvers::add_rows(x, eigen.vectors, eigen.stride, errors, tasks, tasks, aligning);
    x.sync();
    solvers::multiply(x, problem.gram, aligning, tasks, image);
    solvers::for_each(x, tasks, [&](int k) {
      const double aligned = inverse[k] * solvers::dot(eigen.vector(k), image, tasks);
      errors[k] = inverse[k] > 0 ? fabs(aligned - along[k]) : 0.0;
      w[k] = problem.gram[k * (tasks + 1)] == 0 ? 0.0 : length * aligning[k];
    });
    x.sync();
    return {sweeps, solvers::largest(errors, tasks) / solvers::largest(wanted, tasks)};
  }

 private:
  GRAMSTEP_BODY double preferred(int i, int tasks) const {
    return preference.value_or(i, 1.0 / tasks);
  }

  /// s; the largest eigenvalue is always kept.
  GRAMSTEP_BODY double chosen_value(const solvers::Eigen& eigen, double cutoff) const {
    double smallest = infinity, sum = 0;
    int kept = 0;
    for (int k = 0; k < eigen.tasks; ++k) {
      if (!(eigen.values[k] > cutoff)) continue;
      smallest = fmin(smallest, eigen.values[k]);
      sum += eigen.values[k];
      ++kept;
    }
    if (scale == AlignedMTLScale::min) return smallest;
    if (scale == AlignedMTLScale::mean) return sum / kept;
    for (int k = 0; k < eigen.tasks; ++k) {
      if (eigen.values[k] > cutoff && rank(eigen, cutoff, k) == (kept - 1) / 2) {
        return eigen.values[k];
      }
    }
    return smallest;
  }

  /// How many kept eigenvalues come before k, from the smallest up, equal ones by index.
  GRAMSTEP_BODY static int rank(const solvers::Eigen& eigen, double cutoff, int k) {
    const double value = eigen.values[k];
    int before = 0;
    for (int l = 0; l < eigen.tasks; ++l) {
      const double other = eigen.values[l];
      if (other > cutoff && (other < value || (other == value && l < k))) ++before;
    }
    return before;
  }
};

}  // namespace gramstep::inline v1
