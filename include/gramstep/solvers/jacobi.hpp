// Eigenvalues and eigenvectors of a symmetric K x K matrix, by a block of threads.
#pragma once

#include <cmath>
#include <cstdint>

#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1::solvers {

/// A symmetric matrix on its way to diagonal form, in memory of the caller's; see eigen_scratch.
/// The order n is K, or K + 1 where K is odd: then the last row and column are zero, an eigenpair
/// that has nothing to do with the others.
struct Eigen {
  int order;        // n
  double* matrix;   // [n, n]; in the end the eigenvalues stand on its diagonal
  double* vectors;  // [n, n], an eigenvector a row
  double* cosine;   // [n / 2] of the current round's rotations
  double* sine;     // [n / 2]
  double* shift;    // [n / 2]: what the rotation takes from one diagonal element to the other

  /// Eigenvalue k, of no particular order.
  GRAMSTEP_BODY double value(int k) const { return matrix[k * order + k]; }
  /// The unit eigenvector [n] that belongs to it.
  GRAMSTEP_BODY const double* vector(int k) const { return vectors + k * order; }
  /// The pair of rows that rotation p of a round turns: a tournament, in which every row meets
  /// every other once in n - 1 rounds.
  GRAMSTEP_BODY void pair(int round, int p, int& i, int& j) const {
    const int wheel = order - 1;
    const int a = p == 0 ? wheel : round + p < wheel ? round + p : round + p - wheel;
    const int b = round - p >= 0 ? round - p : round - p + wheel;
    i = a < b ? a : b;
    j = a < b ? b : a;
  }
};

/// Doubles that eigen_in needs for K tasks.
GRAMSTEP_BOTH constexpr std::int64_t eigen_scratch(int tasks) {
  const std::int64_t order = tasks + tasks % 2;
  return 2 * order * order + 3 * (order / 2);
}

/// Sweeps after which the decomposition is left as it is. 64 rows of full rank take 7 to 10, of
/// rank 32 up to 16, for the rounding in place of a zero eigenvalue is diagonalised as well.
inline constexpr int most_sweeps = 30;

/// The memory of a decomposition of K x K, laid out in scratch [eigen_scratch(K)].
GRAMSTEP_BODY Eigen eigen_in(double* scratch, int tasks) {
  const int order = tasks + tasks % 2;
  const int half = order / 2;
  double* rotations = scratch + 2 * order * order;
  return {order,     scratch,          scratch + order * order,
          rotations, rotations + half, rotations + 2 * half};
}

/// The rotation that makes element (i, j) zero; none where that is rounding beside its diagonal.
GRAMSTEP_BODY void choose_rotation(const Eigen& eigen, int round, int p) {
  int i, j;
  eigen.pair(round, p, i, j);
  const double a = eigen.matrix[i * eigen.order + i], b = eigen.matrix[j * eigen.order + j];
  const double off = eigen.matrix[i * eigen.order + j];
  eigen.cosine[p] = 1.0;
  eigen.sine[p] = 0.0;
  eigen.shift[p] = 0.0;
  // Relative to both diagonal elements, so that small eigenvalues of graded matrices keep their
  // digits. Two roots: their product stays in range. 1e-290: for a quotient that is finite.
  if (fabs(off) <= 0x1p-53 * (sqrt(fabs(a)) * sqrt(fabs(b))) || fabs(off) < 1e-290) return;
  const double theta = 0.5 * (b - a) / off;
  const double size = fabs(theta);
  const double tangent =
      (theta < 0 ? -1.0 : 1.0) / (size > 1e100 ? 2.0 * size : size + sqrt(size * size + 1.0));
  eigen.cosine[p] = 1.0 / sqrt(tangent * tangent + 1.0);
  eigen.sine[p] = tangent * eigen.cosine[p];
  eigen.shift[p] = tangent * off;
}

/// R_p B R_q^T for the 2 x 2 block B where the pairs p and q cross, p <= q, written on both sides
/// of the diagonal.
GRAMSTEP_BODY void rotate_block(const Eigen& eigen, int round, int p, int q) {
  const double cp = eigen.cosine[p], sp = eigen.sine[p], cq = eigen.cosine[q], sq = eigen.sine[q];
  if (sp == 0 && sq == 0) return;
  const int n = eigen.order;
  double* m = eigen.matrix;
  int i, j, k, l;
  eigen.pair(round, p, i, j);
  if (p == q) {
    m[i * n + i] -= eigen.shift[p];
    m[j * n + j] += eigen.shift[p];
    m[i * n + j] = m[j * n + i] = 0.0;
    return;
  }
  eigen.pair(round, q, k, l);
  const double ik = cp * m[i * n + k] - sp * m[j * n + k];
  const double jk = sp * m[i * n + k] + cp * m[j * n + k];
  const double il = cp * m[i * n + l] - sp * m[j * n + l];
  const double jl = sp * m[i * n + l] + cp * m[j * n + l];
  m[i * n + k] = m[k * n + i] = cq * ik - sq * il;
  m[i * n + l] = m[l * n + i] = sq * ik + cq * il;
  m[j * n + k] = m[k * n + j] = cq * jk - sq * jl;
  m[j * n + l] = m[l * n + j] = sq * jk + cq * jl;
}

/// Elements [first, last) of the two eigenvectors that rotation p mixes.
GRAMSTEP_BODY void rotate_vectors(const Eigen& eigen, int round, int p, int first, int last) {
  const double c = eigen.cosine[p], s = eigen.sine[p];
  if (s == 0) return;
  int i, j;
  eigen.pair(round, p, i, j);
  double* one = eigen.vectors + i * eigen.order;
  double* other = eigen.vectors + j * eigen.order;
  for (int e = first; e < last; ++e) {
    const double a = one[e], b = other[e];
    one[e] = c * a - s * b;
    other[e] = s * a + c * b;
  }
}

/// n / 2 rotations of disjoint pairs; whether there was anything to rotate. Ends with a barrier.
template <class X>
GRAMSTEP_BODY bool rotate(const X& x, const Eigen& eigen, int round) {
  const int n = eigen.order, half = n / 2;
  for_each(x, half, [&](int p) { choose_rotation(eigen, round, p); });
  x.sync();
  bool any = false;
  for (int p = 0; p < half; ++p) any = any || eigen.sine[p] != 0;
  if (any) {
    for_elements(x, half, half, [&](int p, int q) {
      if (p <= q) rotate_block(eigen, round, p, q);
    });
    // Two rows in `parts` pieces each: a thread has contiguous memory, alone or among many.
    const int parts = x.threads() < n ? 1 : 16;
    for_elements(x, half, parts, [&](int p, int part) {
      rotate_vectors(eigen, round, p, part * n / parts, (part + 1) * n / parts);
    });
  }
  x.sync();
  return any;
}

/// Decomposes the symmetric matrix A [K, K] into memory from eigen_in; returns the sweeps. Jacobi's
/// method, n / 2 disjoint rotations at a time, until every element beside the diagonal is rounding
/// relative to its two diagonal elements. One thread or many give the same bits. Ends with a
/// barrier.
/// Source: Golub and Van Loan, "Matrix Computations", section 8.5.
template <class X>
GRAMSTEP_BODY int decompose(const X& x, const double* symmetric, int tasks, const Eigen& eigen) {
  const int n = eigen.order;
  for_elements(x, n, n, [&](int i, int j) {
    eigen.matrix[i * n + j] = i < tasks && j < tasks ? symmetric[i * tasks + j] : 0.0;
    eigen.vectors[i * n + j] = i == j ? 1.0 : 0.0;
  });
  x.sync();
  for (int sweep = 1; sweep <= most_sweeps; ++sweep) {
    bool any = false;
    for (int round = 0; round < n - 1; ++round) {
      const bool rotated = rotate(x, eigen, round);
      any = any || rotated;
    }
    if (!any) return sweep;
  }
  return most_sweeps;
}

}  // namespace gramstep::inline v1::solvers
