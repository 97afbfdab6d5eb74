// Unfused: the same step as people write it by hand, pass after pass.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include <gramstep/gramstep.hpp>

#include "backend.hpp"
#include "passes.hpp"

namespace two_digits {

/// A second optimizer, to time and to compare: it projects copies of the gradients with K^2 dot
/// products, sums them, and updates by one pass for each term of the rule. It has parameters and
/// state of its own.
class Unfused {
 public:
  /// Whether the step was written by hand for these options.
  static bool written_for(const gramstep::OptimizerOptions& options);

  Unfused(Backend<float>& backend, const gramstep::Layout& layout, gramstep::Rule rule,
          gramstep::Aggregator aggregator);

  /// Takes over the parameters and the state of an optimizer.
  void copy_from(gramstep::Optimizer& optimizer, std::span<const float> params);

  /// Takes step `t`, 1 for the first.
  void step(const gramstep::Gradients& gradients, std::int64_t t);

  std::span<float> params() const { return params_.span(); }

 private:
  void combine(const gramstep::Sum&, const gramstep::Gradients& gradients);
  void combine(const gramstep::PCGrad&, const gramstep::Gradients& gradients);
  void update(const gramstep::SGD& rule, std::int64_t t);
  void update(const gramstep::Adam& rule, std::int64_t t);
  void update(const gramstep::AdamW& rule, std::int64_t t);
  template <class AdamOptions>
  void update_moments(const AdamOptions& rule, std::int64_t t);

  template <class Function>
  void for_decaying_segments(double weight_decay, Function function);
  std::span<float> state(const std::string& name);

  Backend<float>& backend_;
  std::unique_ptr<Passes> passes_;
  gramstep::Layout layout_;
  gramstep::Rule rule_;
  gramstep::Aggregator aggregator_;
  Buffer<float> params_;
  Buffer<float> gradient_;   // combined, and the heads'
  Buffer<float> projected_;  // one row
  std::map<std::string, Buffer<float>> state_;
};

}  // namespace two_digits
