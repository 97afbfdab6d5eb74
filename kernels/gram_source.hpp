// What the gram stage multiplies on tensor cores, and as what numbers.
#pragma once

#include <type_traits>

#include "kernels/gram.hpp"

namespace gramstep::kernels {

/// What a word of a row is to tensor cores: two numbers of 16 bits, Bfloat16 or Float16, as they are.
template <class Type>
struct TensorOperand {
  using Multiplied = Type;
  using Stored = std::uint16_t;
  static constexpr int in_word = 2;
  static constexpr int parts = 1;
  GRAMSTEP_BODY static std::uint32_t part(int, std::uint32_t word) { return word; }
};

/// Or one of fp32, in two parts, of which it takes the first 11 bits each.
template <>
struct TensorOperand<Float32> {
  using Multiplied = Float32;
  using Stored = std::uint32_t;
  static constexpr int in_word = 1;
  static constexpr int parts = 2;
  GRAMSTEP_BODY static std::uint32_t part(int which, std::uint32_t word) {
    const std::uint32_t nearest = (word + (1u << 12)) & ~((1u << 13) - 1);
    return which == 0 ? nearest : bits_of(float_of(word) - float_of(nearest));
  }
};

/// What is multiplied: the gradients themselves, copied as they are.
template <class Type>
struct GradientSource {
  using Operand = TensorOperand<Type>;
  using Stored = typename Operand::Stored;
  using HeadType = std::conditional_t<std::is_same_v<Type, Float32>, Float32, AnyType>;
  static constexpr int fetched_at_once = max_tasks / 4;

  struct Shared {
    const Stored* rows[max_tasks];  // beyond K the last once more, whose products nobody asks for
  };

  template <class X>
  GRAMSTEP_BODY void prepare(const X& x, const GramArguments& a, Shared& shared) const {
    for (int k = x.thread(); k < max_tasks; k += x.threads()) {
      shared.rows[k] = static_cast<const Stored*>(a.rows[k < a.tasks ? k : a.tasks - 1]);
    }
    x.sync();
  }

  /// Brings four words of task k from element `at` on to shared memory, sooner or later.
  template <class X>
  GRAMSTEP_BODY void fetch(const X& x, const GramArguments&, const Shared& shared, int k,
                           std::int64_t at, std::uint32_t* to) const {
    x.copy_async(to, shared.rows[k] + at);
  }

  /// A word, of which `available` elements are there: zeros beyond.
  GRAMSTEP_BODY std::uint32_t word(const GramArguments&, const Shared& shared, int k,
                                   std::int64_t at, int available) const {
    const Stored* from = shared.rows[k] + at;
    std::uint32_t word = 0;
    GRAMSTEP_UNROLL
    for (int c = 0; c < Operand::in_word; ++c) {
      const std::uint32_t stored = c < available ? from[c] : 0;
      word |= stored << 16 * c;
    }
    return word;
  }

  template <class X>
  GRAMSTEP_BODY void pass_over(const X&, const GramArguments&, const Chunk&) const {}
};

/// Or momenta in fp32, advanced as the gradients come in.
template <class GradientType>
struct MomentumSource {
  using Operand = TensorOperand<Float32>;
  using HeadType = GradientType;
  static constexpr int fetched_at_once = 4;  // rows that a lane has in registers
  OneOfT<Aggregator> aggregator;
  Losses losses;

  struct Shared {
    MomentumFactors factors;
    const float* before;  // of the first task; others are a stride apart
    float* after;
  };

  template <class X>
  GRAMSTEP_BODY void prepare(const X& x, const GramArguments& a, Shared& shared) const {
    momentum_factors(x, aggregator, a.momenta, losses, a.tasks, shared.factors);
    if (x.thread() == 0) {
      shared.before = a.momenta.before(0, a.tasks);
      shared.after = a.momenta.after(0, a.tasks);
    }
    x.sync();
  }

  template <class X>
  GRAMSTEP_BODY void fetch(const X&, const GramArguments& a, const Shared& shared, int k,
                           std::int64_t at, std::uint32_t* to) const {
    std::uint32_t words[4];
    take(a, shared, k, at, words);
    store(words, to);
  }

  GRAMSTEP_BODY std::uint32_t word(const GramArguments& a, const Shared& shared, int k,
                                   std::int64_t at, int available) const {
    std::uint32_t words[1] = {};
    if (available > 0) take(a, shared, k, at, words);
    return words[0];
  }

  /// A segment without gradient keeps its momenta.
  template <class X>
  GRAMSTEP_BODY void pass_over(const X& x, const GramArguments& a, const Chunk& chunk) const {
    for (int k = 0; k < a.tasks; ++k) {
      const float* from = a.momenta.before(k, a.tasks) + chunk.begin;
      float* to = a.momenta.after(k, a.tasks) + chunk.begin;
      for (int i = x.thread(); i < chunk.count; i += x.threads()) to[i] = from[i];
    }
  }

 private:
  /// Words of task k from element `at` on; beyond K zeros.
  template <int Width>
  GRAMSTEP_BODY void take(const GramArguments& a, const Shared& shared, int k, std::int64_t at,
                          std::uint32_t (&words)[Width]) const {
    float g[Width], m[Width] = {};
    if (k < a.tasks) {
      load(GradientType(a.row_type), a.rows[k], at, g);
      const std::int64_t place = k * a.momenta.stride + at;
      load(shared.before + place, m);
      GRAMSTEP_UNROLL
      for (int c = 0; c < Width; ++c) {
        m[c] = advance_momentum(shared.factors.keep[k], m[c], shared.factors.take[k], g[c]);
      }
      store(m, shared.after + place);
    }
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) words[c] = bits_of(m[c]);
  }
};

}  // namespace gramstep::kernels
