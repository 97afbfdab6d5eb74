// Schedule-Free SGD and AdamW: an average of the iterates in the place of a schedule.
#pragma once

#include <array>
#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/common.hpp"
#include "gramstep/rules/elementary.hpp"

namespace gramstep::inline v1 {

/// What one element's update needs of a schedule-free rule's options and the step.
struct ScheduleFreeScalars {
  float lr;
  float step_y;   // lr (1 - beta (1 - c))
  float average;  // c: how far the average moves toward z
  float l2;       // weight decay, at y
  float keep2;    // beta2
  float take2;    // 1 - beta2
  float root_c2;
  float epsilon;
  bool first;  // z has not been used yet
};

/// One element of a schedule-free rule; Adaptive: divided by the root of the second moment.
template <bool Adaptive>
struct ScheduleFreeUpdate {
  using Scalars = ScheduleFreeScalars;
  static constexpr int states = Adaptive ? 2 : 1;
  static constexpr auto state_names = kept_names<states>({{"z"}, {"exp_avg_sq", Adaptive}});

  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    const float z = s.first ? p : state[0];
    if constexpr (Adaptive) {
      float& v = state[1];
      v = s.keep2 * v + s.take2 * g * g;
      // sqrt(v / c2) + epsilon, both times sqrt(c2): one division an element.
      g = s.root_c2 * g / (sqrtf(v) + s.epsilon);
    }
    g = with_l2(g, p, s.l2);
    p = lerp(p, z, s.average) - s.step_y * g;
    state[0] = z - s.lr * g;
  }
};

/// What the schedule-free rules share.
namespace schedule_free {

inline constexpr std::array<std::string_view, 2> segment_state_names{"weight_sum", "lr_max"};

/// c = weight_t / (weight_1 + ... + weight_t), weight_t = t^r lr_max^weight_lr_power, of the largest
/// learning rate so far; kept: that sum, that learning rate.
template <class Rule>
GRAMSTEP_BODY double average_of(const Rule& rule, const RuleInput& in, double* kept) {
  if (in.t == 1) kept[0] = kept[1] = 0;
  if (in.lr > kept[1]) kept[1] = in.lr;
  const double weight = elementary::raised(static_cast<double>(in.t), rule.r) *
                        elementary::raised(kept[1], rule.weight_lr_power);
  kept[0] += weight;
  return kept[0] > 0 ? weight / kept[0] : 0.0;
}

}  // namespace schedule_free

/// Schedule-Free SGD as its authors' code does it. The parameters that are stepped and whose gradients
/// are taken are y; the ones to evaluate and keep are the average x, see Optimizer::evaluation_params.
///
///   g += weight_decay * y
///   y = y + c (z - y) - lr (1 - momentum (1 - c)) g,   z = z - lr g,   x = y + (1 - 1 / momentum)(z - y)
///   c = w_t / (w_1 + ... + w_t),   w_t = t^r (largest lr so far)^weight_lr_power
///
/// Source: Defazio et al., "The Road Less Scheduled", NeurIPS 2024, section 2 and appendix A.
/// OptimizerOptions::warmup is the warm-up that the method asks for.
/// State: "z" [N] fp32, which begins as the parameters; "weight_sum" and "lr_max", one double a segment.
/// Bytes a parameter, fp32, one task: 20.
struct ScheduleFreeSGD {
  double lr = 1.0;             ///< learning rate, finite, >= 0
  double momentum = 0.9;       ///< share of x in y, in (0, 1)
  double weight_decay = 0;     ///< at y, >= 0
  double r = 0;                ///< power of t in the average's weights, in [0, 16)
  double weight_lr_power = 2;  ///< power of lr in the average's weights, in [0, 16)
  bool maximize = false;       ///< ascend instead of descend

  static constexpr std::string_view name = "ScheduleFreeSGD";
  static constexpr auto segment_state_names = schedule_free::segment_state_names;
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("momentum", self.momentum);
    visit("weight_decay", self.weight_decay);
    visit("r", self.r);
    visit("weight_lr_power", self.weight_lr_power);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<ScheduleFreeUpdate<false>>;
  /// Which of Updates these options select.
  int update() const { return 0; }
  /// Share of the average x in y.
  double averaging() const { return momentum; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("ScheduleFreeSGD.lr", lr, 0);
    expect_in("ScheduleFreeSGD.momentum", momentum, 0, 1);
    expect(momentum > 0, "ScheduleFreeSGD.momentum", momentum,
           "a number > 0: x is y and z's difference");
    expect_in("ScheduleFreeSGD.weight_decay", weight_decay, 0);
    expect_in("ScheduleFreeSGD.r", r, 0, 16);
    expect_in("ScheduleFreeSGD.weight_lr_power", weight_lr_power, 0, 16);
  }

  /// The scalars of one segment's step, see RuleInput; kept: weight_sum, lr_max.
  GRAMSTEP_BODY ScheduleFreeScalars scalars(const RuleInput& in, double* kept) const {
    const double c = schedule_free::average_of(*this, in, kept);
    return {.lr = static_cast<float>(in.lr),
            .step_y = static_cast<float>(in.lr * (1.0 - momentum * (1.0 - c))),
            .average = static_cast<float>(c),
            .l2 = static_cast<float>(in.weight_decay),
            .keep2 = 0,
            .take2 = 0,
            .root_c2 = 0,
            .epsilon = 0,
            .first = in.t == 1};
  }
};

/// Schedule-Free AdamW as its authors' code does it; see ScheduleFreeSGD.
///
///   v = beta2 v + (1 - beta2) g^2,   g = g / (sqrt(v / c2) + epsilon) + weight_decay * y
///   then y, z and x as Schedule-Free SGD has them, with beta1 for momentum
///
/// Source: Defazio et al., "The Road Less Scheduled", NeurIPS 2024, algorithm 1.
/// State: "z" and "exp_avg_sq", each [N] fp32; "weight_sum" and "lr_max", one double a segment.
/// Bytes a parameter, fp32, one task: 28.
struct ScheduleFreeAdamW {
  double lr = 2.5e-3;          ///< learning rate, finite, >= 0
  double beta1 = 0.9;          ///< share of x in y, in (0, 1)
  double beta2 = 0.999;        ///< decay of the second moment, in [0, 1)
  double epsilon = 1e-8;       ///< added after bias correction, >= 0
  double weight_decay = 0;     ///< at y, multiplied by lr, >= 0
  double r = 0;                ///< power of t in the average's weights, in [0, 16)
  double weight_lr_power = 2;  ///< power of lr in the average's weights, in [0, 16)
  bool maximize = false;       ///< ascend instead of descend

  static constexpr std::string_view name = "ScheduleFreeAdamW";
  static constexpr auto segment_state_names = schedule_free::segment_state_names;
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("beta1", self.beta1);
    visit("beta2", self.beta2);
    visit("epsilon", self.epsilon);
    visit("weight_decay", self.weight_decay);
    visit("r", self.r);
    visit("weight_lr_power", self.weight_lr_power);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<ScheduleFreeUpdate<true>>;
  /// Which of Updates these options select.
  int update() const { return 0; }
  /// Share of the average x in y.
  double averaging() const { return beta1; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("ScheduleFreeAdamW.lr", lr, 0);
    expect_in("ScheduleFreeAdamW.beta1", beta1, 0, 1);
    expect(beta1 > 0, "ScheduleFreeAdamW.beta1", beta1, "a number > 0: x is y and z's difference");
    expect_in("ScheduleFreeAdamW.beta2", beta2, 0, 1);
    expect_in("ScheduleFreeAdamW.epsilon", epsilon, 0);
    expect_in("ScheduleFreeAdamW.weight_decay", weight_decay, 0);
    expect_in("ScheduleFreeAdamW.r", r, 0, 16);
    expect_in("ScheduleFreeAdamW.weight_lr_power", weight_lr_power, 0, 16);
  }

  /// The scalars of one segment's step, see RuleInput; kept: weight_sum, lr_max.
  GRAMSTEP_BODY ScheduleFreeScalars scalars(const RuleInput& in, double* kept) const {
    const double c = schedule_free::average_of(*this, in, kept);
    const double root_c2 = sqrt(1.0 - power(beta2, in.t));
    return {.lr = static_cast<float>(in.lr),
            .step_y = static_cast<float>(in.lr * (1.0 - beta1 * (1.0 - c))),
            .average = static_cast<float>(c),
            .l2 = static_cast<float>(in.weight_decay),
            .keep2 = static_cast<float>(beta2),
            .take2 = static_cast<float>(1.0 - beta2),
            .root_c2 = static_cast<float>(root_c2),
            .epsilon = static_cast<float>(epsilon * root_c2),
            .first = in.t == 1};
  }
};

}  // namespace gramstep::inline v1
