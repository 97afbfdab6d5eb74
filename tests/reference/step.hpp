// A whole optimizer step over named tensors, naively: look, combine, clip, update.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "tests/reference/aggregation.hpp"
#include "tests/reference/rules.hpp"

namespace gramstep::reference {

/// A parameter tensor: shared by all tasks (task < 0) or the head of one.
template <class Number>
struct Tensor {
  Tensor(std::string its_name, int owner, RuleOptions its_rule, const Vector& values)
      : name(std::move(its_name)),
        task(owner),
        rule(its_rule),
        params(values.begin(), values.end()),
        state(values.size()) {}

  std::string name;
  int task;
  RuleOptions rule;  // its group's
  std::vector<Number> params;
  RuleState<Number> state;
  bool active = true;
};

/// A tensor's gradients: one of every task where it is shared, one alone for a head.
using TensorGradients = Matrix;

struct StepOptions {
  Aggregation aggregation = Aggregation::sum;
  int tasks = 1;
  Vector constants = {};
  double clip_norm = std::numeric_limits<double>::infinity();
  double loss_scale = 1;
  bool skip_non_finite = true;
};

/// What a step saw and decided; gradients unscaled.
struct Outcome {
  bool skipped = false;
  Matrix rows;  // [K] the shared part's gradients, active tensors one after another
  Matrix gram;
  Vector weights;
  double heads_norm = 0;
  double norm = 0;
  double clip = 1;
};

/// The active tensors' gradients, unscaled: task `task`'s of the shared ones, or those of all
/// heads.
template <class Number>
Vector gathered(const std::vector<Tensor<Number>>& tensors,
                const std::vector<TensorGradients>& gradients, bool heads, std::size_t task,
                double loss_scale) {
  Vector result;
  for (std::size_t n = 0; n < tensors.size(); ++n) {
    if (!tensors[n].active || (tensors[n].task >= 0) != heads) continue;
    for (const double g : gradients[n][heads ? 0 : task]) result.push_back(g / loss_scale);
  }
  return result;
}

inline bool all_finite(const Vector& values) {
  for (const double value : values) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

/// Looks at the gradients and decides the step.
template <class Number>
Outcome decide(const StepOptions& options, const std::vector<Tensor<Number>>& tensors,
               const std::vector<TensorGradients>& gradients, const Orders& orders) {
  Outcome outcome;
  const Vector heads = gathered(tensors, gradients, true, 0, options.loss_scale);
  bool finite = all_finite(heads);
  for (std::size_t k = 0; k < static_cast<std::size_t>(options.tasks); ++k) {
    outcome.rows.push_back(gathered(tensors, gradients, false, k, options.loss_scale));
    finite = finite && all_finite(outcome.rows.back());
  }
  outcome.skipped = options.skip_non_finite && !finite;
  if (outcome.skipped) return outcome;

  const Combination combination =
      combine(options.aggregation, outcome.rows, options.constants, orders);
  outcome.gram = gram(outcome.rows);
  outcome.weights = combination.weights;
  outcome.heads_norm = std::sqrt(dot(heads, heads));
  outcome.norm = std::sqrt(dot(combination.combined, combination.combined) + dot(heads, heads));
  outcome.clip = std::min(1.0, options.clip_norm / (outcome.norm + 1e-6));  // as torch clips
  return outcome;
}

/// A tensor's gradient of the step: its rows by their weights, or a head's own.
template <class Number>
std::vector<Number> combined_gradient(const StepOptions& options, const Outcome& outcome,
                                      const Tensor<Number>& tensor,
                                      const TensorGradients& gradients) {
  const double scale = outcome.clip / options.loss_scale;
  std::vector<Number> result(tensor.params.size());
  for (std::size_t e = 0; e < result.size(); ++e) {
    if (tensor.task >= 0) {
      result[e] = Number(scale) * Number(gradients[0][e]);
      continue;
    }
    result[e] = Number(outcome.weights[0] * scale) * Number(gradients[0][e]);
    for (std::size_t k = 1; k < gradients.size(); ++k) {
      result[e] = result[e] + Number(outcome.weights[k] * scale) * Number(gradients[k][e]);
    }
  }
  return result;
}

/// Takes one step of all tensors. gradients: one entry a tensor; orders: PCGrad's in this step.
template <class Number>
Outcome step(const StepOptions& options, std::vector<Tensor<Number>>& tensors,
             const std::vector<TensorGradients>& gradients, const Orders& orders = {}) {
  const Outcome outcome = decide(options, tensors, gradients, orders);
  if (outcome.skipped) return outcome;
  for (std::size_t n = 0; n < tensors.size(); ++n) {
    Tensor<Number>& tensor = tensors[n];
    if (!tensor.active) continue;
    update(tensor.rule, combined_gradient(options, outcome, tensor, gradients[n]), tensor.params,
           tensor.state);
  }
  return outcome;
}

}  // namespace gramstep::reference
