// Statistics: means, paired differences with their intervals, and what many tests at once allow.
#pragma once

#include <span>
#include <vector>

namespace two_digits {

/// Mean and sample standard deviation; the deviation of one value is 0.
struct Spread {
  double mean = 0;
  double deviation = 0;
};

Spread spread_of(std::span<const double> values);

/// P(|T| > |t|) for Student's t with that many degrees of freedom, >= 1.
double student_p(double t, int freedom);

/// The t with student_p(t, freedom) = p, 0 < p < 1.
double student_quantile(double p, int freedom);

/// How much two methods differ, measured on the same seeds: a paired t test.
struct Difference {
  double mean = 0;        ///< of a - b over seeds
  double half_width = 0;  ///< of the 95 % interval round it; infinite for one seed
  double p = 1;           ///< of a mean at least that far from 0, were the methods alike
};

/// a - b, pair by pair. Differences that are all the same have no spread to judge them by: p = 1.
Difference paired_difference(std::span<const double> a, std::span<const double> b);

/// Holm's adjusted p-values: those below 0.05 are, all of them together, wrong at most once in
/// twenty times. Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
std::vector<double> holm(std::span<const double> p);

}  // namespace two_digits
