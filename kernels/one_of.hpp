// OneOf: a variant that a kernel can be handed by value and visit.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <variant>

#include "gramstep/export.hpp"

namespace gramstep::kernels {

/// The value of a std::variant of trivially copyable types, visitable on host and device, where
/// std::visit is not.
template <class... Types>
class OneOf {
 public:
  static_assert((std::is_trivially_copyable_v<Types> && ...));

  OneOf() : which_(0) { hold(std::variant_alternative_t<0, std::variant<Types...>>{}); }
  explicit OneOf(const std::variant<Types...>& value) : which_(static_cast<int>(value.index())) {
    std::visit([this](const auto& held) { this->hold(held); }, value);
  }

  /// Calls function(held).
  template <class Function>
  GRAMSTEP_BODY void visit(const Function& function) const {
    int index = 0;
    // None is asked after the one that is held: on a device every question jumps over a function's code.
    static_cast<void>(
        ((index++ == which_ && (function(*reinterpret_cast<const Types*>(bytes_)), true)) || ...));
  }

 private:
  template <class Held>
  void hold(const Held& held) {
    if constexpr (!std::is_empty_v<Held>) std::memcpy(bytes_, &held, sizeof(held));
  }

  int which_;
  alignas(std::max({alignof(Types)...})) unsigned char bytes_[std::max({sizeof(Types)...})] = {};
};

template <class Variant>
struct OneOfVariant;
template <class... Types>
struct OneOfVariant<std::variant<Types...>> {
  using type = OneOf<Types...>;
};
/// The OneOf that holds what a std::variant holds.
template <class Variant>
using OneOfT = typename OneOfVariant<Variant>::type;

}  // namespace gramstep::kernels
