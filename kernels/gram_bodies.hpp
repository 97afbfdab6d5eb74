// Which body serves the gram stage: by the number of rows, their type, and whether they are momenta.
#pragma once

#include <type_traits>

#include "kernels/gram_tensor.hpp"

namespace gramstep::kernels {

/// Calls function(body) with the body for any K.
template <class Source, class Function>
void with_tensor_body(const GramArguments& a, const Source& source, const Function& function) {
  if (a.tasks <= 16) return function(GramTensorBody<Source, 16>{a, source});
  if (a.tasks <= 32) return function(GramTensorBody<Source, 32>{a, source});
  function(GramTensorBody<Source, 64>{a, source});
}

/// Calls function(body) with the body for gradients of a type and, where there are any, momenta.
template <class Type, class Function>
void with_gram_body_of(const GramArguments& a, const OneOfT<Aggregator>& aggregator,
                       const Losses& losses, const Function& function) {
  if (a.momenta.rows != nullptr) {
    return with_tensor_body(a, MomentumSource<Type>{aggregator, losses}, function);
  }
  if (a.tasks == 1) return function(GramBody<Type, 1>{a});
  if (a.tasks == 2) return function(GramBody<Type, 2>{a});
  if (a.tasks <= 4) return function(GramBody<Type, 4>{a});
  if (a.tasks <= 8) return function(GramBody<Type, 8>{a});
  if constexpr (std::is_same_v<Type, Float32>) {
    with_tensor_body(a, GradientSource<Float32>{}, function);
  } else if (a.row_type == DType::bfloat16) {
    with_tensor_body(a, GradientSource<Bfloat16>{}, function);
  } else {
    with_tensor_body(a, GradientSource<Float16>{}, function);
  }
}

/// Calls function(body) with the body for the rows that there are.
template <class Function>
void with_gram_body(const GramArguments& a, const OneOfT<Aggregator>& aggregator,
                    const Losses& losses, const Function& function) {
  if (a.row_type == DType::float32) {
    with_gram_body_of<Float32>(a, aggregator, losses, function);
  } else {
    with_gram_body_of<AnyType>(a, aggregator, losses, function);
  }
}

}  // namespace gramstep::kernels
