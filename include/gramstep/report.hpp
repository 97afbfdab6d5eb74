// Report: what the plan saw and decided in the last step.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "gramstep/export.hpp"

namespace gramstep::inline v1 {

/// Means over the steps that had a gram stage and were taken, since the optimizer was made.
struct GRAMSTEP_EXPORT RunningMeans {
  std::int64_t steps = 0;             ///< how many those are; without any, the means are NaN
  double conflict_rate = 0;           ///< of Report::conflict_rate
  std::vector<double> weights;        ///< [P, K]
  std::vector<double> cosines;        ///< [P, K, K]
  std::vector<double> promises_kept;  ///< [P] share of the steps in which the promise held
};

/// What the last step saw and decided, in double; gradients are unscaled (the loss scale is divided
/// out) and cover the shared part. For an aggregator with momentum they are the momenta. Where the step
/// had no gram stage (see OptimizerOptions::non_finite) `looked` is false, and the Gram matrix, the
/// cosines and the norms are NaN.
///
/// P is the number of projections (OptimizerOptions::projection), 1 for the whole model.
struct GRAMSTEP_EXPORT Report {
  int tasks = 0;                ///< K
  int projections = 1;          ///< P
  std::vector<double> weights;  ///< [P, K] what the aggregator chose, before clipping; NaN for
                                ///< one that combines element by element
  std::vector<double> gram;     ///< [P, K, K] row-major, G = J J^T
  std::vector<double> cosines;  ///< [P, K, K] row-major, G_ij / (n_i n_j); 0 beside a zero row
  std::vector<double> gradient_norms;    ///< [P, K] n_i = sqrt(G_ii)
  std::vector<double> projection_norms;  ///< [P] ||d||, d = J^T w, before clipping
  std::vector<double> dots;              ///< [P, K] g_i . d; negative: the step is against task i
  std::vector<double> dot_cosines;       ///< [P, K] g_i . d / (n_i ||d||), 0 where one of them is 0
  std::vector<std::int32_t> iterations;  ///< [P] that the aggregator's solve took
  std::vector<double> residuals;         ///< [P] how far the weights miss the promise, relative
  std::vector<bool> promises_kept;       ///< [P] whether the promise held; true without one
  std::string_view promise;        ///< what the aggregator promises, in words; empty for nothing
  double conflict_rate = 0;        ///< share of the pairs i < j with a negative cosine; 0 for K = 1
  double heads_norm = 0;           ///< norm of the heads' gradients
  double norm = 0;                 ///< of the combined gradient and the heads', before clipping
  double clipped_norm = 0;         ///< of the same, after clipping
  double lr = 0;                   ///< learning rate of the step
  std::int64_t steps = 0;          ///< steps taken so far
  std::int64_t skipped_steps = 0;  ///< steps skipped so far for a gradient or loss that was unfit
  bool skipped = false;            ///< whether the last step was skipped
  bool looked = false;             ///< whether the last step had a gram stage
  bool of_momenta = false;  ///< whether gram, and all that follows from it, is of the aggregator's
                            ///< momenta of the gradients instead of the gradients
  RunningMeans means;       ///< over the steps so far
};

}  // namespace gramstep::inline v1
