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
    expect(trim >= 0 && 2 * trim < tasks, "TrimmedMean.trim", std::int64_t{trim},
           "a number >= 0 that leaves at least one of the tasks: 2 * trim < tasks");
  }

  /// Writes the combinations of elements [index, index + Width) of the flat buffer. `elements`:
  /// load(k, g) reads those of task k. Ranks by comparing all pairs: no memory beside the rows, which
  /// are in cache after the first look.
  template <class Elements, int Width>
  GRAMSTEP_BODY void combine(const Elements& elements, int tasks, std::int64_t /*step*/,
                             std::int64_t /*index*/, float (&d)[Width]) const {
    float g[Width], other[Width];
    for (int c = 0; c < Width; ++c) d[c] = 0;
    for (int k = 0; k < tasks; ++k) {
      int below[Width] = {};
      elements.load(k, g);
      for (int j = 0; j < tasks; ++j) {
        elements.load(j, other);
        for (int c = 0; c < Width; ++c) {
          below[c] += other[c] < g[c] || (other[c] == g[c] && j < k);
        }
      }
      for (int c = 0; c < Width; ++c) {
        const bool kept = (below[c] >= trim && below[c] < tasks - trim) || g[c] != g[c];
        d[c] += kept ? g[c] : 0.0f;
      }
    }
    for (int c = 0; c < Width; ++c) d[c] /= static_cast<float>(tasks - 2 * trim);
  }
};

}  // namespace gramstep::inline v1
