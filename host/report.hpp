// From what the plan left behind to what the user reads.
#pragma once

#include "gramstep/report.hpp"
#include "host/backend.hpp"

namespace gramstep::host {

/// The report of the last of those steps; `plan`: the plan's arrays, as Backend::read_plan gives them.
Report make_report(const Setup& setup, const kernels::StepState& step, std::vector<double> plan);

}  // namespace gramstep::host
