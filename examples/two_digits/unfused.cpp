#include "unfused.hpp"

#include <cmath>
#include <utility>

namespace gs = gramstep;

namespace two_digits {
namespace {

bool plain(const gs::SGD& rule) { return !rule.nesterov && rule.dampening == 0 && !rule.maximize; }
bool plain(const gs::Adam& rule) { return !rule.amsgrad && !rule.maximize && !rule.epsilon_hat; }
bool plain(const gs::AdamW& rule) { return !rule.amsgrad && !rule.maximize && !rule.epsilon_hat; }
bool plain(const gs::Sum&) { return true; }
bool plain(const gs::PCGrad& aggregator) { return aggregator.reduction == gs::Reduction::sum; }

constexpr auto is_plain = []<class Options>(const Options& options) {
  if constexpr (requires { plain(options); }) return plain(options);
  return false;
};

std::span<const float> row(const gs::Gradients& gradients, std::int64_t task) {
  return {gradients.rows.row<float>(task), static_cast<std::size_t>(gradients.row_size)};
}

}  // namespace

bool Unfused::written_for(const gs::OptimizerOptions& options) {
  return std::visit(is_plain, options.rule) && std::visit(is_plain, options.aggregator) &&
         options.precision == gs::Precision{};
}

Unfused::Unfused(Backend<float>& backend, const gs::Layout& layout, gs::Rule rule,
                 gs::Aggregator aggregator)
    : backend_(backend),
      passes_(make_passes(backend.device())),
      layout_(layout),
      rule_(std::move(rule)),
      aggregator_(std::move(aggregator)),
      params_(backend.allocate(layout.size())),
      gradient_(backend.allocate(layout.size())),
      projected_(backend.allocate(layout.shared_size())) {}

void Unfused::copy_from(gs::Optimizer& optimizer, std::span<const float> params) {
  passes_->copy(params, params_.span());
  for (const std::string_view name : optimizer.state_names()) {
    passes_->copy(optimizer.state(name), state(std::string(name)));
  }
}

void Unfused::step(const gs::Gradients& gradients, std::int64_t t) {
  std::visit(
      [&](const auto& aggregator) {
        if constexpr (requires { combine(aggregator, gradients); }) combine(aggregator, gradients);
      },
      aggregator_);
  passes_->copy(gradients.heads.as<float>(), gradient_.span().subspan(row(gradients, 0).size()));
  std::visit(
      [&](const auto& rule) {
        if constexpr (requires { update(rule, t); }) update(rule, t);
      },
      rule_);
}

void Unfused::combine(const gs::Sum&, const gs::Gradients& gradients) {
  const auto sum = gradient_.span().first(row(gradients, 0).size());
  passes_->copy(row(gradients, 0), sum);
  for (std::int64_t i = 1; i < gradients.rows.count; ++i) passes_->add(1, row(gradients, i), sum);
}

void Unfused::combine(const gs::PCGrad&, const gs::Gradients& gradients) {
  const auto projected = projected_.span();
  const auto sum = gradient_.span().first(projected.size());
  passes_->scale(0, sum);
  for (std::int64_t i = 0; i < gradients.rows.count; ++i) {
    passes_->copy(row(gradients, i), projected);
    for (std::int64_t j = 0; j < gradients.rows.count; ++j) {  // two tasks meet in one order only
      if (j == i) continue;
      const double along = passes_->dot(projected, row(gradients, j));
      if (along >= 0) continue;
      const double squared = passes_->dot(row(gradients, j), row(gradients, j));
      passes_->add(static_cast<float>(-along / squared), row(gradients, j), projected);
    }
    passes_->add(1, projected, sum);
  }
}

void Unfused::update(const gs::SGD& rule, std::int64_t t) {
  const auto g = gradient_.span();
  for_decaying_segments(rule.weight_decay, [&](auto at, double decay) {
    passes_->add(static_cast<float>(decay), at(params()), at(g));
  });
  auto direction = g;
  if (rule.momentum != 0) {
    direction = state("momentum_buffer");
    if (t > 1) {
      passes_->scale(static_cast<float>(rule.momentum), direction);
      passes_->add(1, g, direction);
    } else {
      passes_->copy(g, direction);
    }
  }
  passes_->add(static_cast<float>(-rule.lr), direction, params());
}

void Unfused::update(const gs::Adam& rule, std::int64_t t) {
  for_decaying_segments(rule.weight_decay, [&](auto at, double decay) {
    passes_->add(static_cast<float>(decay), at(params()), at(gradient_.span()));
  });
  update_moments(rule, t);
}

void Unfused::update(const gs::AdamW& rule, std::int64_t t) {
  for_decaying_segments(rule.weight_decay, [&](auto at, double decay) {
    passes_->scale(static_cast<float>(1 - rule.lr * decay), at(params()));
  });
  update_moments(rule, t);
}

template <class AdamOptions>
void Unfused::update_moments(const AdamOptions& rule, std::int64_t t) {
  const auto m = state("exp_avg"), v = state("exp_avg_sq");
  passes_->moments(static_cast<float>(rule.beta1), static_cast<float>(rule.beta2), gradient_.span(),
                   m, v);
  const double c1 = 1 - std::pow(rule.beta1, t), c2 = 1 - std::pow(rule.beta2, t);
  passes_->adam(static_cast<float>(rule.lr / c1), static_cast<float>(std::sqrt(c2)),
                static_cast<float>(rule.epsilon), m, v, params());
}

/// Calls function(at, decay) for each segment that decays; at(buffer) is the segment in that
/// buffer.
template <class Function>
void Unfused::for_decaying_segments(double weight_decay, Function function) {
  for (int i = 0; i < layout_.segments(); ++i) {
    const gs::Segment segment = layout_.segment(i);
    const auto& group = layout_.groups()[static_cast<std::size_t>(segment.group)];
    const double decay = group.weight_decay.value_or(weight_decay);
    if (decay == 0) continue;
    function(
        [&](std::span<float> buffer) {
          return buffer.subspan(static_cast<std::size_t>(segment.offset),
                                static_cast<std::size_t>(segment.size));
        },
        decay);
  }
}

std::span<float> Unfused::state(const std::string& name) {
  const auto [entry, is_new] = state_.try_emplace(name);
  if (is_new) entry->second = backend_.allocate(layout_.size());
  return entry->second.span();
}

}  // namespace two_digits
