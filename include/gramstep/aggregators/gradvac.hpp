// GradVac: each task's gradient, turned toward the cosines it usually has with the others.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/aggregators/task_order.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1 {

/// Gradient vaccine: PCGrad with targets other than 0.
///
///   for every task i:  g = g_i;  for every other task j in order:  phi = cos(g, g_j);
///     if phi < t_ij:  g += |g| (t_ij sqrt(1 - phi^2) - phi sqrt(1 - t_ij^2))
///                          / (|g_j| sqrt(1 - t_ij^2)) g_j
///     t_ij += beta (phi - t_ij)
///   d = the sum of the g, or their mean
///
/// t_ij is 0 before the first step, in which GradVac therefore is PCGrad but for epsilon. epsilon
/// stands beside the lengths |g| and |g_j|, relative to |g_i| and |g_j|: beside lengths as they
/// are, as in LibMTL, its effect would depend on the scale of the losses.
/// Source: Wang et al., "Gradient Vaccine", ICLR 2021, equations 2 and 3; LibMTL's GradVac for the
/// order in which t is used and updated.
/// State: "target_cosines" [K, K], t; its diagonal is 0.
/// Promises nothing: later turns undo what earlier ones reached.
/// Degenerate input: a zero row is left alone, has cosine 0 with all others and counts as one draw
/// of it; duplicate and opposite rows and any rank are no special case; a gradient that was turned
/// to nothing stays nothing, and has cosine 0; one task gets weight 1. A weight can reach 1 /
/// epsilon times a quotient of norms where a target is 1 but for rounding.
/// Deterministic: the order depends on (seed, step, group, task) alone, on every device.
struct GradVac {
  Reduction reduction = Reduction::sum;  ///< sum of the turned gradients, or their mean
  TaskOrder order = TaskOrder::fresh;    ///< fresh, or fixed
  std::uint64_t seed = 0;                ///< of the fresh order
  double beta = 0.5;                     ///< weight of a step's cosine in its target, in [0, 1]
  double epsilon = 1e-8;                 ///< keeps divisors from 0, > 0

  static constexpr std::string_view name = "GradVac";
  static constexpr std::array<PlanState, 1> plan_states{{{"target_cosines", Extent::pair}}};
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("reduction", self.reduction);
    visit("order", self.order);
    visit("seed", self.seed);
    visit("beta", self.beta);
    visit("epsilon", self.epsilon);
  }
  /// Doubles of scratch for K tasks: norms, cosines, and every task's coefficients and products.
  static constexpr std::int64_t scratch(int tasks) {
    return tasks + std::int64_t{3} * tasks * tasks;
  }
  /// Throws InvalidArgument that names the option that is out of range.
  void validate(int /*tasks*/) const {
    expect_in("GradVac.beta", beta, 0);
    expect(beta <= 1, "GradVac.beta", beta, "a number <= 1");
    expect_in("GradVac.epsilon", epsilon, 1e-300);
  }

  /// Writes the weights [K]; one block, every thread of it calls. A thread a task.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks, pairs = tasks * tasks;
    double* norms = problem.scratch;
    double* cosines = norms + tasks;
    double* turned = cosines + pairs;
    if (tasks == 1) {  // G may be NaN
      solvers::for_each(x, 1, [&](int) { w[0] = 1.0, problem.next_state[0] = 0.0; });
      x.sync();
      return {};
    }
    solvers::cosine_matrix(x, problem.gram, tasks, norms, cosines);
    solvers::for_each(x, tasks, [&](int i) {
      turn(i, problem, norms, cosines, turned + i * tasks, turned + pairs + i * tasks);
    });
    x.sync();
    solvers::for_each(x, tasks, [&](int j) {
      double sum = 0;
      for (int i = 0; i < tasks; ++i) {
        // Task i's coefficients are in units of |g_i| and |g_j|.
        const double u = turned[i * tasks + j];
        sum += i == j ? u : u == 0 ? 0.0 : u * (norms[i] / norms[j]);
      }
      w[j] = reduction == Reduction::mean ? sum / tasks : sum;
    });
    x.sync();
    return {};
  }

 private:
  /// |g| from u and its products; 0 where that is what rounding leaves of terms that cancel.
  GRAMSTEP_BODY static double length_of(const double* u, const double* products, int tasks) {
    double squared = 0, size = 0;
    for (int j = 0; j < tasks; ++j) {
      squared += u[j] * products[j];
      size += fabs(u[j] * products[j]);
    }
    return squared > 0x1p-44 * size ? sqrt(squared) : 0.0;
  }

  /// Turns g = |g_i| sum_j u_j g_j / |g_j|: writes u [K], and its products with the unit rows [K].
  GRAMSTEP_BODY void turn(int i, const GramProblem& problem, const double* norms,
                          const double* cosines, double* u, double* products) const {
    const int tasks = problem.tasks;
    unsigned char met[max_tasks];
    write_task_order(order, seed, i, tasks, problem.step, problem.group, met);
    for (int j = 0; j < tasks; ++j) {
      u[j] = j == i ? 1.0 : 0.0;
      products[j] = cosines[i * tasks + j];
    }
    double length = 1.0;
    for (int at = 0; at < tasks; ++at) {
      const int j = met[at];
      const int pair = i * tasks + j;
      const double target = problem.step == 1 || j == i ? 0.0 : problem.state[pair];
      double cosine = 0.0;
      if (j != i && norms[i] > 0 && norms[j] > 0) {
        cosine = fmin(fmax(products[j] / (length + epsilon), -1.0), 1.0);
        if (cosine < target) {
          const double rest = sqrt(1.0 - target * target);
          const double added =
              length * (target * sqrt(1.0 - cosine * cosine) - cosine * rest) / (rest + epsilon);
          u[j] += added;
          for (int l = 0; l < tasks; ++l) products[l] += added * cosines[j * tasks + l];
          length = length_of(u, products, tasks);
        }
      }
      problem.next_state[pair] = (1.0 - beta) * target + beta * cosine;
    }
  }
};

}  // namespace gramstep::inline v1
