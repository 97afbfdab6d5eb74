// Eigenvalues and eigenvectors of a symmetric K x K matrix, by a block of threads.
#pragma once

#include <cmath>
#include <cstdint>

#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1::solvers {

/// A = Z^T L Z, in memory of the caller's; see eigen_scratch.
struct Eigen {
  int tasks;  // K
  int stride;
  double* vectors;  // Z [K, stride], a unit eigenvector a row
  double* values;   // [K], the diagonal of L, in no particular order

  // Of the way there.
  double* beside;     // [K]: element i stands beside the diagonal elements i and i + 1
  double* factors;    // [K]: of reflections I - factor v v^T
  double* reflector;  // [K]: v
  double* image;      // [K]: A v
  double* matrix;     // [K, stride]: what is left of A, and v in the rows that are done with

  GRAMSTEP_BODY const double* vector(int k) const { return vectors + k * stride; }
};

/// Doubles that eigen_in needs for K tasks.
GRAMSTEP_BOTH constexpr std::int64_t eigen_scratch(int tasks) {
  const std::int64_t stride = row_stride(tasks);
  return line + (2 * tasks + 5) * stride;
}

/// The memory of a decomposition of K x K, laid out in scratch [eigen_scratch(K)].
GRAMSTEP_BODY Eigen eigen_in(double* scratch, int tasks) {
  const int stride = row_stride(tasks);
  double* vectors = line_begin(scratch);
  double* values = vectors + tasks * stride;
  return {tasks,
          stride,
          vectors,
          values,
          values + stride,
          values + 2 * stride,
          values + 3 * stride,
          values + 4 * stride,
          values + 5 * stride};
}

/// Sweeps an eigenvalue, on average, after which the decomposition is left as it is. It takes less
/// than 2.
inline constexpr int most_sweeps = 30;

/// The power of two that takes the largest diagonal element of A [K, K] to [1, 2), so that squares
/// of elements stay in range; 1 where that is nearly 0.
GRAMSTEP_BODY double normaliser(const double* symmetric, int tasks) {
  double most = 0;
  GRAMSTEP_ROLLED
  for (int i = 0; i < tasks; ++i) {
    const double element = symmetric[i * (tasks + 1)];
    most = element > most ? element : most;
  }
  return most > 0x1p-1000 ? ldexp(1.0, -ilogb(most)) : 1.0;
}

/// Elements of two vectors, for columns on of a matrix to which their products are added.
template <class T>
struct Pair {
  T v, q;
};

/// Makes row `last` of A zero left of its neighbour on the diagonal: A becomes H A H. Ends with a
/// barrier.
template <class X>
GRAMSTEP_BODY void reflect(const X& x, const Eigen& eigen, int shift, int last) {
  const int stride = eigen.stride, before = last - 1;
  double* a = eigen.matrix;
  double* row = a + last * stride;
  double* v = eigen.reflector;
  double* p = eigen.image;
  const double square = dot(row, row, before), neighbour = row[before];
  const bool none = square < 1e-280;  // beside a largest element of about 1
  const double length = sqrt(square + neighbour * neighbour);
  const double reflected = neighbour < 0 ? length : -length, v_before = neighbour - reflected;
  const double factor = none ? 0.0 : 1.0 / (length * fabs(v_before));
  for_each(x, 1, [&](int) {
    eigen.beside[before] = none ? neighbour : reflected;
    eigen.factors[last] = factor;
    eigen.values[last] = row[last];
  });
  if (none) return;
  for_each(x, last, [&](int i) { v[i] = i == before ? v_before : row[i]; });
  for_columns(x, with_room(x, last), [&]<class T>(int c, T) {
    const T sum = sum_of(before, [&](int j) { return row[j] * load_as<T>(a + j * stride + c); });
    store_as<T>(factor * (sum + v_before * load_as<T>(a + before * stride + c)), p + c);
  });
  x.sync();
  const double twice = factor * dot(v, p, last);
  for_pieces(
      x, shift, last, with_room(x, last),
      [&]<class T>(int c, T) {
        const T v_c = load_as<T>(v + c);
        return Pair<T>{v_c, load_as<T>(p + c) - twice * v_c};
      },
      [&]<class T>(int i, int c, const Pair<T>& of) {
        double* element = a + i * stride + c;
        store_as<T>(load_as<T>(element) - (v[i] * of.q + p[i] * of.v), element);
      });
  for_each(x, 1, [&](int) { row[before] = v_before; });
  x.sync();
}

/// Z^T = the product of all reflections, a column on its own: the last one first.
template <class X>
GRAMSTEP_BODY void multiply_reflections(const X& x, const Eigen& eigen) {
  const int n = eigen.tasks, stride = eigen.stride;
  for_columns(x, with_room(x, n), [&]<class T>(int c, T) {
    GRAMSTEP_ROLLED
    for (int last = c > 1 ? c + 1 : 2; last < n; ++last) {
      const double* v = eigen.matrix + last * stride;
      double* column = eigen.vectors + c;
      const T u = eigen.factors[last] *
                  sum_of(last, [&](int j) { return v[j] * load_as<T>(column + j * stride); });
      GRAMSTEP_ROLLED
      for (int j = 0; j < last; ++j) {
        store_as<T>(load_as<T>(column + j * stride) - v[j] * u, column + j * stride);
      }
    }
  });
}

/// The rotations of one sweep, each of rows i and i + 1, for i from last - 1 down to first.
struct Sweep {
  double* range;  // first, last; equal where there is nothing left to do
  double* turns;  // cosine and sine of rotation i

  GRAMSTEP_BODY int first() const { return static_cast<int>(range[0]); }
  GRAMSTEP_BODY int last() const { return static_cast<int>(range[1]); }
};

/// Where the `count`-th sweep is kept: in place of the reflections.
GRAMSTEP_BODY Sweep sweep_of(const Eigen& eigen, int count) {
  double* own = eigen.matrix + count % 2 * (2 * eigen.tasks + 2);
  return {own, own + 2};
}

/// A sine and its square, of which a host has the square sooner: the next rotation's length does not
/// wait for a root there.
struct Sine {
  double value;
  double squared;

  GRAMSTEP_BODY Sine times(double element) const {
#if defined(__CUDA_ARCH__)
    const double product = value * element;
    return {product, product * product};
#else
    const double product = squared * (element * element);
    return {copysign(sqrt(product), value * element), product};
#endif
  }
};

/// 1 / value and its root.
struct Inverses {
  double inverse;
  double root;
};
GRAMSTEP_BODY Inverses inverses(double value) {
#if defined(__CUDA_ARCH__)
  const double root = rsqrt(value);
  return {root * root, root};
#else
  const double inverse = 1.0 / value;
  return {inverse, sqrt(inverse)};
#endif
}

/// An implicit QL step of the first part of the matrix that is not diagonal yet, which begins at
/// `first` or later; one thread's own. Calls turn(i, cosine, sine) for its rotations.
template <class Turn>
GRAMSTEP_BODY void chase(const Eigen& eigen, double negligible, int& first, const Sweep& sweep,
                         const Turn& turn) {
  double* d = eigen.values;
  double* e = eigen.beside;
  const int n = eigen.tasks;
  while (first < n - 1 && fabs(e[first]) <= negligible) ++first;
  int last = first;
  while (last < n - 1 && fabs(e[last]) > negligible) ++last;
  sweep.range[0] = first;
  sweep.range[1] = last;
  if (first == last) return;
  // Wilkinson's shift: the eigenvalue of the first 2 x 2 that is nearer to its first element.
  const double half = 0.5 * (d[first + 1] - d[first]);
  const double length = sqrt(half * half + e[first] * e[first]);
  const double shift = d[first] - e[first] * (e[first] / (half + (half < 0 ? -length : length)));
  double g = d[last] - shift, p = 0, cosine = 1;
  Sine sine{1, 1};
  GRAMSTEP_ROLLED
  for (int i = last - 1; i >= first; --i) {
    const Sine f = sine.times(e[i]);
    const double b = cosine * e[i];
    double square = f.squared + g * g;
    if (square < 1e-280) {  // as if g were a little more than zero
      g = 1e-140;
      square = f.squared + g * g;
    }
    const auto [inverse, root] = inverses(square);
    const double m = ((d[i] - d[i + 1]) + p) * f.value + 2 * b * g;
    // A rotation late: its rows are turned while the next one is worked out.
    if (i + 1 < last) turn(i + 1, cosine, sine.value);
    e[i + 1] = square * root;
    cosine = g * root;
    sine = {f.value * root, f.squared * inverse};
    const double next = f.value * m * inverse;
    d[i + 1] = (d[i + 1] - p) + next;
    p = next;
    g = g * m * inverse - b;
  }
  turn(first, cosine, sine.value);
  d[first] -= p;
  e[first] = g;
  e[last] = 0;
}

/// Turns elements c on of rows i and i + 1 of Z.
template <class T>
GRAMSTEP_BODY void turn_rows(double* one, double* other, double c, double s) {
  const T a = load_as<T>(one), b = load_as<T>(other);
  store_as<T>(c * a - s * b, one);
  store_as<T>(s * a + c * b, other);
}

/// Finds the rotations of a sweep, while other warps turn Z by those of the sweep before it; what is
/// alone turns Z at once. Whether there was a sweep. Ends with a barrier.
template <class X>
GRAMSTEP_BODY bool step(const X& x, const Eigen& eigen, double negligible, int& first, int count) {
  const int n = eigen.tasks, stride = eigen.stride;
  const Sweep sweep = sweep_of(eigen, count), before = sweep_of(eigen, count + 1);
  for_each(x, 1, [&](int) {
    chase(eigen, negligible, first, sweep, [&](int i, double c, double s) {
      if (alone(x)) {
        double* one = eigen.vectors + i * stride;
        for (int e = 0; e < with_room(x, n); e += lanes)
          turn_rows<Lanes>(one + e, one + stride + e, c, s);
      } else {
        sweep.turns[2 * i] = c;
        sweep.turns[2 * i + 1] = s;
      }
    });
  });
  if (!alone(x) && count > 0) {
    for_each(FromLast<X>{x}, n, [&](int e) {
      GRAMSTEP_ROLLED
      for (int i = before.last() - 1; i >= before.first(); --i) {
        double* one = eigen.vectors + i * stride + e;
        turn_rows<double>(one, one + stride, before.turns[2 * i], before.turns[2 * i + 1]);
      }
    });
  }
  x.sync();
  return sweep.first() < sweep.last();
}

/// Decomposes the symmetric, positive semidefinite matrix A [K, K] into memory from eigen_in;
/// returns the sweeps. Reflections to tridiagonal form, then the implicit QL algorithm. Backward
/// stable: errors are a few roundings of the largest eigenvalue. One thread or many give the same
/// bits. Ends with a barrier.
/// Source: Golub and Van Loan, "Matrix Computations", section 8.3.
template <class X>
GRAMSTEP_BODY int decompose(const X& x, const double* symmetric, int tasks, const Eigen& eigen) {
  const int n = tasks, stride = eigen.stride, shift = row_shift(n);
  const double scale = normaliser(symmetric, n);
  for_elements(x, n, stride, [&](int i, int j) {
    eigen.matrix[i * stride + j] = j < n ? scale * symmetric[i * n + j] : 0.0;
    eigen.vectors[i * stride + j] = i == j ? 1.0 : 0.0;
  });
  x.sync();
  GRAMSTEP_ROLLED
  for (int last = n - 1; last > 0; --last) reflect(x, eigen, shift, last);
  for_each(x, 1, [&](int) { eigen.values[0] = eigen.matrix[0]; });
  x.sync();
  multiply_reflections(x, eigen);
  x.sync();
  for_elements(x, shift, n, n, [&](int i, int j) {
    if (i >= j) return;
    double& upper = eigen.vectors[i * stride + j];
    double& lower = eigen.vectors[j * stride + i];
    const double kept = upper;
    upper = lower;
    lower = kept;
  });
  const double negligible = 0x1p-54 * largest(eigen.values, n);
  x.sync();
  int sweeps = 0, first = 0;
  GRAMSTEP_ROLLED
  while (step(x, eigen, negligible, first, sweeps) && sweeps < most_sweeps * n) ++sweeps;
  for_each(x, n, [&](int k) { eigen.values[k] /= scale; });
  x.sync();
  return sweeps;
}

}  // namespace gramstep::inline v1::solvers
