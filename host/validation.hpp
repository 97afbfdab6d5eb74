// Checks of whole objects, made before anything changes.
#pragma once

#include "gramstep/optimizer.hpp"
#include "host/backend.hpp"

namespace gramstep::host {

/// Throws InvalidArgument unless value is finite and > 0.
void expect_positive(const char* what, double value);

/// The same of a loss scale, which has to be a number of fp32 where it adapts.
void expect_loss_scale(const char* what, double value, const OptimizerOptions& options);

/// Throws InvalidArgument unless the options make sense together and for that layout.
void validate(const Layout& layout, const OptimizerOptions& options);

/// Throws InvalidArgument unless the step's memory has the types and sizes that are asked for, is there,
/// and is aligned to its elements. Like validate_overlap, takes no memory unless it throws.
void validate_sizes(const Layout& layout, const OptimizerOptions& options, const Buffer& params,
                    const Gradients& gradients);

/// The same of a step's outputs, one of which there is.
void validate_outputs(const Layout& layout, const OptimizerOptions& options,
                      const Outputs& outputs);

/// Throws InvalidArgument unless that many steps can have been taken; `what` names the count.
void validate_steps(const std::string& what, std::int64_t steps,
                    std::int64_t most = std::int64_t{1} << 62);

/// The losses of a step as its stages take them. Throws InvalidArgument unless there are K of them where
/// the aggregator needs them, and, where the host can see them, they are what it can use.
kernels::Losses losses_of(const Setup& setup, std::span<const float> losses);

/// What somebody else says of a step's gradients. Throws InvalidArgument for memory that is not floats
/// of the backend's device.
kernels::Scaling scaling_of(const Gradients& gradients, const Backend& backend);

/// Throws InvalidArgument unless both are the flat buffer's, on the backend's device, and the same or
/// apart.
void validate_evaluation(const Layout& layout, DType dtype, const ConstBuffer& params,
                         const Buffer& out, const Backend& backend);

/// Throws InvalidArgument unless both are memory of one size on the backend's device, and apart.
void validate_accumulation(std::span<float> sum, const ConstBuffer& gradient,
                           const Backend& backend);

/// Throws InvalidState unless the state that one rule keeps is all that the other needs.
void expect_state_allows(const Rule& present, const Rule& next);

/// Throws InvalidArgument where memory that the step writes overlaps other memory of the step.
void validate_overlap(const Layout& layout, const Precision& precision, const StepMemory& memory,
                      std::span<const Buffer> states);

/// Throws InvalidArgument unless the step's memory is the backend's device's.
void validate_devices(const Layout& layout, const StepMemory& memory, const Backend& backend);

}  // namespace gramstep::host
