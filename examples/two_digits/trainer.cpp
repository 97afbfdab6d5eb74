#include "trainer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include <gramstep/aggregators/traits.hpp>

#include "methods.hpp"
#include "model.hpp"
#include "random.hpp"

namespace gs = gramstep;

namespace two_digits {
namespace {

/// Calls function(pairs) for every batch, in the order of the indices.
template <class Function>
void for_each_batch(const Pairs& pairs, std::span<const std::int64_t> order, std::int64_t batch,
                    Function function) {
  while (!order.empty()) {
    const std::size_t size = std::min(static_cast<std::size_t>(batch), order.size());
    function(select(pairs, order.first(size)));
    order = order.subspan(size);
  }
}

std::vector<std::int64_t> in_order(const Pairs& pairs) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(pairs.size()));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

/// The share of the pairs whose digit each task reads right.
std::array<double, tasks> accuracy(Model<float>& model, const float* params, const Pairs& pairs,
                                   std::int64_t batch) {
  std::array<double, tasks> right{};
  for_each_batch(pairs, in_order(pairs), batch, [&](const Pairs& chosen) {
    model.forward(params, chosen.images);
    for (std::size_t task = 0; task < tasks; ++task) {
      const std::vector<int> read = model.predictions(task);
      right[task] += std::inner_product(read.begin(), read.end(), chosen.labels[task].begin(), 0.0,
                                        std::plus<>(), std::equal_to<>());
    }
  });
  for (double& count : right) count /= static_cast<double>(pairs.size());
  return right;
}

/// The losses whose gradients are handed over, as an optimizer takes them: finite and > 0. In place
/// of a NaN any number will do: its gradient is not finite, for which the step is skipped.
std::array<float, tasks> losses_for_step(std::array<float, tasks> losses,
                                         const std::array<float, tasks>& scales) {
  using Limits = std::numeric_limits<float>;
  for (std::size_t task = 0; task < tasks; ++task) {
    const float loss = losses[task] * scales[task];
    losses[task] = std::isnan(loss) ? 1.0f : std::clamp(loss, Limits::min(), Limits::max());
  }
  return losses;
}

gs::Precision precision_of(const RunOptions& options) {
  if (options.states == gs::DType::float32) return {};
  return {.states = options.states, .rounding = gs::Rounding::stochastic, .seed = options.run.seed};
}

bool uses_momenta(const gs::Aggregator& aggregator) {
  return std::visit([]<class A>(const A&) { return gs::aggregators::WithMomentum<A>; }, aggregator);
}

/// The means over the steps that were taken.
void add_what_was_seen(RunResult& result, const gs::Report& report) {
  result.conflict_rate = report.means.conflict_rate;
  std::ranges::copy(report.means.weights, result.weights.begin());
  if (!report.promise.empty()) result.promise_kept = report.means.promises_kept[0];
  result.skipped = report.skipped_steps;
}

}  // namespace

RunResult train(Backend<float>& backend, const RunOptions& options, const Data& data,
                const Observer& observe) {
  const gs::Layout layout = model_layout();
  gs::Optimizer optimizer(layout, {.rule = options.rule,
                                   .aggregator = options.aggregator,
                                   .tasks = tasks,
                                   .non_finite = gs::NonFinite::skip,
                                   .precision = precision_of(options),
                                   .device = backend.device()});
  Model<float> model(backend, layout, options.batch);
  GradientBuffer<float> gradients(backend, layout);
  Buffer<float> params = backend.allocate(layout.size());
  backend.upload(initial_parameters(layout, options.run.seed), params.data());

  Probe probe(backend, optimizer);
  gs::Report report;
  RunResult result{.run = options.run, .lr = lr_of(options.rule)};
  auto order = in_order(data.train);
  auto random = random_engine(options.run.seed, Purpose::batches);
  for (int epoch = 0; epoch < options.epochs; ++epoch) {
    std::ranges::shuffle(order, random);
    result.losses = {};
    for_each_batch(data.train, order, options.batch, [&](const Pairs& batch) {
      model.forward(params.data(), batch.images);
      const auto losses = model.backward(params.data(), batch.labels, options.scales, gradients);
      const auto scaled = losses_for_step(losses, options.scales);
      const gs::Gradients handed_over = gradients.for_step(scaled);
      if (options.timed) {
        probe.step(optimizer, params.span(), handed_over, report.steps + 1);
      } else {
        optimizer.step(params.span(), handed_over);
      }
      report = optimizer.report();
      observe(++result.steps, losses, report);
      for (std::size_t task = 0; task < tasks; ++task) {
        result.losses[task] += static_cast<double>(losses[task]);
      }
    });
  }
  for (double& loss : result.losses) loss *= options.epochs / static_cast<double>(result.steps);
  add_what_was_seen(result, report);
  result.on_momenta = uses_momenta(options.aggregator);
  optimizer.evaluation_params(params.span(), params.span());
  result.accuracy = accuracy(model, params.data(), data.held_out, options.batch);
  result.times = probe.times();
  return result;
}

std::int64_t steps_an_epoch(std::int64_t pairs, std::int64_t batch) {
  return (pairs + batch - 1) / batch;
}

}  // namespace two_digits
