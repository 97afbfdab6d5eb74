// The linear algebra of K x K problems: loops over a block of threads, sums, and the cosine matrix.
//
// Every sum runs in an order that does not depend on the number of threads, so that a block gives
// the bits that one thread gives.
#pragma once

#include <cmath>
#include <cstdint>

#include "gramstep/export.hpp"

// Before a loop that is not to be unrolled on a device: addresses of several turns at once take the
// registers that the rest of a solver needs.
#if defined(__CUDACC__)
#define GRAMSTEP_ROLLED _Pragma("unroll 1")
#else
#define GRAMSTEP_ROLLED
#endif

// Before a loop of a thread that is alone, whose turns touch different memory. clang++ would complain of loops
// that it takes for too short.
#if defined(__CUDACC__) || defined(__clang__)
#define GRAMSTEP_APART
#else
#define GRAMSTEP_APART _Pragma("GCC ivdep")
#endif

namespace gramstep::inline v1::solvers {

/// Whether the block is one thread, whose loops a compiler can vectorise; never so on a device,
/// which therefore has no code for it.
template <class X>
GRAMSTEP_BODY bool alone([[maybe_unused]] const X& x) {
#if defined(__CUDACC__)
  return false;
#else
  return x.threads() == 1;
#endif
}

/// Calls function(i) for i in [0, count), shared out over the block.
template <class X, class Function>
GRAMSTEP_BODY void for_each(const X& x, int count, const Function& function) {
  GRAMSTEP_ROLLED
  for (int i = x.thread(); i < count; i += x.threads()) function(i);
}

/// Calls function(i, j) for every i in [0, count), shared out over the block, and every j in
/// [0, turns) from 0 up.
template <class X, class Function>
GRAMSTEP_BODY void for_each_in_turn(const X& x, int count, int turns, const Function& function) {
  if (alone(x)) {
    for (int j = 0; j < turns; ++j) {
      GRAMSTEP_APART
      for (int i = 0; i < count; ++i) function(i, j);
    }
    return;
  }
  for_each(x, count, [&](int i) {
    GRAMSTEP_ROLLED
    for (int j = 0; j < turns; ++j) function(i, j);
  });
}

/// A row of a matrix takes a power of two of the threads, this one's exponent: two divisions of
/// integers an element would be half of what a device does for a small matrix.
GRAMSTEP_BODY int row_shift(int columns) {
  int shift = 3;
  GRAMSTEP_ROLLED
  while (1 << shift < columns) ++shift;
  return shift;
}

/// Calls function(i, j) for every element of a [rows, columns] matrix, shared out over the block;
/// shift: row_shift of that many columns or more.
template <class X, class Function>
GRAMSTEP_BODY void for_elements(const X& x, int shift, int rows, int columns,
                                const Function& function) {
  if (alone(x)) {
    for (int i = 0; i < rows; ++i) {
      GRAMSTEP_APART
      for (int j = 0; j < columns; ++j) function(i, j);
    }
    return;
  }
  GRAMSTEP_ROLLED
  for (int e = x.thread(); e < rows << shift; e += x.threads()) {
    const int i = e >> shift, j = e - (i << shift);
    if (j < columns) function(i, j);
  }
}

/// The same, for whoever has no loop around it.
template <class X, class Function>
GRAMSTEP_BODY void for_elements(const X& x, int rows, int columns, const Function& function) {
  for_elements(x, row_shift(columns), rows, columns, function);
}

/// A warp of a block as a block of its own, for problems that do not wait for each other. A block of
/// one thread is one team.
template <class X>
struct Team {
  const X& x;

  GRAMSTEP_BODY int thread() const { return x.thread() % 32; }
  GRAMSTEP_BODY int threads() const { return x.threads() < 32 ? x.threads() : 32; }
  GRAMSTEP_BODY void sync() const { x.warp_sync(); }

  /// Calls function(problem, team) for problems [0, count), each in one of at most `most` teams.
  template <class Function>
  GRAMSTEP_BODY void share_out(int count, int most, const Function& function) const {
    const int warps = x.threads() < 32 ? 1 : x.threads() / 32, teams = warps < most ? warps : most;
    GRAMSTEP_ROLLED
    for (int p = x.warp(); x.warp() < teams && p < count; p += teams) function(p, x.warp());
  }
};

/// A block whose threads are numbered from its last one down: what little there is to do for it is
/// on other warps than what x does between the same two barriers.
template <class X>
struct FromLast {
  const X& x;

  GRAMSTEP_BODY int thread() const { return x.threads() - 1 - x.thread(); }
  GRAMSTEP_BODY int threads() const { return x.threads(); }
};

/// The sum of term(j) over [0, count), in four sums of every fourth one: a device takes as long to
/// load or to add one number as four that do not wait for each other. One thread's own.
template <class Term>
GRAMSTEP_BODY auto sum_of(int count, const Term& term) {
  decltype(term(0)) a{}, b{}, c{}, d{};
  const int whole = count / 4 * 4;
  GRAMSTEP_ROLLED
  for (int j = 0; j < whole; j += 4) {
    a += term(j);
    b += term(j + 1);
    c += term(j + 2);
    d += term(j + 3);
  }
  GRAMSTEP_ROLLED
  for (int j = whole; j < count; ++j) a += term(j);
  return (a + b) + (c + d);
}

/// sum_j a_j b_j, in the order of sum_of; one thread's own.
GRAMSTEP_BODY double dot(const double* a, const double* b, int count) {
#if defined(__CUDACC__)
  return sum_of(count, [&](int j) { return a[j] * b[j]; });
#else
  typedef double Four __attribute__((vector_size(32), aligned(8), may_alias));
  Four sums = {};
  int j = 0;
  for (; j + 4 <= count; j += 4) {
    sums += *reinterpret_cast<const Four*>(a + j) * *reinterpret_cast<const Four*>(b + j);
  }
  for (; j < count; ++j) sums[0] += a[j] * b[j];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
#endif
}

/// How many doubles a vector of the processor has. Not the same for every instruction set, so that
/// nothing that depends on it may be linked: all of it is inlined.
#if defined(__CUDACC__)
constexpr int lanes = 1;
#elif defined(__AVX512F__)
constexpr int lanes = 8;
#elif defined(__AVX__)
constexpr int lanes = 4;
#else
constexpr int lanes = 2;
#endif

/// Neighbours in a row of a matrix, on which a thread that is alone works at once. Rows that are
/// worked on so have room for whole ones; see row_stride.
struct Lanes {
#if defined(__CUDACC__)
  using Vector = double;
#else
  typedef double Vector __attribute__((vector_size(8 * lanes), aligned(8), may_alias));
#endif
  Vector values;

  GRAMSTEP_BODY void operator+=(const Lanes& b) { values += b.values; }
};
GRAMSTEP_BODY Lanes operator+(const Lanes& a, const Lanes& b) { return {a.values + b.values}; }
GRAMSTEP_BODY Lanes operator-(const Lanes& a, const Lanes& b) { return {a.values - b.values}; }
GRAMSTEP_BODY Lanes operator*(double a, const Lanes& b) { return {a * b.values}; }

/// T, which is double or Lanes, from memory and back.
template <class T>
GRAMSTEP_BODY T load_as(const double* from) {
  return *reinterpret_cast<const T*>(from);
}
template <class T>
GRAMSTEP_BODY void store_as(const T& value, double* to) {
  *reinterpret_cast<T*>(to) = value;
}

/// Doubles in a line of a host's cache, of which its vectors have no more.
inline constexpr int line = 8;

/// Doubles from one row of a matrix to the next: for a device an odd number, so that a column does
/// not lie in one bank of its memory; for a host an odd number of whole lines.
GRAMSTEP_BOTH constexpr int row_stride(int columns) {
#if defined(__CUDA_ARCH__)
  return columns | 1;
#else
  return (columns + 2 * line - 1) / (2 * line) * (2 * line) + line;
#endif
}

/// The first place in `memory` where a line begins; up to line - 1 doubles on.
GRAMSTEP_BODY double* line_begin(double* memory) {
  constexpr std::uintptr_t bytes = sizeof(double) * line;
  return memory +
         (bytes - reinterpret_cast<std::uintptr_t>(memory) % bytes) % bytes / sizeof(double);
}

/// Columns [columns] of rows that have room for whole lines: as many as fill whole Lanes where a
/// thread is alone. What is in the additional ones is nobody's.
template <class X>
GRAMSTEP_BODY int with_room(const X& x, int columns) {
  return alone(x) ? (columns + lanes - 1) / lanes * lanes : columns;
}

/// Calls function(c, T{}) for columns c on, as many as T has: one, or Lanes where a thread is alone.
template <class X, class Function>
GRAMSTEP_BODY void for_columns(const X& x, int columns, const Function& function) {
  if (alone(x)) {
    int c = 0;
    for (; c + lanes <= columns; c += lanes) function(c, Lanes{});
    for (; c < columns; ++c) function(c, double{});
    return;
  }
  for_each(x, columns, [&](int c) { function(c, double{}); });
}

/// Calls function(i, c, of_columns(c, T{})) for row i and columns c on, all of a [rows, columns]
/// matrix.
template <class X, class OfColumns, class Function>
GRAMSTEP_BODY void for_pieces(const X& x, int shift, int rows, int columns,
                              const OfColumns& of_columns, const Function& function) {
  if (alone(x)) {
    for_columns(x, columns, [&]<class T>(int c, T) {
      const auto of = of_columns(c, T{});
      for (int i = 0; i < rows; ++i) function(i, c, of);
    });
    return;
  }
  for_elements(x, shift, rows, columns,
               [&](int i, int c) { function(i, c, of_columns(c, double{})); });
}

/// sums_c = sum_j factors_j rows_jc, of `count` rows. Ends without a barrier.
template <class X>
GRAMSTEP_BODY void add_rows(const X& x, const double* rows, int stride, const double* factors,
                            int count, int columns, double* sums) {
  for_columns(x, columns, [&]<class T>(int c, T) {
    store_as<T>(
        sum_of(count, [&](int j) { return factors[j] * load_as<T>(rows + j * stride + c); }),
        sums + c);
  });
}

/// product [K] = matrix [K, K] times vector [K], of a symmetric matrix. Ends with a barrier.
template <class X>
GRAMSTEP_BODY void multiply(const X& x, const double* matrix, const double* vector, int tasks,
                            double* product) {
  add_rows(x, matrix, tasks, vector, tasks, tasks, product);
  x.sync();
}

/// The largest of K >= 1 values; one thread's own.
GRAMSTEP_BODY double largest(const double* values, int count) {
  double a = values[0], b = a;  // ternaries: a call of fmax is not inlined
  int j = 0;
  GRAMSTEP_ROLLED
  for (; j + 4 <= count; j += 4) {
    const double c = values[j] > values[j + 1] ? values[j] : values[j + 1];
    const double d = values[j + 2] > values[j + 3] ? values[j + 2] : values[j + 3];
    a = c > a ? c : a;
    b = d > b ? d : b;
  }
  GRAMSTEP_ROLLED
  for (; j < count; ++j) a = values[j] > a ? values[j] : a;
  return a > b ? a : b;
}

/// 1 / sqrt(value) to about a rounding, which the device does in half the time of the two.
GRAMSTEP_BODY double inverse_root(double value) {
#if defined(__CUDA_ARCH__)
  return rsqrt(value);
#else
  return 1.0 / sqrt(value);
#endif
}

/// G = D C D: norms [K] and the cosine matrix C [K, K], a diagonal of exactly 1. The row and column
/// of a zero gradient are those of the identity. Ends with a barrier.
template <class X>
GRAMSTEP_BODY void cosine_matrix(const X& x, const double* gram, int tasks, double* norms,
                                 double* cosines) {
  for_each(x, tasks, [&](int i) { norms[i] = sqrt(gram[i * tasks + i]); });
  x.sync();
  for_elements(x, tasks, tasks, [&](int i, int j) {
    const double lengths = norms[i] * norms[j];
    cosines[i * tasks + j] = i == j ? 1.0 : lengths == 0 ? 0.0 : gram[i * tasks + j] / lengths;
  });
  x.sync();
}

}  // namespace gramstep::inline v1::solvers
