// The plan's arrays: what is known and decided of every projection, in one block of memory.
#pragma once

#include "kernels/step_data.hpp"

namespace gramstep::kernels {

/// The sizes of a plan's arrays.
struct PlanShape {
  std::int32_t tasks;        // K
  std::int32_t projections;  // P
  std::int64_t state;        // doubles of plan state a projection
};

/// Where the plan's arrays are.
struct PlanMemory {
  double* gram;         // [P, K, K] G = J J^T, unscaled
  double* weights;      // [P, K] what the aggregator chose
  Solution* solutions;  // [P]
  double* cosine_sums;  // [P, K, K] over steps
  double* weight_sums;  // [P, K]
  double* kept_sums;    // [P] steps in which the promise held
  double* state;        // [2, P, shape.state]: see current_buffer
  float* applied;       // [P, K] task weight * clip coefficient / loss scale

  /// Cuts a block of memory of doubles(shape) into arrays.
  GRAMSTEP_BOTH static PlanMemory in(double* block, const PlanShape& shape) {
    const std::int64_t projections = shape.projections, tasks = shape.tasks;
    PlanMemory memory{};
    const auto take = [&block](std::int64_t count) {
      double* taken = block;
      block += count;
      return taken;
    };
    memory.gram = take(projections * tasks * tasks);
    memory.weights = take(projections * tasks);
    memory.solutions = reinterpret_cast<Solution*>(take(projections * 2));
    memory.cosine_sums = take(projections * tasks * tasks);
    memory.weight_sums = take(projections * tasks);
    memory.kept_sums = take(projections);
    memory.state = take(2 * projections * shape.state);
    memory.applied = reinterpret_cast<float*>(take(projections * tasks));
    return memory;
  }

  /// Doubles of the block. Solutions take two a projection, float weights half of theirs.
  GRAMSTEP_BOTH static std::int64_t doubles(const PlanShape& shape) {
    const std::int64_t tasks = shape.tasks;
    return shape.projections * (2 * tasks * tasks + 3 * tasks + 3 + 2 * shape.state);
  }
};

static_assert(sizeof(Solution) == 2 * sizeof(double));

}  // namespace gramstep::kernels
