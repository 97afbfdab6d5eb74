// Report: what the plan saw and decided in the last step.
#pragma once

#include <cstdint>
#include <vector>

#include "gramstep/export.hpp"

namespace gramstep::inline v1 {

/// What the last step saw and decided, in double; gradients are unscaled (the loss scale is divided
/// out) and cover the shared part. Where the step had no gram stage (see OptimizerOptions::non_finite)
/// `looked` is false, and the Gram matrix, the cosines and the norms are NaN.
struct GRAMSTEP_EXPORT Report {
  int tasks = 0;                       ///< K
  std::vector<double> weights;         ///< [K] what the aggregator chose, before clipping
  std::vector<double> gram;            ///< [K, K] row-major, G = J J^T
  std::vector<double> cosines;         ///< [K, K] row-major, G_ij / (n_i n_j); 0 beside a zero row
  std::vector<double> gradient_norms;  ///< [K] n_i = sqrt(G_ii)
  double conflict_rate = 0;        ///< share of the pairs i < j with a negative cosine; 0 for K = 1
  double heads_norm = 0;           ///< norm of the heads' gradients
  double norm = 0;                 ///< of the combined gradient and the heads', before clipping
  double clipped_norm = 0;         ///< of the same, after clipping
  double lr = 0;                   ///< learning rate of the step
  std::int64_t steps = 0;          ///< steps taken so far
  std::int64_t skipped_steps = 0;  ///< steps skipped so far for a non-finite gradient
  bool skipped = false;            ///< whether the last step was skipped
  bool looked = false;             ///< whether the last step had a gram stage
};

}  // namespace gramstep::inline v1
