// Random: weights drawn afresh every step.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/philox.hpp"
#include "gramstep/solvers/pivot.hpp"
#include "gramstep/solvers/softmax.hpp"

namespace gramstep::inline v1 {

/// A random weighting of the losses, the baseline that balancing methods are to be compared with.
///
///   z_i standard normal,   w = softmax(z)
///
/// Source: Lin et al., "Reasonable Effectiveness of Random Weighting", TMLR 2022 (RLW, normal).
/// Weights are > 0 and sum to 1 but for rounding.
/// Degenerate input: none; the Gram matrix is not read.
/// Deterministic: z depends on (seed, step, group, task) alone; the logarithm, the cosine and the
/// exponential of a GPU may differ from the CPU's in the last bit.
struct Random {
  std::uint64_t seed = 0;  ///< of the draws

  static constexpr std::string_view name = "Random";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("seed", self.seed);
  }
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int tasks) { return tasks; }
  /// Any options fit any number of tasks.
  void validate(int /*tasks*/) const {}

  /// Task i's draw of a standard normal, by Box and Muller.
  GRAMSTEP_BODY double normal(int i, std::int64_t step, std::int64_t group) const {
    constexpr double two_pi = 6.283185307179586477;
    const PhiloxWords random =
        philox(seed, {{static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(group),
                       static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32)}});
    const double radius = sqrt(-2.0 * log(uniform(random.word[0], random.word[1])));
    return radius * cos(two_pi * uniform(random.word[2], random.word[3]));
  }

  /// Writes the weights [K]; one block, every thread of it calls.
  template <class X>
  GRAMSTEP_BODY Solution weights(const X& x, const GramProblem& problem, double* w) const {
    const int tasks = problem.tasks;
    solvers::for_each(x, tasks,
                      [&](int i) { problem.scratch[i] = normal(i, problem.step, problem.group); });
    solvers::softmax(x, problem.scratch, tasks, 1, 1, w);
    return {};
  }

 private:
  /// One of 2^52 equally likely numbers in (0, 1).
  GRAMSTEP_BODY static double uniform(std::uint32_t high, std::uint32_t low) {
    const std::uint64_t bits = (static_cast<std::uint64_t>(high) << 32 | low) >> 12;
    return (static_cast<double>(bits) + 0.5) * 0x1p-52;
  }
};

}  // namespace gramstep::inline v1
