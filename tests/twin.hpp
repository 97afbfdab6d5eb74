// Twin: the library's optimizer and the reference, side by side.
#pragma once

#include "tests/reference/step.hpp"
#include "tests/reference_rule.hpp"
#include "tests/rig.hpp"

namespace gramstep::test {

/// The orders in which PCGrad's tasks meet in that step.
inline reference::Orders orders_of(const PCGrad& pcgrad, int tasks, std::int64_t step) {
  reference::Orders orders;
  for (int i = 0; i < tasks; ++i) {
    unsigned char met[max_tasks];
    pcgrad.meet(i, tasks, step, met);
    orders.emplace_back(met, met + tasks);
  }
  return orders;
}

/// The reference's options of a step.
inline reference::StepOptions reference_step(const OptimizerOptions& options) {
  using reference::Aggregation;
  reference::StepOptions result{.tasks = options.tasks, .loss_scale = options.loss_scale};
  if (options.clip_norm) result.clip_norm = *options.clip_norm;
  if (std::holds_alternative<Mean>(options.aggregator)) result.aggregation = Aggregation::mean;
  if (const auto* constant = std::get_if<Constant>(&options.aggregator)) {
    result.aggregation = Aggregation::constant;
    for (int k = 0; k < options.tasks; ++k) result.constants.push_back(constant->values[k]);
  }
  if (const auto* pcgrad = std::get_if<PCGrad>(&options.aggregator)) {
    result.aggregation =
        pcgrad->reduction == Reduction::mean ? Aggregation::pcgrad_mean : Aggregation::pcgrad;
  }
  return result;
}

/// Takes every step twice, and knows how far apart fp32 may leave them.
class Twin : public Rig {
 public:
  Twin(const Layout& layout, const OptimizerOptions& options, int shift = 0)
      : Rig(layout, options, shift), step_options_(reference_step(options)) {
    if (const auto* pcgrad = std::get_if<PCGrad>(&options.aggregator)) pcgrad_ = *pcgrad;
    for (int s = 0; s < layout.segments(); ++s) {
      const Segment segment = layout.segment(s);
      const std::span<float> values = param(segment.name);
      tensors.emplace_back(segment.name, segment.task, rule_of(segment, options.rule),
                           reference::Vector(values.begin(), values.end()));
      auto& state = tensors.back().state;
      state.rank = elementwise(segment) ? 1 : static_cast<int>(segment.shape.size());
      if (state.rank < 2) continue;
      state.rows = static_cast<std::size_t>(segment.shape[segment.shape.size() - 2]);
      state.columns = static_cast<std::size_t>(segment.shape.back());
    }
  }

  void set_rule(const Rule& rule) {
    optimizer.set_rule(rule);
    for (std::size_t n = 0; n < tensors.size(); ++n) {
      tensors[n].rule = rule_of(optimizer.layout().segment(static_cast<int>(n)), rule);
    }
  }
  void set_lr(double lr) {
    optimizer.set_lr(lr);
    for (std::size_t n = 0; n < tensors.size(); ++n) {
      tensors[n].rule.lr = lr * group(optimizer.layout().segment(static_cast<int>(n))).lr_scale;
    }
  }
  void set_loss_scale(double loss_scale) {
    optimizer.set_loss_scale(loss_scale);
    step_options_.loss_scale = loss_scale;
  }
  void set_active(std::string_view segment, bool active) {
    optimizer.set_active(segment, active);
    tensors[static_cast<std::size_t>(optimizer.layout().index(segment))].active = active;
  }

  /// Takes a step with the gradients that are in memory, the library and the reference.
  void step() {
    std::vector<reference::TensorGradients> gradients_of;
    for (const auto& tensor : tensors) {
      reference::TensorGradients& each = gradients_of.emplace_back();
      for (int k = 0; k < (tensor.task < 0 ? step_options_.tasks : 1); ++k) {
        const std::span<float> from = gradient(tensor.name, k);
        each.emplace_back(from.begin(), from.end());
      }
    }
    const reference::Orders orders = orders_of(pcgrad_, step_options_.tasks, steps_ + 1);
    outcome = reference::step(step_options_, tensors, gradients_of, orders);
    if (!outcome.skipped) ++steps_;
    Rig::step();
  }
  void draw_and_step(int steps = 1) {
    for (int i = 0; i < steps; ++i) {
      draw();
      step();
    }
  }

  /// Takes a step in which a shared segment and a head have no gradient, with poison in its place: nobody
  /// is to look.
  void draw_and_step_without(std::string_view shared, std::string_view head) {
    set_active(shared, false);
    set_active(head, false);
    draw();
    for (int k = 0; k < step_options_.tasks; ++k) gradient(shared, k)[7] = NAN;
    gradient(head)[0] = INFINITY;
    step();
    set_active(shared, true);
    set_active(head, true);
  }

  /// Expects every parameter and state element within fp32's bound, which grows from step to step
  /// by the roundings of every operation. Returns the largest share of a bound that was used up.
  double expect_close() {
    double share = close_everywhere("params", [this](std::size_t n) {
      return std::pair(param(tensors[n].name), &tensors[n].params);
    });
    for (const std::string_view name : optimizer.state_names()) {
      const double of_state = close_everywhere(name, [&](std::size_t n) {
        const bool kept = keeps(tensors[n].name, name);
        const auto got = kept ? optimizer.state(name, tensors[n].name).span() : std::span<float>();
        return std::pair(got, &tensors[n].state.buffer(name, got.size()));
      });
      share = std::max(share, of_state);
    }
    for (std::size_t n = 0; n < tensors.size(); ++n) {
      EXPECT_EQ(optimizer.segment_steps()[n], tensors[n].state.t) << tensors[n].name;
    }
    expect_padding_untouched();
    return share;
  }

  std::vector<reference::Tensor<reference::Bounded>> tensors;
  reference::Outcome outcome;  // of the last step

 private:
  const GroupOptions& group(const Segment& segment) const {
    return optimizer.layout().groups()[static_cast<std::size_t>(segment.group)];
  }

  bool elementwise(const Segment& segment) const { return group(segment).elementwise; }

  /// The rule's options as the segment's group has them.
  reference::RuleOptions rule_of(const Segment& segment, const Rule& rule) const {
    const GroupOptions& own = group(segment);
    reference::RuleOptions result =
        std::visit([](const auto& held) { return reference_rule(held); }, rule);
    result.lr *= own.lr_scale;
    result.weight_decay = own.weight_decay.value_or(result.weight_decay);
    result.maximize = own.maximize.value_or(result.maximize);
    return result;
  }

  using Expected = std::vector<reference::Bounded>;

  /// Most that a bound may be of the largest value of its kind: some 1000 roundings.
  static constexpr double loosest_bound = 0x1p-14;

  /// Compares the pair that of(n) gives, got and expected, for all tensors n.
  template <class Of>
  double close_everywhere(std::string_view what, const Of& of) {
    double share = 0, largest = 0;
    for (std::size_t n = 0; n < tensors.size(); ++n) {
      for (const auto& each : *of(n).second) largest = std::max(largest, std::abs(each.value));
    }
    for (std::size_t n = 0; n < tensors.size(); ++n) {
      const auto [got, expected] = of(n);
      const std::string where = tensors[n].name + ": " + std::string(what);
      share = std::max(share, close(got, *expected, loosest_bound * largest, where));
    }
    return share;
  }

  static double close(std::span<const float> got, const Expected& expected, double loosest,
                      const std::string& what) {
    double share = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_LE(expected[i].error, loosest) << what << ": a bound that says nothing";
      const double error = std::abs(static_cast<double>(got[i]) - expected[i].value);
      // Not "error > bound": a NaN must fail.
      if (!(error <= expected[i].error)) {
        ADD_FAILURE() << what << "[" << i << "]: got " << got[i] << ", expected "
                      << expected[i].value << " within " << expected[i].error;
        return infinity;
      }
      if (error > 0) share = std::max(share, error / expected[i].error);
    }
    return share;
  }

  reference::StepOptions step_options_;
  PCGrad pcgrad_;
  std::int64_t steps_ = 0;
};

}  // namespace gramstep::test
