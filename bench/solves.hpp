// The grid of solves: every aggregator that chooses weights, by number of tasks.
#pragma once

#include <string>
#include <vector>

#include "gramstep/aggregation.hpp"

namespace gramstep::bench {

/// Gram matrices to be solved in one call.
struct Solve {
  Aggregator aggregator;
  int tasks = 2;
  std::int64_t batch = 1;
  std::vector<double> gram = {};   // [batch, K, K]
  std::vector<float> losses = {};  // [K]

  AggregationOptions options(Device device) const {
    return {.aggregator = aggregator, .tasks = tasks, .batch = batch, .device = device};
  }
  /// "PREFIX/NAME/K:8[/batch:256]"
  std::string name(const std::string& prefix) const;
};

/// All of them, K = 2 to 64, and a batch of 256 at K = 8; a few where `quick`.
std::vector<Solve> solves(bool quick);

}  // namespace gramstep::bench
