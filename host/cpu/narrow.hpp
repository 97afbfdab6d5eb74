// Runs of fp32 back to memory of any type, rounded as the step's storage says.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "host/cpu/widen.hpp"

namespace gramstep::host {
namespace {

typedef std::uint64_t Longs __attribute__((vector_size(GRAMSTEP_VECTOR_BYTES)));
constexpr int long_lanes = GRAMSTEP_VECTOR_BYTES / 8;

/// The products of the lower 32 bits of every lane: one instruction, which compilers do not find.
[[gnu::always_inline]] inline Longs multiply_lower(Longs a, std::uint32_t b) {
  const Longs factors = Longs{} + b;
#if defined(__AVX512F__)
  // Masked with zeros where there is no mask: without, g++ takes its header's register for not set.
  return reinterpret_cast<Longs>(_mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(a),
                                                        reinterpret_cast<__m512i>(factors)));
#elif defined(__AVX2__)
  return reinterpret_cast<Longs>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(factors)));
#elif defined(__SSE2__) && !defined(__AVX__)
  return reinterpret_cast<Longs>(
      _mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(factors)));
#else
  return (a & 0xffffffff) * factors;
#endif
}

/// The random bits of a run's elements, 16 each.
struct RunBits {
  static constexpr int draws =
      run_elements / kernels::elements_a_draw + 1;  // a run may begin amid eight
  static constexpr int room = (draws + long_lanes - 1) / long_lanes * long_lanes;
  alignas(64) std::uint16_t bits[room * kernels::elements_a_draw];

  /// As kernels::random_bits: of `count` elements from `at` on. Returns the first one's. The words' halves
  /// lie in this processor's order, the lower one first.
  const std::uint16_t* draw(const kernels::Storage& storage, std::int64_t step, std::uint32_t what,
                            std::int64_t at, int count) {
    const std::int64_t first = at / kernels::elements_a_draw;
    const std::int64_t last = (at + count - 1) / kernels::elements_a_draw;
    const PhiloxWords counter = kernels::draw_counter(step, what, 0);
    Longs eight{};
    for (int lane = 0; lane < long_lanes; ++lane) {
      eight[lane] = static_cast<std::uint64_t>(first + lane);
    }
    for (std::int64_t e = first; e <= last; e += long_lanes, eight += long_lanes) {
      Longs word[4] = {eight, (eight >> 32) | counter.word[1], Longs{} + counter.word[2],
                       Longs{} + counter.word[3]};
      philox(storage.seed, word);
      const Longs lower = (word[0] & 0xffffffff) | (word[1] << 32);
      const Longs upper = (word[2] & 0xffffffff) | (word[3] << 32);
      std::uint16_t* to = bits + (e - first) * kernels::elements_a_draw;
      for (int lane = 0; lane < long_lanes; ++lane, to += kernels::elements_a_draw) {
        const std::uint64_t words[2] = {lower[lane], upper[lane]};
        __builtin_memcpy(to, words, sizeof words);
      }
    }
    return bits + at % kernels::elements_a_draw;
  }

 private:
  /// gramstep::philox of a lane each; what is above 32 bits is not looked at.
  [[gnu::always_inline]] static void philox(std::uint64_t key, Longs (&word)[4]) {
    auto key0 = static_cast<std::uint32_t>(key), key1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      const Longs product0 = multiply_lower(word[0], 0xD2511F53);
      const Longs product1 = multiply_lower(word[2], 0xCD9E8D57);
      word[0] = (product1 >> 32) ^ word[1] ^ key0;
      word[2] = (product0 >> 32) ^ word[3] ^ key1;
      word[1] = product1;
      word[3] = product0;
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
  }
};

/// `count` elements to memory of that type, to nearest even.
[[gnu::noinline]] void narrow_run(DType dtype, const float* from, int count, void* to,
                                  std::int64_t at) {
  void* run = element_at(dtype, to, at);
  if (dtype == DType::float32) {
    return convert_run(from, static_cast<float*>(run), count, [](float v, int) { return v; });
  }
  with_half(dtype, [&](auto half) {
    convert_run(from, static_cast<std::uint16_t*>(run), count,
                [=](float v, int) { return half.nearest(v); });
  });
}

/// The same as the storage says to round, for the draw of that number.
[[gnu::noinline]] void round_run(const kernels::Storage& storage, DType dtype, std::int64_t step,
                                 std::uint32_t draw, const float* from, int count, void* to,
                                 std::int64_t at) {
  if (dtype == DType::float32 || storage.rounding != Rounding::stochastic) {
    return narrow_run(dtype, from, count, to, at);
  }
  RunBits room;
  const std::uint16_t* random = room.draw(storage, step, draw, at, count);
  with_half(dtype, [&](auto half) {
    convert_run(from, static_cast<std::uint16_t*>(element_at(dtype, to, at)), count,
                [=](float v, int i) { return half.stochastic(v, random[i]); });
  });
}

/// State s of 8 bits: see kernels::load_state and kernels::store_blocks. Runs begin with a block.
template <bool Signed>
void decode_blocks(const kernels::Storage& storage, int s, const void* from, std::int64_t at,
                   int count, float* __restrict to) {
  const auto* __restrict codes = static_cast<const std::uint8_t*>(from) + at;
  for (int first = 0; first < count; first += kernels::block8) {
    const int last = count - first < kernels::block8 ? count : first + kernels::block8;
    const float scale = storage.scales[s][(at + first) / kernels::block8];
    GRAMSTEP_INDEPENDENT
    for (int i = first; i < last; ++i) to[i] = kernels::decoded<Signed>(codes[i], scale);
  }
}
[[gnu::noinline]] void decode_run(const kernels::Storage& storage, int s, const void* from,
                                  std::int64_t at, int count, float* to) {
  storage.has_sign(s) ? decode_blocks<true>(storage, s, from, at, count, to)
                      : decode_blocks<false>(storage, s, from, at, count, to);
}

template <bool Signed>
void encode_blocks(const kernels::Storage& storage, int s, const std::uint16_t* random,
                   const float* __restrict from, int count, void* to, std::int64_t at) {
  auto* __restrict codes = static_cast<std::uint8_t*>(to) + at;
  for (int first = 0; first < count; first += kernels::block8) {
    const int last = count - first < kernels::block8 ? count : first + kernels::block8;
    std::uint32_t largest = 0;
    for (int i = first; i < last; ++i) {
      const std::uint32_t magnitude = kernels::bits_of(from[i]) & ~kernels::sign_bit;
      largest = magnitude > largest ? magnitude : largest;
    }
    const float inverse = kernels::inverse_of(Signed, kernels::float_of(largest));
    storage.scales[s][(at + first) / kernels::block8] =
        kernels::scale_of(Signed, kernels::float_of(largest));
    if (random == nullptr) {
      GRAMSTEP_INDEPENDENT
      for (int i = first; i < last; ++i) codes[i] = kernels::encoded(Signed, from[i], inverse);
    } else {
      GRAMSTEP_INDEPENDENT
      for (int i = first; i < last; ++i) {
        codes[i] = kernels::encoded(Signed, from[i], inverse, random[i]);
      }
    }
  }
}
[[gnu::noinline]] void encode_run(const kernels::Storage& storage, int s, std::int64_t step,
                                  const float* from, int count, void* to, std::int64_t at) {
  RunBits room;
  const std::uint16_t* random = nullptr;
  if (storage.rounding == Rounding::stochastic) {
    random =
        room.draw(storage, step, kernels::states_draw + static_cast<std::uint32_t>(s), at, count);
  }
  storage.has_sign(s) ? encode_blocks<true>(storage, s, random, from, count, to, at)
                      : encode_blocks<false>(storage, s, random, from, count, to, at);
}

/// Runs [at, at + count) of parameters: see kernels::load_params and kernels::store_params.
[[gnu::noinline]] void widen_params(const kernels::UpdateArguments& a, bool first, std::int64_t at,
                                    int count, float* to) {
  const kernels::Storage& storage = a.storage;
  if (storage.master != nullptr && !first) {
    prefetch_run(storage.master + at + run_elements);
    return widen_run(DType::float32, storage.master, at, count, to);
  }
  prefetch_run(storage.params, element_at(storage.params, a.params, at + run_elements));
  widen_run(storage.params, a.params, at, count, to);
  if (storage.low == nullptr) return;
  const auto* low = static_cast<const std::uint16_t*>(storage.low) + at;
  prefetch_run(storage.params, low + run_elements);
  if (storage.remainder) {
    GRAMSTEP_INDEPENDENT
    for (int i = 0; i < count; ++i) to[i] = kernels::Split::join(to[i], low[i]);
    return;
  }
  with_half(storage.params, [&](auto half) {
    GRAMSTEP_INDEPENDENT
    for (int i = 0; i < count; ++i) to[i] = to[i] + half.widen(low[i]);
  });
}

[[gnu::noinline]] void keep_params(const kernels::UpdateArguments& a, const float* __restrict from,
                                   std::int64_t at, int count) {
  const kernels::Storage& storage = a.storage;
  if (storage.master != nullptr) {
    narrow_run(DType::float32, from, count, storage.master, at);
    return narrow_run(storage.params, from, count, a.params, at);
  }
  if (storage.low == nullptr) {
    return round_run(storage, storage.params, a.plan->step, kernels::params_draw, from, count,
                     a.params, at);
  }
  auto* __restrict upper = static_cast<std::uint16_t*>(a.params) + at;
  auto* __restrict low = static_cast<std::uint16_t*>(storage.low) + at;
  if (storage.remainder) {
    GRAMSTEP_INDEPENDENT
    for (int i = 0; i < count; ++i) {
      const kernels::Split split = kernels::Split::of(from[i]);
      upper[i] = split.upper;
      low[i] = split.remainder;
    }
    return;
  }
  with_half(storage.params, [&](auto half) {
    GRAMSTEP_INDEPENDENT
    for (int i = 0; i < count; ++i) {
      upper[i] = half.nearest(from[i]);
      low[i] = half.nearest(from[i] - half.widen(upper[i]));
    }
  });
}

/// See kernels::store_params.
[[gnu::noinline]] void narrow_params(const kernels::UpdateArguments& a, bool first,
                                     const float* __restrict from, std::int64_t at, int count) {
  const kernels::Storage& storage = a.storage;
  if (storage.delta.to == nullptr) {
    keep_params(a, from, at, count);
  } else {
    alignas(64) float delta[run_elements];
    widen_params(a, first, at, count, delta);
    GRAMSTEP_INDEPENDENT
    for (int i = 0; i < count; ++i) delta[i] = from[i] - delta[i];
    narrow_run(storage.delta.dtype, delta, count, storage.delta.to, at);
  }
  if (storage.copy.to != nullptr) {
    narrow_run(storage.copy.dtype, from, count, storage.copy.to, at);
  }
  if (storage.ema == nullptr) return;
  float* __restrict ema = storage.ema + at;
  const float taken = storage.ema_taken;
  prefetch_run(ema + run_elements);
  GRAMSTEP_INDEPENDENT
  for (int i = 0; i < count; ++i) ema[i] = first ? from[i] : lerp(ema[i], from[i], taken);
}

/// Leaves the gradients of a chunk at zero.
void zero_gradients(const kernels::UpdateArguments& a, const kernels::Chunk& chunk) {
  const kernels::Zeroed& to = a.zeroed;
  const auto zero = [&](void* row, std::int64_t at) {
    __builtin_memset(element_at(to.dtype, row, at), 0,
                     static_cast<std::size_t>(chunk.count * size_of(to.dtype)));
  };
  if (chunk.begin >= a.work.shared_size) return zero(to.heads, chunk.begin - a.work.shared_size);
  for (int k = 0; k < a.tasks; ++k) zero(to.rows[k], chunk.begin);
}

}  // namespace
}  // namespace gramstep::host
