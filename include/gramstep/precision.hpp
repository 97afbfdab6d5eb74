// Precision: the types that parameters, gradients and state are stored in, and how they are rounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

#include "gramstep/export.hpp"

namespace gramstep::inline v1 {

/// A bfloat16 number as it is stored: the upper half of an fp32. Arithmetic is fp32's alone.
enum class bfloat16 : std::uint16_t {};
/// An IEEE 754 binary16 number as it is stored.
enum class float16 : std::uint16_t {};

/// What the elements of a buffer are.
enum class DType : std::int32_t {
  float32,
  bfloat16,
  float16,
  int16,     ///< of Master::remainder's remainders alone
  dynamic8,  ///< of state alone: codes of 8 bits, whose scales, one for every 128 elements, are fp32
};

/// The DType of a C++ type. To hand over memory of a type of one's own, such as __nv_bfloat16:
///   template <> inline constexpr gramstep::DType gramstep::dtype_of<__nv_bfloat16> =
///       gramstep::DType::bfloat16;
template <class T>
inline constexpr std::optional<DType> dtype_of = std::nullopt;
template <>
inline constexpr std::optional<DType> dtype_of<float> = DType::float32;
template <>
inline constexpr std::optional<DType> dtype_of<bfloat16> = DType::bfloat16;
template <>
inline constexpr std::optional<DType> dtype_of<float16> = DType::float16;
template <>
inline constexpr std::optional<DType> dtype_of<std::int16_t> = DType::int16;

/// A type that elements of buffers can have.
template <class T>
concept Element = dtype_of<std::remove_cv_t<T>>.has_value();

/// Bytes of an element.
GRAMSTEP_BOTH constexpr std::int64_t size_of(DType dtype) {
  return dtype == DType::float32 ? 4 : dtype == DType::dynamic8 ? 1 : 2;
}

/// "float32", "bfloat16", "float16", "int16" or "dynamic8".
constexpr std::string_view name_of(DType dtype) {
  constexpr std::string_view names[] = {"float32", "bfloat16", "float16", "int16", "dynamic8"};
  return names[static_cast<std::size_t>(dtype)];
}

/// Where fp32 parameters are kept beside parameters of 16 bits.
enum class Master {
  none,     ///< nowhere
  float32,  ///< state "master", [N] fp32: begins as the parameters are in a segment's first step
  /// State "remainder", [N] int16: the 16 bits by which an fp32 number differs from the bfloat16 that is its
  /// parameter. The two together are exact. The bfloat16 is the nearest one, the greater of two in magnitude.
  remainder,
};

/// How parameters of 16 bits without a master, and state of 16 and of 8 bits, are rounded. To nearest, what a step
/// changes by less than half a place stays as it is: a second moment whose decay is 0.999 hardly moves in 8 bits.
enum class Rounding {
  nearest,  ///< to nearest even
  /// Up or down at random, with the exact number for the mean: by 16 bits of Philox, keyed on seed, step and
  /// place in the flat buffer, so that they are the same on every device and for any split of the buffer.
  stochastic,
  /// Parameters to nearest even, and what that loses is kept in state "compensation", [N] of the parameters'
  /// type, and added in the next step; state to nearest even. What a bfloat16 compensation still loses is
  /// an update below 2^-17 of its parameter. Kahan 1965.
  kahan,
};

/// How everything is stored. Arithmetic is fp32 whatever the types; every conversion to 16 bits keeps NaN and
/// infinity, and overflows to infinity. fp32's subnormals are flushed to zero, so bfloat16's are; float16's
/// are kept.
struct Precision {
  DType params = DType::float32;     ///< float32, bfloat16 or float16
  DType gradients = DType::float32;  ///< of all rows and heads; float32, bfloat16 or float16
  Master master = Master::none;      ///< needs 16-bit parameters, remainder bfloat16
  /// Of the rule's state by element, float32, bfloat16 or dynamic8; not for rules that treat matrices apart, or
  /// whose state is a point, as the schedule-free rules' z. The scales of state "exp_avg" in dynamic8 are state
  /// "exp_avg_scale".
  DType states = DType::float32;
  Rounding rounding = Rounding::nearest;
  std::uint64_t seed = 0;  ///< of stochastic rounding
  friend bool operator==(const Precision&, const Precision&) = default;
};

}  // namespace gramstep::inline v1
