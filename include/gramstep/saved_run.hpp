// A run in host memory, by name: what a checkpoint holds beside the parameters.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "gramstep/layout.hpp"

namespace gramstep::inline v1 {

/// What a run keeps of one segment.
struct SavedSegment {
  Shape shape;
  std::int64_t steps = 0;                            ///< that the segment took
  std::map<std::string, std::vector<float>> state;   ///< by torch.optim's names, [size] each
  std::map<std::string, double> scalars;             ///< the rule's, such as "mu_product"
  std::vector<std::vector<float>> task_momentum;     ///< [K] of [size], or none
  int projection = 0;                                ///< whose part of the plan is the segment's
};

/// All that an optimizer needs to go on; see Optimizer::export_run. Plain data: files are the caller's.
struct SavedRun {
  std::int64_t steps = 0;                            ///< taken
  double loss_scale = 1.0;
  std::int64_t loss_scale_good_steps = 0;            ///< since it last changed
  std::map<std::string, SavedSegment> segments;      ///< by segment name
  std::map<std::string, std::vector<double>> plan;   ///< the aggregator's state by name, [P, size]
};

}  // namespace gramstep::inline v1
