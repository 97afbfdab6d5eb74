// Momenta of the task gradients: m = keep m + take g, kept by the gram stage in the pass that reads g.
//
// Traffic: K rows more are read and K written, 8 K bytes a parameter, and no pass is added. There are
// two buffers of K rows, read and written in turn: a step that is skipped has not touched what the step
// before it left, and what it wrote is written again.
#pragma once

#include "gramstep/aggregators/aggregators.hpp"
#include "gramstep/aggregators/traits.hpp"
#include "kernels/losses.hpp"
#include "kernels/one_of.hpp"

namespace gramstep::kernels {

/// Where the momenta are; `rows` is null for an aggregator without any.
struct Momenta {
  float* rows;             // [2, K, stride], each over the shared part
  std::int64_t stride;     // elements from a row to the next
  const StepState* state;  // says which buffer is current
  Scaling scaling;

  GRAMSTEP_BODY const float* before(int task, int tasks) const {
    return rows + (std::int64_t{current_buffer(*state)} * tasks + task) * stride;
  }
  GRAMSTEP_BODY float* after(int task, int tasks) const {
    return rows + (std::int64_t{1 - current_buffer(*state)} * tasks + task) * stride;
  }
};

/// What every task's momentum keeps of itself and takes of the gradient in one step.
struct MomentumFactors {
  float keep[max_tasks];
  float take[max_tasks];
};

/// The factors of the step that comes, the loss scale divided out; shared out over the block, and no
/// barrier. Leaves them alone for an aggregator without momentum.
template <class X>
GRAMSTEP_BODY void momentum_factors(const X& x, const OneOfT<Aggregator>& aggregator,
                                    const Momenta& momenta, const Losses& losses, int tasks,
                                    MomentumFactors& factors) {
  const StepState& state = *momenta.state;
  aggregator.visit([&](const auto& held) {
    if constexpr (aggregators::WithMomentum<std::decay_t<decltype(held)>>) {
      for (int k = x.thread(); k < tasks; k += x.threads()) {
        const float loss = losses.at != nullptr ? losses.at[k] : losses.values[k];
        const TaskMomentum now = held.momentum(state.steps + 1, static_cast<double>(loss));
        factors.keep[k] = static_cast<float>(now.keep);
        factors.take[k] = static_cast<float>(now.take / momenta.scaling.loss_scale(state));
      }
    }
  });
}

/// One element.
GRAMSTEP_BODY float advance_momentum(float keep, float m, float take, float g) {
  return keep * m + take * g;
}

}  // namespace gramstep::kernels
