// Learning-rate schedules, evaluated in the plan: torch.optim.lr_scheduler's, by its names.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <variant>

#include "gramstep/rules/common.hpp"
#include "gramstep/rules/elementary.hpp"

namespace gramstep::inline v1 {

/// What a schedule makes of one step.
struct Scheduled {
  double lr = 0;
  /// In the place of the rule's momentum or beta1; NaN: nothing.
  double momentum = std::numeric_limits<double>::quiet_NaN();
};

/// The share of `of` steps that were taken, at most 1.
GRAMSTEP_BODY double share_of(std::int64_t step, std::int64_t of) {
  return step >= of ? 1.0 : static_cast<double>(step) / static_cast<double>(of);
}

/// The way from one value to another.
enum class Anneal { cosine, linear };
/// The names of the values, in their order.
constexpr std::array<std::string_view, 2> names_of(Anneal) { return {"cosine", "linear"}; }

/// From `from` to `to` by a share in [0, 1].
GRAMSTEP_BODY double annealed(Anneal how, double from, double to, double share) {
  if (how == Anneal::linear) return from + (to - from) * share;
  return to + (from - to) / 2 * (1.0 + elementary::cosine_pi(share));
}

/// The rule's learning rate, always.
struct ConstantLR {
  static constexpr std::string_view name = "ConstantLR";
  template <class Self, class Visit>
  static void options(Self&, const Visit&) {}
  void validate() const {}
  /// The learning rate in a step, 0 for the first, of a segment whose own it is.
  GRAMSTEP_BODY Scheduled at(double lr, std::int64_t) const { return {lr}; }
};

/// Down by half a cosine, and, as torch has it, up again beyond total_steps.
///   lr_t = min_lr + (lr - min_lr)(1 + cos(pi t / total_steps)) / 2
/// Source: Loshchilov and Hutter 2017, equation 5; torch's CosineAnnealingLR, whose names are T_max and
/// eta_min.
struct CosineAnnealingLR {
  std::int64_t total_steps = 1;  ///< steps from lr to min_lr, > 0
  double min_lr = 0;             ///< finite, >= 0

  static constexpr std::string_view name = "CosineAnnealingLR";
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("total_steps", self.total_steps);
    visit("min_lr", self.min_lr);
  }
  void validate() const {
    expect(total_steps > 0, "CosineAnnealingLR.total_steps", total_steps, "a number of steps > 0");
    expect_in("CosineAnnealingLR.min_lr", min_lr, 0);
  }
  GRAMSTEP_BODY Scheduled at(double lr, std::int64_t step) const {
    // A period is total_steps down and as many up; 2 total_steps may not fit 64 bits.
    const bool up = step / total_steps % 2 != 0;
    const double share = share_of(step % total_steps, total_steps);
    return {annealed(Anneal::cosine, up ? min_lr : lr, up ? lr : min_lr, share)};
  }
};

/// Down to 0 by a power of what is left.
///   lr_t = lr (1 - min(t, total_steps) / total_steps)^exponent
/// Source: torch's PolynomialLR, whose names are total_iters and power. exponent = 1: linearly.
struct PolynomialLR {
  std::int64_t total_steps = 1;  ///< > 0
  double exponent = 1;           ///< in [0, 64)

  static constexpr std::string_view name = "PolynomialLR";
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("total_steps", self.total_steps);
    visit("exponent", self.exponent);
  }
  void validate() const {
    expect(total_steps > 0, "PolynomialLR.total_steps", total_steps, "a number of steps > 0");
    expect_in("PolynomialLR.exponent", exponent, 0, 64);
  }
  GRAMSTEP_BODY Scheduled at(double lr, std::int64_t step) const {
    return {lr * elementary::raised(1.0 - share_of(step, total_steps), exponent)};
  }
};

/// Down by a factor every so many steps.
///   lr_t = lr gamma^floor(t / step_size)
/// Source: torch's StepLR; step_size = 1: its ExponentialLR.
struct StepLR {
  std::int64_t step_size = 1;  ///< > 0
  double gamma = 0.1;          ///< in [0, 1e3)

  static constexpr std::string_view name = "StepLR";
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("step_size", self.step_size);
    visit("gamma", self.gamma);
  }
  void validate() const {
    expect(step_size > 0, "StepLR.step_size", step_size, "a number of steps > 0");
    expect_in("StepLR.gamma", gamma, 0, 1e3);
  }
  GRAMSTEP_BODY Scheduled at(double lr, std::int64_t step) const {
    return {lr * power(gamma, step / step_size)};
  }
};

/// As it is for stable_steps, then down to min_lr within decay_steps, where it stays; with
/// OptimizerOptions::warmup the warm-up-stable-decay schedule.
/// Source: Hu et al., "MiniCPM", 2024, equation 1; Haegele et al. 2024 for the linear decay.
struct StableDecayLR {
  std::int64_t stable_steps = 0;   ///< >= 0
  std::int64_t decay_steps = 1;    ///< > 0
  double min_lr = 0;               ///< finite, >= 0
  Anneal anneal = Anneal::linear;  ///< how it goes down

  static constexpr std::string_view name = "StableDecayLR";
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("stable_steps", self.stable_steps);
    visit("decay_steps", self.decay_steps);
    visit("min_lr", self.min_lr);
    visit("anneal", self.anneal);
  }
  void validate() const {
    expect(stable_steps >= 0, "StableDecayLR.stable_steps", stable_steps, "a number of steps >= 0");
    expect(decay_steps > 0, "StableDecayLR.decay_steps", decay_steps, "a number of steps > 0");
    expect_in("StableDecayLR.min_lr", min_lr, 0);
  }
  GRAMSTEP_BODY Scheduled at(double lr, std::int64_t step) const {
    const std::int64_t late = step > stable_steps ? step - stable_steps : 0;
    return {annealed(anneal, lr, min_lr, share_of(late, decay_steps))};
  }
};

/// Up to the rule's learning rate and down again, to far below where it began, and the momentum, or
/// beta1, the other way. Beyond total_steps it stays where it ended.
///   from lr / div_factor  to lr  within pct_start total_steps - 1 steps,
///   three_phase: as fast back to lr / div_factor,
///   then to lr / (div_factor final_div_factor) in step total_steps - 1
/// Source: Smith and Topin 2017; torch's OneCycleLR, whose max_lr is the rule's lr.
struct OneCycleLR {
  std::int64_t total_steps = 1;    ///< > 0
  double pct_start = 0.3;          ///< share of the steps in which lr rises, in [0, 1]
  Anneal anneal = Anneal::cosine;  ///< how it goes up and down
  bool cycle_momentum = true;      ///< for rules with momentum or beta1
  double base_momentum = 0.85;     ///< where lr is largest, in [0, 1)
  double max_momentum = 0.95;      ///< where the cycle begins and ends, in [0, 1)
  double div_factor = 25;          ///< finite, > 0
  double final_div_factor = 1e4;   ///< finite, > 0
  bool three_phase = false;        ///< back to where it began, as fast, before it falls further

  static constexpr std::string_view name = "OneCycleLR";
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("total_steps", self.total_steps);
    visit("pct_start", self.pct_start);
    visit("anneal", self.anneal);
    visit("cycle_momentum", self.cycle_momentum);
    visit("base_momentum", self.base_momentum);
    visit("max_momentum", self.max_momentum);
    visit("div_factor", self.div_factor);
    visit("final_div_factor", self.final_div_factor);
    visit("three_phase", self.three_phase);
  }
  void validate() const {
    expect(total_steps > 0, "OneCycleLR.total_steps", total_steps, "a number of steps > 0");
    expect(pct_start >= 0 && pct_start <= 1, "OneCycleLR.pct_start", pct_start,
           "a number in [0, 1]");
    expect_in("OneCycleLR.base_momentum", base_momentum, 0, 1);
    expect_in("OneCycleLR.max_momentum", max_momentum, 0, 1);
    expect_in("OneCycleLR.div_factor", div_factor, std::numeric_limits<double>::min());
    expect_in("OneCycleLR.final_div_factor", final_div_factor, std::numeric_limits<double>::min());
  }
  GRAMSTEP_BODY Scheduled at(double lr, std::int64_t step) const {
    const double first = lr / div_factor, final = first / final_div_factor;
    const double up = pct_start * static_cast<double>(total_steps) - 1;
    const double down = three_phase ? 2 * pct_start * static_cast<double>(total_steps) - 2 : up;
    const double end = static_cast<double>(total_steps - 1);
    const double now = step < total_steps ? static_cast<double>(step) : end;
    if (now <= up) return phase(now / up, first, lr, max_momentum, base_momentum);
    if (now <= down) return phase((now - up) / (down - up), lr, first, base_momentum, max_momentum);
    const double from = three_phase ? first : lr;
    const double momentum = three_phase ? max_momentum : base_momentum;
    return phase((now - down) / (end - down), from, final, momentum, max_momentum);
  }

 private:
  GRAMSTEP_BODY Scheduled phase(double share, double lr, double next_lr, double momentum,
                                double next_momentum) const {
    share = share < 1 ? share : 1.0;  // 0 / 0 in a phase of no steps is its end
    Scheduled result{annealed(anneal, lr, next_lr, share)};
    if (cycle_momentum) result.momentum = annealed(anneal, momentum, next_momentum, share);
    return result;
  }
};

/// Any schedule. t is the number of steps taken before this one, 0 in the first; a skipped step does not
/// count. Adding one is its struct and one line here.
using Schedule = std::variant<  //
    ConstantLR,                 //
    CosineAnnealingLR,          //
    PolynomialLR,               //
    StepLR,                     //
    StableDecayLR,              //
    OneCycleLR>;

/// A linear warm-up before any schedule, which begins when it is over: in step t < steps
///   lr (start_factor + (1 - start_factor) t / steps)
/// Source: torch's LinearLR and, with a schedule, SequentialLR of the two.
struct Warmup {
  std::int64_t steps = 0;           ///< >= 0; 0: none
  double start_factor = 1.0 / 3.0;  ///< in [0, 1]

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect(steps >= 0, "Warmup.steps", steps, "a number of steps >= 0");
    expect(start_factor >= 0 && start_factor <= 1, "Warmup.start_factor", start_factor,
           "a number in [0, 1]");
  }
};

}  // namespace gramstep::inline v1
