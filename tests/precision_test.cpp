// Steps over 16-bit memory: each is the fp32 step of the same numbers, rounded as the options say.
#include <cmath>

#include "tests/narrow_rig.hpp"

namespace gramstep::test {
namespace {

constexpr DType bf16 = DType::bfloat16, fp16 = DType::float16, fp32 = DType::float32;

/// A layout whose segments leave no padding: every element has a number.
Layout full_layout() {
  Layout layout;
  layout.add("matrix", {64, 34});
  layout.add("large", {128, 67}, {.weight_decay = 0.0});
  layout.add("small", {128});
  layout.add("head", {3, 128}, {.task = 0});
  return layout;
}

struct Types {
  DType params, gradients;
};
constexpr Types all_types[] = {
    {fp32, bf16}, {bf16, fp32}, {bf16, bf16}, {fp16, bf16}, {fp16, fp16}};

const Rule some_rules[] = {SGD{.lr = 0.1},
                           SGD{.lr = 0.1, .momentum = 0.9},
                           AdamW{.lr = 0.01, .weight_decay = 0.1},
                           Lion{.lr = 0.01},
                           LAMB{.lr = 0.01},
                           ScheduleFreeAdamW{.lr = 0.01},
                           Muon{.lr = 0.1},
                           Adafactor{.lr = 0.1}};

/// Hands the rig in fp32 the gradients that the other one sees.
void follow(NarrowRig& wide, NarrowRig& narrow) {
  for (std::size_t k = 0; k < wide.rows.size(); ++k) wide.rows[k].set(narrow.rows[k].numbers());
  wide.heads.set(narrow.heads.numbers());
}

TEST(Precision, AStepIsTheFp32StepOfTheSameNumbersRounded) {
  for (const Rule& rule : some_rules) {
    for (const Types& types : all_types) {
      for (const int tasks : {1, 3}) {
        OptimizerOptions options{.rule = rule, .tasks = tasks};
        NarrowRig wide(full_layout(), options);
        options.precision = {.params = types.params, .gradients = types.gradients};
        NarrowRig narrow(full_layout(), options);
        for (int step = 0; step < 3; ++step) {
          narrow.draw();
          follow(wide, narrow);
          wide.params.set(narrow.params.numbers());
          wide.step();
          narrow.step();
          EXPECT_TRUE(
              same_bits(narrow.params.numbers(), rounded_to(types.params, wide.params.numbers())))
              << text_of(rule) << " of " << name_of(types.params) << ", " << tasks << " tasks";
        }
      }
    }
  }
}

TEST(Precision, AMasterTakesTheFp32StepAndParametersAreItsNearest) {
  for (const Rule& rule : some_rules) {
    for (const auto& [params, master] :
         {std::pair{bf16, Master::float32}, std::pair{fp16, Master::float32},
          std::pair{bf16, Master::remainder}}) {
      OptimizerOptions options{.rule = rule, .tasks = 2};
      NarrowRig wide(full_layout(), options);
      options.precision = {.params = params, .gradients = bf16, .master = master};
      NarrowRig narrow(full_layout(), options);
      wide.params.set(narrow.params.numbers());
      for (int step = 0; step < 4; ++step) {
        narrow.draw();
        follow(wide, narrow);
        wide.step();
        narrow.step();
      }
      const std::vector<float> exact = wide.params.numbers(), got = narrow.params.numbers();
      EXPECT_TRUE(same_bits(got, rounded_to(params, exact)) || master == Master::remainder);
      if (master == Master::float32) {
        EXPECT_TRUE(same_bits(narrow.state("master"), exact)) << text_of(rule);
        continue;
      }
      const std::vector<float> remainders = narrow.state("remainder");
      for (std::size_t i = 0; i < exact.size(); ++i) {
        const auto whole = static_cast<std::int64_t>(std::bit_cast<std::uint32_t>(got[i])) +
                           static_cast<std::int64_t>(remainders[i]);
        ASSERT_EQ(whole, std::bit_cast<std::uint32_t>(exact[i])) << text_of(rule) << " at " << i;
        EXPECT_LE(std::fabs(remainders[i]), 0x1p15f);
      }
    }
  }
}

TEST(Precision, StateOfSixteenBitsIsTheFp32StateRounded) {
  for (const Rule& rule :
       {Rule(SGD{.lr = 0.1, .momentum = 0.9}), Rule(AdamW{.amsgrad = true}), Rule(Lion{}),
        Rule(LAMB{}), Rule(AdEMAMix{}), Rule(Adagrad{.initial_accumulator_value = 0.3})}) {
    OptimizerOptions options{.rule = rule, .tasks = 2};
    NarrowRig wide(full_layout(), options);
    options.precision.states = bf16;
    NarrowRig narrow(full_layout(), options);
    for (const std::string_view name : narrow.optimizer.state_names()) {
      EXPECT_TRUE(same_bits(narrow.state(name), rounded_to(bf16, wide.state(name)))) << name;
    }
    for (int step = 0; step < 3; ++step) {
      narrow.draw();
      follow(wide, narrow);
      wide.params.set(narrow.params.numbers());
      for (const std::string_view name : narrow.optimizer.state_names()) {
        wide.set_state(name, narrow.state(name));
      }
      wide.step();
      narrow.step();
      for (const std::string_view name : narrow.optimizer.state_names()) {
        EXPECT_TRUE(same_bits(narrow.state(name), rounded_to(bf16, wide.state(name))))
            << text_of(rule) << ": " << name;
      }
      // LAMB applies what its first pass has stored, so not the fp32 state.
      if (std::holds_alternative<LAMB>(rule)) continue;
      EXPECT_TRUE(same_bits(narrow.params.numbers(), wide.params.numbers())) << text_of(rule);
    }
  }
}

/// 10^5 steps of 2^-17 from 1: half an ulp of bfloat16 is 2^-9 there, and every step is lost to it. The least
/// that a compensation of bfloat16, which grows to as much, does not lose.
TEST(Precision, TinyUpdatesArriveWhereSomethingKeepsThem) {
  Layout layout;
  layout.add("weight", {128});
  constexpr int steps = 100'000;
  constexpr double left = 1 - steps * 0x1p-17, ulp = 0x1p-8;  // of numbers in [0.5, 1)
  const auto after = [&](const Precision& precision) {
    NarrowRig rig(layout, {.rule = SGD{.lr = 1.0}, .precision = precision});
    rig.params.set(std::vector<float>(128, 1.0f));
    rig.rows[0].set(std::vector<float>(128, 0x1p-17f));
    for (int step = 0; step < steps; ++step) rig.step();
    double sum = 0;
    for (const float p : rig.params.numbers()) sum += static_cast<double>(p) / 128;
    return sum;
  };
  EXPECT_EQ(after({.params = bf16}), 1.0) << "what is lost without";
  EXPECT_NEAR(after({.params = bf16, .master = Master::float32}), left, ulp / 2);
  EXPECT_NEAR(after({.params = bf16, .master = Master::remainder}), left, ulp / 2);
  EXPECT_NEAR(after({.params = bf16, .rounding = Rounding::kahan}), left, ulp / 2);
  EXPECT_NEAR(after({.params = fp16, .rounding = Rounding::kahan}), left, ulp / 16);
  // The mean of 128 walks, each of 10^5 steps whose variance is at most ulp * 2^-17: sigma 0.005; six of
  // them are passed by chance once in 5 * 10^8 times.
  const double sigma = std::sqrt(steps * ulp * 0x1p-17 / 128);
  EXPECT_NEAR(after({.params = bf16, .rounding = Rounding::stochastic}), left, 6 * sigma);
}

TEST(Precision, StochasticRoundingIsRightOnAverage) {
  Layout layout;
  layout.add("weight", {1 << 20});
  for (const DType dtype : {bf16, fp16}) {
    NarrowRig rig(layout, {.rule = SGD{.lr = 1.0},
                           .precision = {.params = dtype, .rounding = Rounding::stochastic}});
    rig.params.set(std::vector<float>(1 << 20, 1.0f));
    const float taken = 0x1.8p-13f;
    rig.rows[0].set(std::vector<float>(1 << 20, taken));
    rig.step();
    double sum = 0;
    const double ulp = dtype == bf16 ? 0x1p-8 : 0x1p-11;
    for (const float p : rig.params.numbers()) {
      ASSERT_TRUE(p == 1.0f || static_cast<double>(p) == 1 - ulp) << p;
      sum += 1 - static_cast<double>(p);
    }
    // A binomial count of 2^20 with probability taken / ulp; six sigma: a false alarm in 5 * 10^8.
    const double chance = static_cast<double>(taken) / ulp, count = 1 << 20;
    EXPECT_NEAR(sum / ulp, chance * count, 6 * std::sqrt(chance * (1 - chance) * count));
  }
}

TEST(Precision, StochasticRoundingDependsOnNoSplit) {
  const Precision precision{.params = bf16,
                            .gradients = bf16,
                            .states = bf16,
                            .rounding = Rounding::stochastic,
                            .seed = 11};
  Layout whole, parts;
  whole.add("all", {66'560});
  for (const std::int64_t size : {128, 1'280, 128 * 300, 66'560 - 128 * 311}) {
    parts.add("of " + std::to_string(size), {size});
  }
  OptimizerOptions options{.rule = AdamW{.lr = 0.01}, .precision = precision};
  const auto run = [&](const Layout& layout, int threads, std::uint64_t seed) {
    options.device = cpu(threads);
    options.precision.seed = seed;
    NarrowRig rig(layout, options);
    rig.draw_and_step(3);
    std::vector<float> all = rig.params.numbers();
    for (const char* name : {"exp_avg", "exp_avg_sq"}) {
      const std::vector<float> state = rig.state(name);
      all.insert(all.end(), state.begin(), state.end());
    }
    return all;
  };
  const std::vector<float> first = run(whole, 1, 11);
  EXPECT_TRUE(same_bits(run(whole, 2, 11), first)) << "two threads";
  EXPECT_TRUE(same_bits(run(whole, 3, 11), first)) << "three threads";
  EXPECT_TRUE(same_bits(run(parts, 2, 11), first)) << "four segments";
  EXPECT_FALSE(same_bits(run(whole, 2, 12), first)) << "another seed";
}

TEST(Precision, WhatOverflowsIsInfiniteAndAMasterIsNot) {
  Layout layout;
  layout.add("weight", {128});
  for (const Master master : {Master::none, Master::float32}) {
    NarrowRig rig(layout,
                  {.rule = SGD{.lr = 1.0}, .precision = {.params = fp16, .master = master}});
    rig.params.set(std::vector<float>(128, 65'000.0f));
    rig.rows[0].set(std::vector<float>(128, -1'000.0f));
    rig.step();
    EXPECT_EQ(rig.params.numbers()[5], infinity);
    rig.rows[0].set(std::vector<float>(128, 2'000.0f));
    rig.step();
    EXPECT_EQ(rig.params.numbers()[5], master == Master::none ? infinity : 64'000.0f);
  }
}

TEST(Precision, SubnormalsOfFloat16AreNumbers) {
  Layout layout;
  layout.add("weight", {128});
  NarrowRig rig(layout, {.rule = SGD{.lr = 1.0}, .precision = {.params = fp16, .gradients = fp16}});
  rig.params.set(std::vector<float>(128, 0x1p-20f));
  rig.rows[0].set(std::vector<float>(128, 0x1p-24f));
  rig.step();
  EXPECT_EQ(rig.params.numbers()[3], 0x1p-20f - 0x1p-24f);
}

TEST(Precision, AGradientThatIsNotFiniteSkipsTheStep) {
  for (const float bad : {std::nanf(""), static_cast<float>(infinity)}) {
    for (const DType dtype : {bf16, fp16}) {
      NarrowRig rig(
          full_layout(),
          {.rule = AdamW{},
           .tasks = 2,
           .precision = {.params = dtype, .gradients = dtype, .master = Master::float32}});
      rig.draw_and_step();
      const auto params = rig.params.numbers(), master = rig.state("master");
      std::vector<float> row = rig.rows[1].numbers();
      row[2'000] = bad;
      rig.rows[1].set(row);
      rig.step();
      EXPECT_TRUE(same_bits(rig.params.numbers(), params));
      EXPECT_TRUE(same_bits(rig.state("master"), master));
      EXPECT_EQ(rig.optimizer.report().skipped_steps, 1);
    }
  }
}

}  // namespace
}  // namespace gramstep::test
