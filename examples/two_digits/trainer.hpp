// Trainer: one training run.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>

#include <gramstep/gramstep.hpp>

#include "backend.hpp"
#include "pairs.hpp"
#include "probe.hpp"
#include "step_log.hpp"

namespace two_digits {

/// What one seed trains and is measured on; the same for every method.
struct Data {
  Pairs train;
  Pairs held_out;
};

/// What is trained, and how.
struct RunOptions {
  Run run{};
  gramstep::Rule rule;
  gramstep::Aggregator aggregator;
  int epochs = 1;
  std::int64_t batch = 1;
  std::array<float, tasks> scales{};  ///< factor on each task's loss
  /// Of the rule's state, which is rounded stochastically if that is not fp32.
  gramstep::DType states = gramstep::DType::float32;
  bool timed = true;  ///< whether Probe takes the steps
};

/// What came out.
struct RunResult {
  Run run;
  double lr = 0;
  /// On the held-out pairs, at the optimizer's evaluation_params: a schedule-free rule's average.
  std::array<double, tasks> accuracy{};
  std::array<double, tasks> losses{};    ///< mean over the last epoch's steps, not scaled
  double conflict_rate = 0;              ///< share of the steps whose gradients conflicted
  bool on_momenta = false;               ///< whether the aggregator looks at momenta instead
  std::array<double, tasks> weights{};   ///< mean over steps, NaN for one without weights
  std::optional<double> promise_kept{};  ///< share of the steps, where something is promised
  std::int64_t steps = 0;
  std::int64_t skipped = 0;
  StepTimes times{};
};

/// Is told of a step, 1 for the first: losses before it, and what it saw and decided.
using Observer = std::function<void(std::int64_t step, const std::array<float, tasks>& losses,
                                    const gramstep::Report& report)>;

/// Trains once. Same options, data, device and number of threads: same result, to the last bit (but
/// for the times). Calls `observe` after every step.
RunResult train(Backend<float>& backend, const RunOptions& options, const Data& data,
                const Observer& observe);

/// How many steps an epoch has.
std::int64_t steps_an_epoch(std::int64_t pairs, std::int64_t batch);

}  // namespace two_digits
