// Launches of the plan stage and of what changes its inputs between steps.
#include "kernels/device_context.cuh"
#include "kernels/launch.hpp"

namespace gramstep::kernels {
namespace {

__global__ void set_controls(StepState* to, Controls controls) { to->controls = controls; }

__global__ void set_loss_scale(StepState* to, double loss_scale) {
  set_loss_scale_of(*to, loss_scale);
}

__global__ void set_active(SegmentState* segments, int segment, int active) {
  segments[segment].active = active;
}

/// A block a projection; `decides`: and the step's decision.
void launch_projections(const PlanArguments& arguments, const Aggregator& aggregator, bool decides,
                        Stream stream) {
  std::visit(
      [&](const auto& held) {
        launch(PlanBody<std::decay_t<decltype(held)>>{arguments, held, decides},
               arguments.shape.projections, stream, "launch of the plan stage");
      },
      aggregator);
}

}  // namespace

void launch_plan(const PlanArguments& arguments, const Aggregator& aggregator, Stream stream) {
  const bool one = arguments.shape.projections == 1;
  launch_projections(arguments, aggregator, one, stream);
  if (one) return;
  launch(DecisionBody{arguments}, 1, stream, "launch of the step's decision");
}

void launch_weights(const PlanArguments& arguments, const Aggregator& aggregator, Stream stream) {
  launch_projections(arguments, aggregator, false, stream);
}

void launch_set_controls(StepState* to, const Controls& controls, Stream stream) {
  set_controls<<<1, 1, 0, stream>>>(to, controls);
  check(cudaGetLastError(), "launch of set_controls");
}

void launch_set_loss_scale(StepState* to, double loss_scale, Stream stream) {
  set_loss_scale<<<1, 1, 0, stream>>>(to, loss_scale);
  check(cudaGetLastError(), "launch of set_loss_scale");
}

void launch_set_active(SegmentState* segments, int segment, bool active, Stream stream) {
  set_active<<<1, 1, 0, stream>>>(segments, segment, active);
  check(cudaGetLastError(), "launch of set_active");
}

}  // namespace gramstep::kernels
