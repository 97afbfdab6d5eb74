// Softmax over K numbers, in a fixed order.
#pragma once

#include <cmath>

#include "gramstep/export.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1::solvers {

/// The sum of values [count], by index; one thread's own.
GRAMSTEP_BODY double sum(const double* values, int count) {
  double result = 0;
  for (int i = 0; i < count; ++i) result += values[i];
  return result;
}

/// out_i = total * exp(values_i / temperature) / sum_j exp(values_j / temperature).
///
/// Any finite values and any temperature > 0 give finite numbers: the largest value is taken off
/// first. Equal values give exactly total / count. values [count] is overwritten and must not be
/// out. Begins and ends with a barrier.
template <class X>
GRAMSTEP_BODY void softmax(const X& x, double* values, int count, double temperature, double total,
                           double* out) {
  x.sync();
  double largest = values[0];
  for (int i = 1; i < count; ++i) largest = fmax(largest, values[i]);
  x.sync();  // everyone has read what is overwritten now
  for_each(x, count, [&](int i) { values[i] = exp((values[i] - largest) / temperature); });
  x.sync();
  const double all = sum(values, count);
  for_each(x, count, [&](int i) { out[i] = total * values[i] / all; });
  x.sync();
}

/// How far weights >= 0 are from adding up to `total`, relative; one thread's own.
GRAMSTEP_BODY double miss_of_total(const double* w, int count, double total) {
  return fabs(sum(w, count) - total) / total;
}

}  // namespace gramstep::inline v1::solvers
