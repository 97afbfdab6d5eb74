// The losses and the scale of a step, as the stages are handed them.
#pragma once

#include "kernels/step_data.hpp"

namespace gramstep::kernels {

/// K losses: at an address that the device can read, or, where that is null, by value.
struct Losses {
  const float* at;
  float values[max_tasks];  // NaN where the step was given none
  bool needed;              // the aggregator reads them
  bool needed_positive;     // and takes logarithms or quotients
};

/// What somebody else, such as torch.amp.GradScaler, says of a step's gradients: one number each, at
/// addresses that the device can read; null: nothing.
struct Scaling {
  const float* grad_scale;
  const float* found_inf;

  /// What the gradients were multiplied by.
  GRAMSTEP_BODY double loss_scale(const StepState& state) const {
    return grad_scale != nullptr ? static_cast<double>(*grad_scale) : state.loss_scale.value;
  }

  /// Whether the step must not be taken.
  GRAMSTEP_BODY bool forbids() const {
    if (found_inf != nullptr && *found_inf != 0.0f) return true;
    return grad_scale != nullptr && !(*grad_scale > 0.0f && *grad_scale - *grad_scale == 0.0f);
  }
};

/// to [K] = the losses, shared out over the block; no barrier.
template <class X>
GRAMSTEP_BODY void read_losses(const X& x, const Losses& losses, int tasks, double* to) {
  for (int i = x.thread(); i < tasks; i += x.threads()) {
    to[i] = static_cast<double>(losses.at != nullptr ? losses.at[i] : losses.values[i]);
  }
}

/// Whether `values`, the K losses as they were read, are what the aggregator can use.
GRAMSTEP_BODY bool losses_valid(const double* values, int tasks, const Losses& losses) {
  for (int i = 0; losses.needed && i < tasks; ++i) {
    const bool finite = values[i] - values[i] == 0;
    if (!finite || (losses.needed_positive && !(values[i] > 0))) return false;
  }
  return true;
}

}  // namespace gramstep::kernels
