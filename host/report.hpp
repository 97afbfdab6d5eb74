// From what the plan left behind to what the user reads.
#pragma once

#include "gramstep/report.hpp"
#include "kernels/step_data.hpp"

namespace gramstep::host {

/// The report of the last of those steps; `looked`: whether it had a gram stage.
Report make_report(const kernels::StepState& step, int tasks, bool looked);

}  // namespace gramstep::host
