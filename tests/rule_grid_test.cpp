// Every rule with every option through the public class, against the reference, within its bounds.
#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

/// The rules, and each of them again with another value of one option.
template <class Held, class Value>
std::vector<Held> vary(std::vector<Held> rules, Value Held::* option, Value value) {
  const std::size_t count = rules.size();
  for (std::size_t r = 0; r < count; ++r) {
    rules.push_back(rules[r]);
    rules.back().*option = value;
  }
  return rules;
}

/// With weight decay and without, up and down.
template <class Held>
std::vector<Held> vary(const Held& rule) {
  return vary(vary(std::vector{rule}, &Held::weight_decay, 0.1), &Held::maximize, true);
}

/// 25 steps of every rule over segments of all edge sizes, lr changed midway.
template <class Held>
void expect_close(const std::vector<Held>& rules) {
  double share = 0;
  for (const Held& rule : rules) {
    SCOPED_TRACE(text_of(Rule(rule)));
    Twin twin(mixed_layout(1, few_edge_sizes), {.rule = rule, .device = cpu(1)});
    twin.draw_and_step(12);
    twin.set_lr(0.02);
    twin.draw_and_step(13);
    share = std::max(share, twin.expect_close());
  }
  record_share(share);
}

TEST(RuleGrid, Sgd) {
  const std::vector<SGD> plain = vary(SGD{.lr = 0.05});
  expect_close(plain);
  const std::vector<SGD> momentum = vary(SGD{.lr = 0.05, .momentum = 0.9});
  expect_close(vary(momentum, &SGD::dampening, 0.3));
  expect_close(vary(SGD{.lr = 0.05, .momentum = 0.9, .nesterov = true}));
}

template <class AdamLike>
std::vector<AdamLike> adam_grid() {
  const AdamLike rule{.lr = 0.01, .beta1 = 0.8, .beta2 = 0.95, .weight_decay = 0};
  const auto rules = vary(vary(rule), &AdamLike::amsgrad, true);
  return vary(vary(rules, &AdamLike::epsilon, 1e-3), &AdamLike::epsilon_hat, true);
}

TEST(RuleGrid, Adam) { expect_close(adam_grid<Adam>()); }
TEST(RuleGrid, AdamW) { expect_close(adam_grid<AdamW>()); }

TEST(RuleGrid, NAdam) {
  const auto rules = vary(NAdam{.lr = 0.01, .beta1 = 0.8, .beta2 = 0.95});
  expect_close(
      vary(vary(rules, &NAdam::decoupled_weight_decay, true), &NAdam::momentum_decay, 0.5));
}

/// beta2 = 0.95: step 7 is the first that is rectified; 0.5: none is.
TEST(RuleGrid, RAdam) {
  const auto rules = vary(RAdam{.lr = 0.01, .beta1 = 0.8, .beta2 = 0.95});
  expect_close(vary(vary(rules, &RAdam::decoupled_weight_decay, true), &RAdam::beta2, 0.5));
}

TEST(RuleGrid, Adamax) {
  expect_close(vary(vary(Adamax{.lr = 0.01, .beta1 = 0.8, .beta2 = 0.9}), &Adamax::epsilon, 1e-3));
}

TEST(RuleGrid, Adagrad) {
  const auto rules = vary(Adagrad{.lr = 0.05});
  expect_close(
      vary(vary(rules, &Adagrad::lr_decay, 0.25), &Adagrad::initial_accumulator_value, 0.5));
}

TEST(RuleGrid, Adadelta) {
  expect_close(vary(vary(vary(Adadelta{}), &Adadelta::rho, 0.5), &Adadelta::epsilon, 1e-3));
}

TEST(RuleGrid, RMSprop) {
  const auto rules = vary(RMSprop{.lr = 0.01, .alpha = 0.9});
  expect_close(vary(vary(rules, &RMSprop::momentum, 0.8), &RMSprop::centered, true));
}

TEST(RuleGrid, Lion) { expect_close(vary(vary(Lion{.lr = 0.01}), &Lion::beta1, 0.5)); }

TEST(RuleGrid, AdEMAMix) {
  const auto rules = vary(AdEMAMix{.lr = 0.01, .beta1 = 0.8, .beta2 = 0.95, .beta3 = 0.999});
  const std::int64_t within = 40, over = 10;
  expect_close(vary(vary(rules, &AdEMAMix::beta3_warmup, within), &AdEMAMix::alpha_warmup, over));
  expect_close(vary(vary(rules, &AdEMAMix::beta3_warmup, over), &AdEMAMix::alpha_warmup, within));
}

TEST(RuleGrid, LAMB) {
  const auto rules = vary(LAMB{.lr = 0.01, .beta1 = 0.8, .beta2 = 0.95});
  expect_close(vary(vary(rules, &LAMB::always_adapt, false), &LAMB::epsilon, 1e-3));
}

TEST(RuleGrid, LARS) {
  const auto rules = vary(LARS{.lr = 0.1, .momentum = 0.8, .trust_coefficient = 0.1});
  const auto more = vary(vary(rules, &LARS::nesterov, true), &LARS::always_adapt, false);
  expect_close(vary(vary(more, &LARS::epsilon, 0.5), &LARS::momentum, 0.0));
}

TEST(RuleGrid, Adafactor) {
  const auto rules = vary(Adafactor{.lr = 0.05});
  const auto more = vary(vary(rules, &Adafactor::beta2_decay, -0.5), &Adafactor::d, 0.25);
  expect_close(vary(vary(more, &Adafactor::epsilon2, 2.0), &Adafactor::epsilon1, 0.5));
}

/// One iteration: of five there is no bound that says anything.
TEST(RuleGrid, Muon) {
  const auto rules = vary(Muon{.lr = 0.01, .momentum = 0.8, .ns_steps = 1, .beta2 = 0.95});
  const auto more = vary(vary(rules, &Muon::nesterov, false), &Muon::match_rms_adamw, true);
  expect_close(vary(vary(more, &Muon::adamw_lr_scale, 0.5), &Muon::epsilon, 64.0));
}

TEST(RuleGrid, ScheduleFreeSGD) {
  const auto rules = vary(ScheduleFreeSGD{.lr = 0.05});
  expect_close(vary(vary(rules, &ScheduleFreeSGD::r, 0.5), &ScheduleFreeSGD::weight_lr_power, 1.0));
}

TEST(RuleGrid, ScheduleFreeAdamW) {
  const auto rules = vary(ScheduleFreeAdamW{.lr = 0.01, .beta2 = 0.95});
  expect_close(
      vary(vary(rules, &ScheduleFreeAdamW::r, 2.0), &ScheduleFreeAdamW::weight_lr_power, 0.0));
}

}  // namespace
}  // namespace gramstep::test
