// Scalars that an aggregator learns beside the parameters, one a task, kept in the plan's state.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {

/// How an aggregator's scalars descend: Adam as torch.optim.Adam (betas 0.9 and 0.999, epsilon
/// 1e-8), or plain gradient descent, which leaves the moments in the state at zero.
enum class ScalarRule { adam, sgd };
/// The names of the values, in their order.
constexpr std::array<std::string_view, 2> names_of(ScalarRule) { return {"adam", "sgd"}; }

namespace solvers {

/// Learned logarithms stay within +-log_limit: their exponentials, up to 5.5e34, are fp32 numbers,
/// and so are those of the logarithms of losses from 1e-30 to 1e30.
inline constexpr double log_limit = 80;
/// What learning rates and decays stay below, so that no step of theirs leaves the range of double.
inline constexpr double rate_limit = 1e50;

/// The value, moved to the nearer end where it is outside of [-limit, limit].
GRAMSTEP_BODY double within(double value, double limit) { return fmin(fmax(value, -limit), limit); }

/// Throws InvalidArgument unless `values` is empty or has a number of at most 1e100 in magnitude
/// for each of K tasks; `what` names the option.
inline void expect_values(std::string_view what, const TaskValues& values, int tasks) {
  expect(values.size() == 0 || values.size() == tasks, what, std::int64_t{values.size()},
         "one value for every task, or none");
  for (int i = 0; i < values.size(); ++i) expect_in(what, values[i], -1e100, 1e100);
}

/// How scalars learn.
struct Learning {
  ScalarRule rule;
  double lr;
  double weight_decay = 0;  // L2: decay * value is added to the gradient
};

/// K scalars with Adam's moments, three pieces of plan state in a row: the values, "exp_avg" and
/// "exp_avg_sq", each [K]. A scalar is read and written by one thread alone.
class Scalars {
 public:
  /// The scalars of a step, which are all `initial` in step 1.
  GRAMSTEP_BODY Scalars(const GramProblem& problem, double initial)
      : from_(problem.state),
        to_(problem.next_state),
        tasks_(problem.tasks),
        fresh_(problem.step == 1),
        initial_(initial) {}

  /// Scalar i as the last step left it.
  GRAMSTEP_BODY double value(int i) const { return fresh_ ? initial_ : from_[i]; }

  /// Scalar i after step t of learning, 1 for the first. Writes its moments to the next state, but
  /// not the value: the method may have a bound for it.
  GRAMSTEP_BODY double learn(const Learning& how, int i, double gradient, std::int64_t t) const {
    const double before = value(i);
    gradient += how.weight_decay * before;
    if (how.rule == ScalarRule::sgd) {
      put_moments(i, 0, 0);
      return before - how.lr * gradient;
    }
    constexpr double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
    const double m_before = fresh_ ? 0 : from_[tasks_ + i];
    const double v_before = fresh_ ? 0 : from_[2 * tasks_ + i];
    const double m = m_before + (1 - beta1) * (gradient - m_before);
    const double v = beta2 * v_before + (1 - beta2) * gradient * gradient;
    put_moments(i, m, v);
    const double c1 = 1 - power(beta1, t), c2 = 1 - power(beta2, t);
    return before - how.lr / c1 * m / (sqrt(v) / sqrt(c2) + epsilon);
  }

  /// Leaves scalar i at `value` and its moments as nothing had been learned.
  GRAMSTEP_BODY void start(int i, double value) const {
    put(i, value);
    put_moments(i, 0, 0);
  }

  /// Leaves scalar i at `value` for the next step.
  GRAMSTEP_BODY void put(int i, double value) const { to_[i] = value; }

 private:
  GRAMSTEP_BODY void put_moments(int i, double m, double v) const {
    to_[tasks_ + i] = m;
    to_[2 * tasks_ + i] = v;
  }

  const double* from_;
  double* to_;
  int tasks_;
  bool fresh_;
  double initial_;
};

}  // namespace solvers
}  // namespace gramstep::inline v1
