// The plan's state by name: what an aggregator keeps from step to step.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "host/backend.hpp"

namespace gramstep::host {

/// The pieces, in the order in which they lie: the aggregator's own, then the smoothed weights.
std::vector<PlanState> plan_states(const Setup& setup);

/// A piece of the state that the next step reads, [P, size]. Waits for the stream. Throws
/// InvalidArgument for an unknown name.
std::vector<double> read_plan_state(const Setup& setup, const Backend& backend,
                                    std::string_view name, Stream stream);

/// Replaces it. Throws InvalidArgument, before anything changes, for an unknown name or another number
/// of values.
void write_plan_state(const Setup& setup, Backend& backend, std::string_view name,
                      std::span<const double> values, Stream stream);

}  // namespace gramstep::host
