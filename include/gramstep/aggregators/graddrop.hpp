// GradDrop: at every element, gradients of one sign, drawn at random.
#pragma once

#include <cmath>
#include <string_view>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/aggregators/element.hpp"
#include "gramstep/philox.hpp"

namespace gramstep::inline v1 {

/// Gradient sign dropout: keeps, at every element, either what is positive or what is negative.
///
///   P = (1 + sum_k g_k / sum_k |g_k|) / 2,   U uniform in [0, 1)
///   M_k = [P > U and g_k > 0] + [P < U and g_k < 0]
///   d = sum_k (leak_k + (1 - leak_k) M_k) g_k
///
/// Source: Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign
/// Dropout", NeurIPS 2020, algorithm 1. The way of combining is the update stage's; there are no
/// weights, and the norm of d is not known before the pass: no clip.
/// Degenerate input: zeros everywhere give 0; one task is kept as it is.
/// Deterministic: U depends on (seed, step, index in the flat buffer) alone, on every device.
struct GradDrop {
  TaskValues leak = {};    ///< share of each task that is never dropped, in [0, 1]; left out: 0
  std::uint64_t seed = 0;  ///< of U

  static constexpr std::string_view name = "GradDrop";
  static constexpr bool elementwise = true;
  /// Calls visit(name, value) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("leak", self.leak);
    visit("seed", self.seed);
  }
  /// Doubles of scratch for K tasks.
  static constexpr std::int64_t scratch(int /*tasks*/) { return 0; }
  /// Throws InvalidArgument unless there is no leak or one in [0, 1] for each of K tasks.
  void validate(int tasks) const {
    expect(leak.size() == 0 || leak.size() == tasks, "GradDrop.leak",
           "needs one value for every task, or none");
    for (int i = 0; i < leak.size(); ++i) {
      expect_in("GradDrop.leak", leak[i], 0);
      expect(leak[i] <= 1, "GradDrop.leak", "must be at most 1");
    }
  }

  /// The combination of element `index` of the flat buffer.
  GRAMSTEP_BODY float combine(const ElementOf& g, int tasks, std::int64_t step,
                              std::int64_t index) const {
    float sum = 0, magnitude = 0;
    for (int k = 0; k < tasks; ++k) {
      sum += g(k);
      magnitude += fabsf(g(k));
    }
    if (magnitude == 0.0f) return sum;
    const float positive = 0.5f * (1.0f + sum / magnitude);
    const float drawn = uniform(step, index);
    float d = 0;
    for (int k = 0; k < tasks; ++k) {
      const float value = g(k);
      const bool kept = (positive > drawn && value > 0) || (positive < drawn && value < 0);
      // A NaN is of neither sign, and must come through.
      const float share = kept || value != value ? 1.0f : static_cast<float>(leak.value_or(k, 0));
      d += share * value;
    }
    return d;
  }

 private:
  /// In [0, 1), a multiple of 2^-24: word index % 4 of the draw that four neighbours share.
  GRAMSTEP_BODY float uniform(std::int64_t step, std::int64_t index) const {
    const std::int64_t four = index >> 2;
    const PhiloxWords random =
        philox(seed, {{static_cast<std::uint32_t>(four), static_cast<std::uint32_t>(four >> 32),
                       static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32)}});
    const int which = static_cast<int>(index & 3);
    const std::uint32_t word = which == 0   ? random.word[0]
                               : which == 1 ? random.word[1]
                               : which == 2 ? random.word[2]
                                            : random.word[3];
    return static_cast<float>(word >> 8) * 0x1p-24f;
  }
};

}  // namespace gramstep::inline v1
