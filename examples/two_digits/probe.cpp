#include "probe.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <string>

namespace gs = gramstep;

namespace two_digits {
namespace {

constexpr std::int64_t interval = 16;  // steps from one measurement to the next

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace

double distance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += d * d;
  }
  return std::sqrt(sum);
}

// Each result rounds the parameters at most twice: 4 units of |p|. The combined gradients differ by
// some roundings of their largest term, which hardly matters to a step that is linear in them. But
// Adam's first step is a sign: it turns where the tasks' gradients cancel to within those
// roundings, in a like share of the elements, each of which is then off by two steps.
double allowed_distance(std::span<const float> before, std::span<const float> after) {
  const double norm = distance(before, std::vector<float>(before.size()));
  return 4 * rounding_unit * norm +
         2 * std::sqrt(gradient_roundings * rounding_unit) * distance(before, after);
}

Probe::Probe(Backend<float>& backend, const gs::Optimizer& optimizer) : backend_(backend) {
  const gs::OptimizerOptions& options = optimizer.options();
  if (Unfused::written_for(options)) {
    unfused_.emplace(backend, optimizer.layout(), options.rule, options.aggregator);
  }
}

void Probe::step(gs::Optimizer& optimizer, std::span<float> params, const gs::Gradients& gradients,
                 std::int64_t t) {
  const auto fused = [&] { optimizer.step(params, gradients); };
  if (t % interval == interval / 2) return step_us_.push_back(microseconds(fused));
  if (t % interval != 0 || !unfused_) return fused();

  const auto by_hand = [&] { unfused_->step(gradients, t); };
  const auto before = on_host(params);
  unfused_->copy_from(optimizer, params);
  const bool fused_first = t / interval % 2 == 0;  // whoever is second finds the gradients in cache
  if (fused_first) fused_us_.push_back(microseconds(fused));
  unfused_us_.push_back(microseconds(by_hand));
  if (!fused_first) fused_us_.push_back(microseconds(fused));
  compare(before, on_host(params), t);
}

StepTimes Probe::times() const {
  StepTimes times;
  if (!step_us_.empty()) times.step_us = median(step_us_);
  if (!fused_us_.empty()) times.fused_us = median(fused_us_);
  if (!unfused_us_.empty()) times.unfused_us = median(unfused_us_);
  times.difference = difference_;
  return times;
}

template <class Step>
double Probe::microseconds(Step step) {
  backend_.wait();
  const auto begin = std::chrono::steady_clock::now();
  step();
  backend_.wait();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
      .count();
}

std::vector<float> Probe::on_host(std::span<const float> values) {
  std::vector<float> host(values.size());
  backend_.download(values.data(), host);
  return host;
}

void Probe::compare(std::span<const float> before, std::span<const float> fused, std::int64_t t) {
  const double apart = distance(on_host(unfused_->params()), fused);
  const double allowed = allowed_distance(before, fused);
  if (!std::isfinite(allowed)) return;  // a run that diverged has nothing to compare
  if (!(apart <= allowed)) {
    throw std::runtime_error("step " + std::to_string(t) + ": the fused and the unfused step are " +
                             std::to_string(apart) + " apart, expected at most " +
                             std::to_string(allowed));
  }
  difference_ = std::max(difference_, apart / allowed);
}

}  // namespace two_digits
