// Trimmed mean: at every element, the mean of what is left without the largest and the smallest.
#pragma once

#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/aggregators/element.hpp"

namespace gramstep::inline v1 {

/// The coordinate-wise trimmed mean.
///
///   d = the mean over the K - 2 trim gradients that are neither among the `trim` largest nor among the
///       `trim` smallest at this element
///
/// Source: Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
/// ICML 2018, definition 2. The way of combining is the update stage's; there are no weights, and the
/// norm of d is not known before the pass: no clip.
/// Degenerate input: equal values count by task index; a NaN comes through.
/// Deterministic: summed in task order.
struct TrimmedMean {
  int trim = 1;  ///< gradients left out at either end, >= 0 and < K / 2

  static constexpr std::string_view name = "TrimmedMean";
  static constexpr bool elementwise = true;
  /// Calls visit(name, value) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("trim", self.trim);
  }
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int /*tasks*/) { return 0; }
  /// Throws InvalidArgument unless gradients are left of K tasks.
  void validate(int tasks) const {
    expect(trim >= 0 && 2 * trim < tasks, "TrimmedMean.trim",
           "must be >= 0 and leave at least one of the tasks: 2 * trim < tasks");
  }

  /// The combination of element `index` of the flat buffer. Ranks by comparing all pairs: no memory
  /// beside the rows, which are in cache after the first look.
  GRAMSTEP_BODY float combine(const ElementOf& g, int tasks, std::int64_t /*step*/,
                              std::int64_t /*index*/) const {
    float sum = 0;
    for (int k = 0; k < tasks; ++k) {
      const float value = g(k);
      int below = 0;
      for (int j = 0; j < tasks; ++j) {
        const float other = g(j);
        below += other < value || (other == value && j < k);
      }
      const bool kept = (below >= trim && below < tasks - trim) || value != value;
      sum += kept ? value : 0.0f;
    }
    return sum / static_cast<float>(tasks - 2 * trim);
  }
};

}  // namespace gramstep::inline v1
