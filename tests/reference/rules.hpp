// The rules, naively: torch.optim's formulas, one tensor, one element after another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/reference/bounded.hpp"

namespace gramstep::reference {

enum class Method {
  sgd,
  adam,
  adamw,
  nadam,
  radam,
  adamax,
  adagrad,
  adadelta,
  rmsprop,
  lion,
  ademamix,
  lamb,
  lars,
  schedule_free_sgd,
  schedule_free_adamw,
  adafactor,
  muon,
};

struct RuleOptions {
  Method method = Method::sgd;
  double lr = 1e-3;
  double weight_decay = 0;
  bool maximize = false;
  double momentum = 0;    // sgd, rmsprop, lars, schedule_free_sgd, muon
  double dampening = 0;   // sgd
  bool nesterov = false;  // sgd, lars, muon
  double beta1 = 0.9;     // Adam and its kin, lion
  double beta2 = 0.999;
  double epsilon = 1e-8;     // all but sgd and lion; adafactor: its first
  bool epsilon_hat = false;  // adam, adamw: epsilon before bias correction
  bool amsgrad = false;
  bool decoupled = false;      // nadam, radam: weight decay as AdamW's
  double momentum_decay = 0;   // nadam
  double alpha = 0.99;         // rmsprop; rho of adadelta
  bool centered = false;       // rmsprop
  double lr_decay = 0;         // adagrad
  double first_sum = 0;        // adagrad: initial_accumulator_value
  double beta3 = 0.9999;       // ademamix
  double slow_weight = 5;      // ademamix: its alpha
  double beta3_warmup = 0;     // ademamix, steps
  double alpha_warmup = 0;     // ademamix, steps
  bool always_adapt = true;    // lamb, lars: without weight decay too
  double trust = 1e-3;         // lars: its trust_coefficient
  double r = 0;                // schedule-free
  double weight_lr_power = 2;  // schedule-free
  double beta2_decay = -0.8;   // adafactor
  double epsilon2 = 1e-3;      // adafactor
  double d = 1;                // adafactor
  std::int64_t ns_steps = 5;   // muon
  double ns_a = 0, ns_b = 0, ns_c = 0, ns_epsilon = 1e-7;
  bool match_rms_adamw = false;
  double rest_lr_scale = 1;  // muon: of its AdamW
};

/// One tensor's state. Number is double, or Bounded for double with a bound on fp32's error.
template <class Number>
class RuleState {
 public:
  explicit RuleState(std::size_t size) : size_(size) {}

  /// A buffer by torch's name, zeros where it is new.
  std::vector<Number>& operator[](std::string_view name) { return buffer(name, size_); }
  std::vector<Number>& buffer(std::string_view name, std::size_t size) {
    return buffers_.try_emplace(std::string(name), size).first->second;
  }

  int rank = 1;                       // dimensions of the tensor
  std::size_t rows = 0, columns = 0;  // the last two of them
  std::int64_t t = 0;                 // steps taken
  double mu_product = 1;
  double weight_sum = 0, lr_max = 0;

 private:
  std::size_t size_;
  std::map<std::string, std::vector<Number>> buffers_;
};

/// One step of one tensor, of double or Bounded.
template <class Number>
void update(const RuleOptions& options, const std::vector<Number>& gradient,
            std::vector<Number>& params, RuleState<Number>& state);

/// x of a schedule-free rule, from y, the parameters.
template <class Number>
std::vector<Number> averaged(const RuleOptions& options, const std::vector<Number>& params,
                             RuleState<Number>& state);

}  // namespace gramstep::reference
