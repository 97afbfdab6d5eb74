// How the memory of a step is stored. Types are data here, no template parameters: one instance of a body
// more, that asks for them, serves all of them; where everything is fp32 the bodies have no such question
// in them.
#pragma once

#include "gramstep/rules/common.hpp"
#include "kernels/dynamic8.hpp"
#include "kernels/numbers.hpp"
#include "kernels/vectors.hpp"

namespace gramstep::kernels {

/// The type of elements that a body is compiled for.
struct Float32 {
  GRAMSTEP_BODY explicit Float32(DType) {}
};

/// Any type, which the body asks for.
struct AnyType {
  DType dtype;

  GRAMSTEP_BODY explicit AnyType(DType its_dtype) : dtype(its_dtype) {}
};

/// Memory of the caller's that an element is written to; null: none.
struct Output {
  void* to;
  DType dtype;
};

/// Most state buffers a rule has; an element has three at most.
inline constexpr int max_states = 4;

/// What the update stage is told of types, and of what it keeps and writes beside parameters and state.
struct Storage {
  DType params;
  DType rows;
  DType heads;
  DType states;
  float* scales[max_states];     // of states of 8 bits: one a block
  std::uint32_t never_negative;  // which of them: bit s of state s
  Rounding rounding;
  std::uint64_t seed;
  float* master;  // fp32 parameters; null: none
  void* low;      // remainders, or compensations of the parameters' type; null: none
  bool remainder;
  float* ema;       // mean of the parameters; null: none
  float ema_taken;  // what it takes of a step's
  bool zeroes;      // whether gradients are left at zero
  Output copy;      // of the parameters after the step
  Output delta;     // what the step would add to them, which then stay as they are

  GRAMSTEP_BOTH bool has_sign(int s) const { return (never_negative >> s & 1) == 0; }
  GRAMSTEP_BOTH bool in_blocks() const { return states == DType::dynamic8; }

  /// Whether all is as the bodies without questions take it.
  GRAMSTEP_BOTH bool plain() const {
    return params == DType::float32 && rows == DType::float32 && heads == DType::float32 &&
           states == DType::float32 && ema == nullptr && !zeroes && copy.to == nullptr &&
           delta.to == nullptr;
  }
};

/// An element of 16 bits in fp32. Both ways: a uniform choice is dearer than the shift.
GRAMSTEP_BODY float widened(DType dtype, std::uint16_t stored) {
  return dtype == DType::bfloat16 ? Bfloat16::widen(stored) : Float16::widen(stored);
}
GRAMSTEP_BODY std::uint16_t narrowed(DType dtype, float value) {
  return dtype == DType::bfloat16 ? Bfloat16::nearest(value) : Float16::nearest(value);
}
GRAMSTEP_BODY std::uint16_t narrowed(DType dtype, float value, std::uint32_t random) {
  return dtype == DType::bfloat16 ? Bfloat16::stochastic(value, random)
                                  : Float16::stochastic(value, random);
}

/// Width elements of that type from element `at` on, which is aligned to them, or a few.
template <int Width, class At>
GRAMSTEP_BODY void load(Float32, const void* from, const At& at, float (&to)[Width]) {
  load(static_cast<const float*>(from), at, to);
}
template <int Width, class At>
GRAMSTEP_BODY void load(AnyType type, const void* from, const At& at, float (&to)[Width]) {
  if (type.dtype == DType::float32) return load(static_cast<const float*>(from), at, to);
  std::uint16_t stored[Width];
  load(static_cast<const std::uint16_t*>(from), at, stored);
  GRAMSTEP_UNROLL
  for (int c = 0; c < Width; ++c) to[c] = widened(type.dtype, stored[c]);
}

/// State s of four elements, whatever its type.
template <class At>
GRAMSTEP_BODY void load_state(const Storage& storage, int s, const void* from, const At& at,
                              float (&to)[4]) {
  if (!storage.in_blocks()) return load(AnyType(storage.states), from, at, to);
  std::uint8_t codes[4];
  load(static_cast<const std::uint8_t*>(from), at, codes);
  const float scale = storage.scales[s][first_of(at) / block8];
  GRAMSTEP_UNROLL
  for (int c = 0; c < 4; ++c) to[c] = decoded(storage.has_sign(s), codes[c], scale);
}

/// Width elements to memory of that type, to nearest even.
template <int Width, class At>
GRAMSTEP_BODY void store(DType dtype, const float (&from)[Width], void* to, const At& at) {
  if (dtype == DType::float32) return store(from, static_cast<float*>(to), at);
  std::uint16_t stored[Width];
  GRAMSTEP_UNROLL
  for (int c = 0; c < Width; ++c) stored[c] = narrowed(dtype, from[c]);
  store(stored, static_cast<std::uint16_t*>(to), at);
}

/// The random bits of the eight elements that `at` is one of. Called: a kernel would have them for every
/// stream.
GRAMSTEP_OUTLINED PhiloxWords drawn_for(std::uint64_t seed, std::int64_t step, std::uint32_t draw,
                                        std::int64_t at) {
  return philox(seed, draw_counter(step, draw, at / elements_a_draw));
}

/// Four elements, the first at a multiple of four, as the storage says to round, for the draw of that number.
template <class At>
GRAMSTEP_BODY void store_rounded(const Storage& storage, DType dtype, std::int64_t step,
                                 std::uint32_t draw, const float (&from)[4], void* to,
                                 const At& at) {
  if (dtype == DType::float32 || storage.rounding != Rounding::stochastic) {
    return store(dtype, from, to, at);
  }
  const PhiloxWords drawn = drawn_for(storage.seed, step, draw, first_of(at));
  const bool second = (first_of(at) & 4) != 0;  // half of the words
  std::uint16_t stored[4];
  GRAMSTEP_UNROLL
  for (int c = 0; c < 4; ++c) {
    stored[c] = narrowed(dtype, from[c], random_bits(drawn, second ? c + 4 : c));
  }
  store(stored, static_cast<std::uint16_t*>(to), at);
}

/// Parameters in fp32, as exactly as they are kept. `first_step`: of their segment, when a master is not yet
/// there.
template <int Width, class At>
GRAMSTEP_BODY void load_params(const Storage& storage, const void* params, bool first_step,
                               const At& at, float (&p)[Width]) {
  if (storage.master != nullptr && !first_step) return load(storage.master, at, p);
  load(AnyType(storage.params), params, at, p);
  if (storage.low == nullptr) return;
  std::uint16_t low[Width];
  load(static_cast<const std::uint16_t*>(storage.low), at, low);
  GRAMSTEP_UNROLL
  for (int c = 0; c < Width; ++c) {
    p[c] = storage.remainder ? Split::join(p[c], low[c]) : p[c] + widened(storage.params, low[c]);
  }
}

/// Four of them back.
template <class At>
GRAMSTEP_BODY void keep_params(const Storage& storage, std::int64_t step, const float (&p)[4],
                               void* params, const At& at) {
  if (storage.master != nullptr) {
    store(p, storage.master, at);
    return store(storage.params, p, params, at);
  }
  if (storage.low == nullptr) {
    return store_rounded(storage, storage.params, step, params_draw, p, params, at);
  }
  std::uint16_t upper[4], low[4];
  GRAMSTEP_UNROLL
  for (int c = 0; c < 4; ++c) {
    if (storage.remainder) {
      const Split split = Split::of(p[c]);
      upper[c] = split.upper;
      low[c] = split.remainder;
    } else {
      upper[c] = narrowed(storage.params, p[c]);
      low[c] = narrowed(storage.params, p[c] - widened(storage.params, upper[c]));
    }
  }
  store(upper, static_cast<std::uint16_t*>(params), at);
  store(low, static_cast<std::uint16_t*>(storage.low), at);
}

/// The same, or the difference, and what else is asked for. `first_step`: see load_params.
template <class At>
GRAMSTEP_BODY void store_params(const Storage& storage, std::int64_t step, bool first_step,
                                const float (&before)[4], const float (&p)[4], void* params,
                                const At& at) {
  if (storage.delta.to == nullptr) {
    keep_params(storage, step, p, params, at);
  } else {
    float delta[4];
    GRAMSTEP_UNROLL
    for (int c = 0; c < 4; ++c) delta[c] = p[c] - before[c];
    store(storage.delta.dtype, delta, storage.delta.to, at);
  }
  if (storage.copy.to != nullptr) store(storage.copy.dtype, p, storage.copy.to, at);
  if (storage.ema == nullptr) return;
  float ema[4];
  load(storage.ema, at, ema);
  GRAMSTEP_UNROLL
  for (int c = 0; c < 4; ++c) {
    ema[c] = first_step ? p[c] : lerp(ema[c], p[c], storage.ema_taken);
  }
  store(ema, storage.ema, at);
}

}  // namespace gramstep::kernels
