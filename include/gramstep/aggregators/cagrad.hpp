// CAGrad: the direction near the mean gradient that serves the worst-off task best.
#pragma once

#include <array>
#include <cmath>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/solvers/simplex_path.hpp"

namespace gramstep::inline v1 {

/// What CAGrad's direction is divided by.
enum class CAGradRescale {
  none,                ///< nothing, as TorchJD has it
  one_plus_c_squared,  ///< 1 + c^2, the default of the authors' code
  one_plus_c,          ///< 1 + c, which undoes the growth where the gradients agree
};
/// The names of the values, in their order.
constexpr std::array<std::string_view, 3> names_of(CAGradRescale) {
  return {"none", "one_plus_c_squared", "one_plus_c"};
}

/// Conflict-averse gradient descent: CAGrad.
///
///   d = argmax min_i g_i . d  subject to  |d - g_0| <= c |g_0|,   g_0 = J^T b,  b = 1/K
///
/// whose dual is  u = argmin u^T G b + c |g_0| sqrt(u^T G u)  over the simplex, and
///
///   w = b + (c |g_0| / sqrt(u^T G u)) u,   divided by the rescale
///
/// Source: Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021,
/// algorithm 1. Solved exactly: v = w - b is followed by pivots, as the least
/// g_i . d rises, until |J^T v| = c |g_0|; no iterative solver. A ridge of 1e-8 on the cosine
/// matrix makes w unique; it grows where rounding in G needs more.
/// c = 0 is Mean; c to infinity turns d into MGDA's direction.
/// Degenerate input: where the hull of the rows comes within 1e-3 of 0 (relative to the rows' own
/// length), or a row is zero, the dual's direction is rounding or 0 / 0; then v is no longer than
/// what makes g_i . d >= 0 for all, and |d - g_0| may fall short of c |g_0|. Duplicate rows share
/// their part; opposite rows are a case of that; any rank is no special case; all rows zero, or
/// g_0 = 0: weights b. One task gets 1 + c.
/// Deterministic: the same bits for any number of threads.
struct CAGrad {
  double c = 0.4;                               ///< radius relative to |g_0|, finite, >= 0
  CAGradRescale rescale = CAGradRescale::none;  ///< what the direction is divided by

  static constexpr std::string_view name = "CAGrad";
  static constexpr std::string_view promise =
      "|d - g_0| = c |g_0| before the rescale, or less at a stationary point; g_i . d >= 0 for "
      "every task if c >= 1";
  static constexpr double tolerance = 1e-4;  // the ridge that dependent rows in fp32 need

  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("c", self.c);
    visit("rescale", self.rescale);
  }
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int tasks) { return solvers::SimplexPath::scratch(tasks); }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int /*tasks*/) const { expect_in("CAGrad.c", c, 0); }

  /// Writes the weights [K]; one block, every thread of it calls. The residual is the larger of
  /// ||d - g_0| / (c |g_0|) - 1| and, if c >= 1, the largest -g_i . d / (n_i sum_j n_j w_j).
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    const double factor = 1 / divisor();
    if (tasks == 1) {
      if (x.thread() == 0) w[0] = (1 + c) * factor;
      x.sync();
      return {};
    }
    const double b = 1.0 / tasks;
    solvers::SimplexPath simplex{.tasks = tasks, .memory = problem.scratch};
    simplex.prepare(x, problem.gram, [&](int) { return b; });
    const double squared = solvers::dot(simplex.lengths(), simplex.q0(), tasks) * b;  // |g_0|^2
    const double target = squared > 0 ? c * sqrt(squared) : 0.0;
    solvers::Path path = simplex.path();
    bool short_of_target = true;
    int pivots = 0;
    if (target > 0) {
      pivots = solvers::with_enough_ridge(
          path, [&] { return follow(x, simplex, path, target, short_of_target); });
    } else {
      solvers::for_each(x, tasks, [&](int i) { simplex.z()[i] = 0; });
      x.sync();
    }
    solvers::for_each(x, tasks, [&](int i) {
      const double length = simplex.lengths()[i];
      w[i] = (b + (length > 0 ? simplex.z()[i] / length : 0.0)) * factor;
    });
    return {pivots, violation(x, simplex, target, short_of_target)};
  }

 private:
  GRAMSTEP_BODY double divisor() const {
    return rescale == CAGradRescale::one_plus_c_squared ? 1 + c * c
           : rescale == CAGradRescale::one_plus_c       ? 1 + c
                                                        : 1.0;
  }

  /// The t of a stretch at which |J^T v| is the target.
  struct Reach {
    double squared;  // the target's

    GRAMSTEP_BODY double operator()(const solvers::Path& path, double low, double high) const {
      if (path.passive == 0) return infinity;
      // s = s0 + tau s1 at t = low + tau, where (C + ridge) s = -q on the passive set, so that
      // s . C s = constant + 2 half tau + curvature tau^2.
      double constant = 0, half = 0, curvature = 0;
      GRAMSTEP_ROLLED
      for (int slot = 0; slot < path.passive; ++slot) {
        const int i = path.member(slot);
        const double s0 = path.alpha()[i] + low * path.beta()[i], s1 = path.beta()[i];
        const double q = path.q0()[i] + low * path.q1()[i] + path.ridge * s0;
        const double dq = path.q1()[i] + path.ridge * s1;
        constant -= s0 * q;
        half -= 0.5 * (s0 * dq + s1 * q);
        curvature -= s1 * dq;
      }
      const double rest = squared - constant;
      if (rest <= 0) return low;
      const double tau = rest / (half + sqrt(half * half + curvature * rest));
      return tau >= 0 && low + tau <= high ? low + tau : infinity;  // NaN: nowhere
    }
  };

  /// Writes s = D v into simplex.z(). False where the ridge is not enough.
  template <class X>
  GRAMSTEP_BODY bool follow(const X& x, const solvers::SimplexPath& simplex, solvers::Path& path,
                            double target, bool& short_of_target) const {
    constexpr double nearly_stationary = 1e-3;
    const Reach reach{target * target};
    short_of_target = true;
    path.start(x);
    GRAMSTEP_ROLLED
    for (int leg = 0; leg < 2; ++leg) {  // until g_i . d >= 0 for all, and on
      const solvers::PathEnd end = path.follow(x, leg == 0 ? 0.0 : infinity, reach);
      if (end == solvers::PathEnd::indefinite) return false;
      const bool reached = end == solvers::PathEnd::reached;
      if (reached && leg == 1) return true;
      double* s = leg == 0 ? simplex.z() : simplex.along();
      path.solution(x, 1, path.t, s);
      if (leg == 1) {
        double sum = 0;
        GRAMSTEP_ROLLED
        for (int i = 0; i < simplex.tasks; ++i) sum += s[i];
        if (target < nearly_stationary * sum) return true;
        solvers::for_each(x, simplex.tasks, [&](int i) { simplex.z()[i] = s[i]; });
      }
      short_of_target = reached;
      if (!reached || simplex.zero_rows > 0) return true;
    }
    return true;
  }

  /// The residual, of s in simplex.z(). Begins with a barrier.
  template <class X>
  GRAMSTEP_BODY double violation(const X& x, const solvers::SimplexPath& simplex, double target,
                                 bool short_of_target) const {
    const int tasks = simplex.tasks;
    const double* s = simplex.z();
    const double* along = simplex.along();
    x.sync();
    solvers::multiply(x, simplex.cosines(), s, tasks, simplex.along());
    const double length = sqrt(fmax(solvers::dot(s, along, tasks), 0.0));
    double worst = 0;
    if (target > 0) {
      const double beyond = length / target - 1;
      worst = short_of_target ? fmax(beyond, 0.0) : fabs(beyond);
    }
    if (c >= 1) {
      double aligned = 0, against = 0;
      GRAMSTEP_ROLLED
      for (int i = 0; i < tasks; ++i) {
        aligned += s[i] + simplex.lengths()[i] / tasks;
        against = fmax(against, -(along[i] + simplex.q0()[i]));
      }
      if (aligned > 0) worst = fmax(worst, against / aligned);
    }
    x.sync();
    return worst;
  }
};

}  // namespace gramstep::inline v1
