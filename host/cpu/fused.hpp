// a b + c with one rounding, on every instruction set. Included by gram_leaves.cpp only, which is
// compiled so that a product and a sum become an fma where the processor has one.
#pragma once

#include "host/cpu/vector.hpp"

namespace gramstep::host {
namespace {

#if defined(__FP_FAST_FMAF) || defined(__FMA__)

[[gnu::always_inline]] inline Vector multiply_add(Vector a, Vector b, Vector c) {
  return a * b + c;
}

#else

typedef std::int64_t LongVector __attribute__((vector_size(GRAMSTEP_VECTOR_BYTES)));

/// In double the product is exact and the sum rounds once. Rounded to odd instead of to even, it rounds
/// to fp32 as the exact sum does (Boldo and Melquiond 2008): where something was lost, and the last bit
/// is even, the neighbour on the lost part's side is taken.
[[gnu::always_inline]] inline WideVector multiply_add_wide(WideVector a, WideVector b,
                                                           WideVector c) {
  const WideVector product = a * b, sum = product + c, part = sum - product;
  const WideVector lost = (product - (sum - part)) + (c - part);  // TwoSum, Knuth
  LongVector bits;
  __builtin_memcpy(&bits, &sum, sizeof bits);
  const LongVector even = (bits & 1) - 1;  // all ones where it is
  // An infinite sum has lost a NaN, and stays.
  const LongVector inexact = (lost < 0) | (lost > 0);
  const LongVector outward =
      (lost > 0) == (sum > 0);  // away from zero is the greater number of bits
  bits += inexact & even & ((outward & 2) - 1);
  WideVector odd;
  __builtin_memcpy(&odd, &bits, sizeof odd);
  return odd;
}

[[gnu::always_inline]] inline Vector multiply_add(Vector a, Vector b, Vector c) {
  HalfVector halves[3][2];
  __builtin_memcpy(halves[0], &a, sizeof a);
  __builtin_memcpy(halves[1], &b, sizeof b);
  __builtin_memcpy(halves[2], &c, sizeof c);
  HalfVector sums[2];
  for (int h = 0; h < 2; ++h) {
    sums[h] = __builtin_convertvector(
        multiply_add_wide(__builtin_convertvector(halves[0][h], WideVector),
                          __builtin_convertvector(halves[1][h], WideVector),
                          __builtin_convertvector(halves[2][h], WideVector)),
        HalfVector);
  }
  Vector result;
  __builtin_memcpy(&result, sums, sizeof result);
  return result;
}

#endif

}  // namespace
}  // namespace gramstep::host
