// The launches of the three stages: each queues at most one kernel. Throw CudaError.
#pragma once

#include "gramstep/optimizer.hpp"
#include "kernels/gram.hpp"
#include "kernels/plan.hpp"
#include "kernels/update.hpp"

namespace gramstep::kernels {

/// Partials of G over the shared part and of the heads' squared norm.
void launch_gram(const GramArguments& arguments, Stream stream);

/// Weights, clip, skip, counts and scalars; one block.
void launch_plan(const PlanArguments& arguments, const Aggregator& aggregator, const Rule& rule,
                 Stream stream);

/// Combination and rule, over all chunks.
void launch_update(const UpdateArguments& arguments, const Rule& rule, Stream stream);

/// *to = controls, as an argument of the launch: no host memory has to outlive the call.
void launch_set_controls(StepState* to, const Controls& controls, Stream stream);

/// segments[segment].active = active.
void launch_set_active(SegmentState* segments, int segment, bool active, Stream stream);

}  // namespace gramstep::kernels
