// torch.optim.lr_scheduler's classes, naively, in long double.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace gramstep::reference {

using Real = long double;

inline constexpr Real pi = 3.14159265358979323846264338327950288L;

/// CosineAnnealingLR by torch's closed form.
inline Real cosine_annealing(Real lr, std::int64_t t, std::int64_t t_max, Real eta_min) {
  const Real turns = static_cast<Real>(t % (2 * t_max)) / static_cast<Real>(t_max);
  return eta_min + (lr - eta_min) * (1 + std::cos(pi * turns)) / 2;
}

/// CosineAnnealingLR as torch gets to step t: from the step before, again and again.
inline Real chained_cosine_annealing(Real base, std::int64_t t, std::int64_t t_max, Real eta_min) {
  const auto half = [&](std::int64_t step) {
    return 1 + std::cos(pi * static_cast<Real>(step) / static_cast<Real>(t_max));
  };
  Real lr = base;
  for (std::int64_t step = 1; step <= t; ++step) {
    if ((step - 1 - t_max) % (2 * t_max) == 0) {
      lr += (base - eta_min) * (1 - std::cos(pi / static_cast<Real>(t_max))) / 2;
    } else {
      lr = half(step) / half(step - 1) * (lr - eta_min) + eta_min;
    }
  }
  return lr;
}

inline Real polynomial(Real lr, std::int64_t t, std::int64_t total_iters, Real power) {
  const auto done = static_cast<Real>(std::min(t, total_iters)) / static_cast<Real>(total_iters);
  return lr * std::pow(1 - done, power);
}

inline Real step_lr(Real lr, std::int64_t t, std::int64_t step_size, Real gamma) {
  return lr * std::pow(gamma, static_cast<Real>(t / step_size));
}

/// LinearLR to the full learning rate.
inline Real linear_lr(Real lr, std::int64_t t, std::int64_t total_iters, Real start_factor) {
  const auto done = static_cast<Real>(std::min(t, total_iters)) / static_cast<Real>(total_iters);
  return lr * (start_factor + (1 - start_factor) * done);
}

/// OneCycleLR's constructor and get_lr.
struct OneCycle {
  Real max_lr;
  std::int64_t total_steps;
  Real pct_start = 0.3L;
  bool cosine = true;
  Real base_momentum = 0.85L, max_momentum = 0.95L;
  Real div_factor = 25, final_div_factor = 1e4L;
  bool three_phase = false;

  struct Phase {
    Real end, from, to, momentum_from, momentum_to;
  };

  std::vector<Phase> phases() const {
    const Real initial = max_lr / div_factor, least = initial / final_div_factor;
    const auto total = static_cast<Real>(total_steps);
    const Phase up{pct_start * total - 1, initial, max_lr, max_momentum, base_momentum};
    if (!three_phase) return {up, {total - 1, max_lr, least, base_momentum, max_momentum}};
    return {up,
            {2 * pct_start * total - 2, max_lr, initial, base_momentum, max_momentum},
            {total - 1, initial, least, max_momentum, max_momentum}};
  }

  /// Learning rate and momentum of a step.
  std::pair<Real, Real> at(std::int64_t step) const {
    Real start = 0;
    const auto now = static_cast<Real>(step);
    const std::vector<Phase> all = phases();
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (now <= all[i].end || i + 1 == all.size()) {
        const Real pct = (now - start) / (all[i].end - start);
        const auto anneal = [&](Real from, Real to) {
          return cosine ? to + (from - to) / 2 * (1 + std::cos(pi * pct))
                        : (to - from) * pct + from;
        };
        return {anneal(all[i].from, all[i].to), anneal(all[i].momentum_from, all[i].momentum_to)};
      }
      start = all[i].end;
    }
    return {};
  }
};

}  // namespace gramstep::reference
