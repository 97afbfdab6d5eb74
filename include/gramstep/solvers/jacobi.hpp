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
  int order;          // n
  int stride;         // of the rows below; odd, so that a column does not lie in one memory bank
  double* matrix;     // [n, n]; in the end the eigenvalues stand on its diagonal
  double* vectors;    // [n, n], an eigenvector a row
  double* rotations;  // [2, 3, n / 2], those of even rounds and of odd ones

  /// Eigenvalue k, of no particular order.
  GRAMSTEP_BODY double value(int k) const { return matrix[k * stride + k]; }
  /// The unit eigenvector [n] that belongs to it.
  GRAMSTEP_BODY const double* vector(int k) const { return vectors + k * stride; }
};

/// n / 2 rotations of disjoint pairs of rows.
struct Round {
  int number;  // in its sweep, from 0
  int order;
  double* cosine;  // [n / 2]
  double* sine;    // [n / 2]
  double* shift;   // [n / 2]: what the rotation takes from one diagonal element to the other

  /// The pair that rotation p turns: a tournament, in which every row meets every other once in
  /// n - 1 rounds.
  GRAMSTEP_BODY void pair(int p, int& i, int& j) const {
    const int wheel = order - 1;
    const int a = p == 0 ? wheel : number + p < wheel ? number + p : number + p - wheel;
    const int b = number - p >= 0 ? number - p : number - p + wheel;
    i = a < b ? a : b;
    j = a < b ? b : a;
  }
};

/// The `count`-th round since the start, which is `number` in its sweep.
GRAMSTEP_BODY Round round_of(const Eigen& eigen, int count, int number) {
  const int half = eigen.order / 2;
  double* own = eigen.rotations + count % 2 * 3 * half;
  return {number, eigen.order, own, own + half, own + 2 * half};
}

/// Doubles that eigen_in needs for K tasks.
GRAMSTEP_BOTH constexpr std::int64_t eigen_scratch(int tasks) {
  const std::int64_t order = tasks + tasks % 2;
  return 2 * order * (order + 1) + 3 * order;
}

/// Sweeps after which the decomposition is left as it is. 64 rows of full rank take 6 to 9, of
/// rank 32 up to 16, for the rounding in place of a zero eigenvalue is diagonalised as well.
inline constexpr int most_sweeps = 30;

/// The memory of a decomposition of K x K, laid out in scratch [eigen_scratch(K)].
GRAMSTEP_BODY Eigen eigen_in(double* scratch, int tasks) {
  const int order = tasks + tasks % 2;
  const int stride = order + 1, size = order * stride;
  return {order, stride, scratch, scratch + size, scratch + 2 * size};
}

/// Chooses the rotation that makes element (i, j) zero; none where that is rounding beside its
/// diagonal. Whether the sweep after this one will find anything of it: a sweep of small rotations
/// of small elements leaves what is smaller than rounding.
GRAMSTEP_BODY bool choose_rotation(const Eigen& eigen, const Round& round, int p) {
  constexpr double rounding = 0x1p-106, small = 0x1p-58;  // squares of 2^-53 and 2^-29
  int i, j;
  round.pair(p, i, j);
  const double a = eigen.value(i), b = eigen.value(j), off = eigen.matrix[i * eigen.stride + j];
  round.cosine[p] = 1.0;
  round.sine[p] = 0.0;
  // Relative to both diagonal elements, so that small eigenvalues of graded matrices keep their
  // digits. 1e-150: its square is in range, and the largest element is about 1.
  const double square = off * off, product = fabs(a * b);
  if (square <= rounding * product || fabs(off) < 1e-150) return false;
  const double gap = b - a;
  const double inverse = inverse_root(gap * gap + 4 * square);
  const double twice = (gap < 0 ? -off : off) * inverse;  // sin 2 theta / 2
  const double cosine_squared = 0.5 + 0.5 * fabs(gap) * inverse;
  const double secant = inverse_root(cosine_squared);
  const double sine = twice * secant;
  round.cosine[p] = cosine_squared * secant;
  round.sine[p] = sine;
  round.shift[p] = sine * secant * off;
  return square > small * product || sine * sine > small;
}

/// R_p B R_q^T for the 2 x 2 block B where the pairs p and q cross, p <= q, written on both sides
/// of the diagonal.
GRAMSTEP_BODY void rotate_block(const Eigen& eigen, const Round& round, int p, int q) {
  const double cp = round.cosine[p], sp = round.sine[p], cq = round.cosine[q], sq = round.sine[q];
  if (sp == 0 && sq == 0) return;
  const int n = eigen.stride;
  int i, j, k, l;
  round.pair(p, i, j);
  double* row_i = eigen.matrix + i * n;
  double* row_j = eigen.matrix + j * n;
  if (p == q) {
    row_i[i] -= round.shift[p];
    row_j[j] += round.shift[p];
    row_i[j] = row_j[i] = 0.0;
    return;
  }
  round.pair(q, k, l);
  double* row_k = eigen.matrix + k * n;
  double* row_l = eigen.matrix + l * n;
  const double b_ik = row_i[k], b_jk = row_j[k], b_il = row_i[l], b_jl = row_j[l];
  const double ik = cp * b_ik - sp * b_jk, jk = sp * b_ik + cp * b_jk;
  const double il = cp * b_il - sp * b_jl, jl = sp * b_il + cp * b_jl;
  row_i[k] = row_k[i] = cq * ik - sq * il;
  row_i[l] = row_l[i] = sq * ik + cq * il;
  row_j[k] = row_k[j] = cq * jk - sq * jl;
  row_j[l] = row_l[j] = sq * jk + cq * jl;
}

/// Elements [first, last) of the two eigenvectors that rotation p mixes.
GRAMSTEP_BODY void rotate_vectors(const Eigen& eigen, const Round& round, int p, int first,
                                  int last) {
  const double c = round.cosine[p], s = round.sine[p];
  if (s == 0) return;
  int i, j;
  round.pair(p, i, j);
  double* one = eigen.vectors + i * eigen.stride;
  double* other = eigen.vectors + j * eigen.stride;
  for (int e = first; e < last; ++e) {
    const double a = one[e], b = other[e];
    one[e] = c * a - s * b;
    other[e] = s * a + c * b;
  }
}

/// Turns the matrix by one round; then the eigenvectors, while other warps choose the next round.
/// Whether what this thread has chosen of that asks for another sweep. Ends with a barrier.
template <class X>
GRAMSTEP_BODY bool rotate(const X& x, const Eigen& eigen, const Round& round, const Round& next) {
  const int n = eigen.order, half = n / 2;
  for_elements(x, half, half, [&](int p, int q) {
    if (p <= q) rotate_block(eigen, round, p, q);
  });
  x.sync();
  bool large = false;
  for_each(x, half, [&](int p) { large = choose_rotation(eigen, next, p) || large; });
  const int width = alone(x) ? n : 1;  // of two rows: all, contiguous, or an element a thread
  for_elements(FromLast<X>{x}, half, n / width, [&](int p, int part) {
    rotate_vectors(eigen, round, p, part * width, (part + 1) * width);
  });
  x.sync();
  return large;
}

/// Whether `own` is true for a thread that chooses rotations; room [n / 2]. Begins after a barrier
/// and ends with one.
template <class X>
GRAMSTEP_BODY bool any_of(const X& x, bool own, int half, double* room) {
  const int choosers = x.threads() < half ? x.threads() : half;
  if (x.thread() < choosers) room[x.thread()] = own ? 1.0 : 0.0;
  x.sync();
  const bool any = largest(room, choosers) > 0;
  x.sync();
  return any;
}

/// The power of two that takes the largest diagonal element of A [K, K] to [1, 2), so that squares
/// of elements stay in range; 1 where that is nearly 0.
GRAMSTEP_BODY double normaliser(const double* symmetric, int tasks) {
  double most = 0;
  GRAMSTEP_ROLLED
  for (int i = 0; i < tasks; ++i) most = fmax(most, symmetric[i * (tasks + 1)]);
  return most > 0x1p-1000 ? ldexp(1.0, -ilogb(most)) : 1.0;
}

/// Decomposes the symmetric, positive semidefinite matrix A [K, K] into memory from eigen_in;
/// returns the sweeps. Jacobi's method, n / 2 disjoint rotations at a time, until every element
/// beside the diagonal is rounding relative to its two diagonal elements. One thread or many give
/// the same bits. Ends with a barrier.
/// Source: Golub and Van Loan, "Matrix Computations", section 8.5.
template <class X>
GRAMSTEP_BODY int decompose(const X& x, const double* symmetric, int tasks, const Eigen& eigen) {
  const int n = eigen.order, half = n / 2;
  const double scale = normaliser(symmetric, tasks);
  for_elements(x, n, n, [&](int i, int j) {
    eigen.matrix[i * eigen.stride + j] =
        i < tasks && j < tasks ? scale * symmetric[i * tasks + j] : 0.0;
    eigen.vectors[i * eigen.stride + j] = i == j ? 1.0 : 0.0;
  });
  x.sync();
  Round round = round_of(eigen, 0, 0);
  bool large = false;
  for_each(x, half, [&](int p) { large = choose_rotation(eigen, round, p) || large; });
  x.sync();
  int sweeps = 0, rounds = 0;
  bool again = true;
  GRAMSTEP_ROLLED
  while (again && sweeps < most_sweeps) {
    ++sweeps;
    bool own = false;
    double* free = round.shift;
    GRAMSTEP_ROLLED
    for (int number = 1; number < n; ++number) {
      own = own || large;
      const Round next = round_of(eigen, ++rounds, number < n - 1 ? number : 0);
      large = rotate(x, eigen, round, next);
      free = round.shift;
      round = next;
    }
    again = any_of(x, own, half, free);
  }
  for_each(x, n, [&](int k) { eigen.matrix[k * eigen.stride + k] /= scale; });
  x.sync();
  return sweeps;
}

}  // namespace gramstep::inline v1::solvers
