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
    expect(leak.size() == 0 || leak.size() == tasks, "GradDrop.leak", std::int64_t{leak.size()},
           "one value for every task, or none");
    for (int i = 0; i < leak.size(); ++i) {
      expect_in("GradDrop.leak", leak[i], 0);
      expect(leak[i] <= 1, "GradDrop.leak", leak[i], "a number <= 1");
    }
  }

  /// Writes the combinations of elements [index, index + Width) of the flat buffer. `elements`:
  /// load(k, g) reads those of task k.
  template <class Elements, int Width>
  GRAMSTEP_BODY void combine(const Elements& elements, int tasks, std::int64_t step,
                             std::int64_t index, float (&d)[Width]) const {
    float g[Width], sum[Width] = {}, magnitude[Width] = {}, drawn[Width];
    for (int k = 0; k < tasks; ++k) {
      elements.load(k, g);
      for (int c = 0; c < Width; ++c) {
        sum[c] += g[c];
        magnitude[c] += fabsf(g[c]);
      }
    }
    draw(step, index, drawn);
    float margin[Width];  // P - U; NaN where all are zero, which may as well be dropped
    for (int c = 0; c < Width; ++c) {
      margin[c] = 0.5f * (1.0f + sum[c] / magnitude[c]) - drawn[c];
      d[c] = 0;
    }
    for (int k = 0; k < tasks; ++k) {
      elements.load(k, g);
      const float leaked = static_cast<float>(leak.value_or(k, 0));
      for (int c = 0; c < Width; ++c) {
        const bool kept = (margin[c] > 0 && g[c] > 0) || (margin[c] < 0 && g[c] < 0);
        d[c] += (kept ? 1.0f : leaked) * g[c];  // a NaN comes through, even times 0
      }
    }
  }

 private:
  /// U of Width elements, multiples of 2^-24: word index % 4 of the draw that four neighbours share.
  template <int Width>
  GRAMSTEP_BODY void draw(std::int64_t step, std::int64_t index, float (&drawn)[Width]) const {
    if (Width % 4 == 0 && index % 4 == 0) {
      for (int four = 0; four < Width / 4; ++four) {
        const PhiloxWords words = words_of(step, index / 4 + four);
        for (int c = 0; c < 4; ++c) drawn[4 * four + c] = uniform(words.word[c]);
      }
    } else {
      for (int c = 0; c < Width; ++c) {
        const PhiloxWords words = words_of(step, (index + c) / 4);
        std::uint32_t word = words.word[0];  // chosen, for registers have no index
        for (int w = 1; w < 4; ++w) word = (index + c) % 4 == w ? words.word[w] : word;
        drawn[c] = uniform(word);
      }
    }
  }

  /// The draw of elements 4 four to 4 four + 3.
  GRAMSTEP_BODY PhiloxWords words_of(std::int64_t step, std::int64_t four) const {
    return philox(seed,
                  {{static_cast<std::uint32_t>(four), static_cast<std::uint32_t>(four >> 32),
                    static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32)}});
  }

  /// In [0, 1). By way of a signed number, whose conversion every processor has.
  GRAMSTEP_BODY static float uniform(std::uint32_t word) {
    return static_cast<float>(static_cast<std::int32_t>(word >> 8)) * 0x1p-24f;
  }
};

}  // namespace gramstep::inline v1
