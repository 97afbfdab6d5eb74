// Checks of whole objects, made before anything changes.
#pragma once

#include "gramstep/optimizer.hpp"
#include "host/backend.hpp"

namespace gramstep::host {

/// What messages call row k.
std::string row_name(int k);

/// Throws InvalidArgument unless the options make sense together and for that layout.
void validate(const Layout& layout, const OptimizerOptions& options);

/// Throws InvalidArgument unless the step's memory has the sizes that the layout asks for, is there,
/// and is aligned to its elements.
void validate_sizes(const Layout& layout, int tasks, std::span<float> params,
                    const Gradients& gradients);

/// Throws InvalidArgument where memory that the step writes overlaps other memory of the step.
void validate_overlap(const Layout& layout, int tasks, const StepMemory& memory,
                      std::span<float* const> states);

}  // namespace gramstep::host
