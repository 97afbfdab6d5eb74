// Bad options: refused by the constructor, which leaves nothing behind.
#include <sys/resource.h>

#include <cmath>
#include <fstream>
#include <optional>

#include "tests/rig.hpp"

namespace gramstep::test {
namespace {

using Words = std::vector<std::string>;

void expect_refused(const OptimizerOptions& options, Words words) {
  words.insert(words.end(), {"got", "expected"});
  expect_error<InvalidArgument>([&] { Optimizer(mixed_layout(1), options); }, words);
}

/// Values that no option may have, and those below and above [low, high).
std::vector<double> outside(double low, double high = infinity) {
  std::vector<double> values{std::nan(""), infinity, -infinity, std::nextafter(low, -infinity)};
  if (high < infinity) values.push_back(high);
  return values;
}

/// Sets one option of a rule to every value outside its range.
template <class Held>
void expect_range(double Held::* option, const char* name, double low, double high = infinity) {
  for (const double value : outside(low, high)) {
    Held rule;
    rule.*option = value;
    expect_refused({.rule = rule}, {std::string(Held::name) + "." + name});
  }
  Held rule;
  rule.*option = low;
  EXPECT_NO_THROW(Optimizer(mixed_layout(1), {.rule = rule})) << name << " = " << low;
}

template <class AdamLike>
void expect_adam_ranges() {
  expect_range(&AdamLike::lr, "lr", 0);
  expect_range(&AdamLike::beta1, "beta1", 0, 1);
  expect_range(&AdamLike::beta2, "beta2", 0, 1);
  expect_range(&AdamLike::epsilon, "epsilon", 0);
  expect_range(&AdamLike::weight_decay, "weight_decay", 0);
}

TEST(BadOptions, OfAdam) { expect_adam_ranges<Adam>(); }
TEST(BadOptions, OfAdamW) { expect_adam_ranges<AdamW>(); }

TEST(BadOptions, OfSgd) {
  expect_range(&SGD::lr, "lr", 0);
  expect_range(&SGD::momentum, "momentum", 0);
  expect_range(&SGD::dampening, "dampening", 0);
  expect_range(&SGD::weight_decay, "weight_decay", 0);
  const auto expect_no_nesterov = [](const SGD& rule) {
    expect_refused({.rule = rule}, {"SGD.nesterov", "momentum", "dampening"});
  };
  expect_no_nesterov({.nesterov = true});
  expect_no_nesterov({.momentum = 0.9, .dampening = 0.1, .nesterov = true});
}

/// Those that all rules have, and what of Adam's the rule has.
template <class Held>
void expect_common_ranges() {
  expect_range(&Held::lr, "lr", 0);
  expect_range(&Held::weight_decay, "weight_decay", 0);
  if constexpr (requires { &Held::epsilon; }) expect_range(&Held::epsilon, "epsilon", 0);
  if constexpr (requires { &Held::beta2; }) expect_range(&Held::beta2, "beta2", 0, 1);
}

TEST(BadOptions, OfAdamsKin) {
  expect_adam_ranges<NAdam>();
  expect_range(&NAdam::momentum_decay, "momentum_decay", 0, 1e4);
  expect_adam_ranges<RAdam>();
  expect_adam_ranges<Adamax>();
  expect_adam_ranges<AdEMAMix>();
  expect_range(&AdEMAMix::beta3, "beta3", 0, 1);
  expect_range(&AdEMAMix::alpha, "alpha", 0);
  expect_refused({.rule = AdEMAMix{.beta3_warmup = -1}}, {"AdEMAMix.beta3_warmup"});
  expect_refused({.rule = AdEMAMix{.alpha_warmup = -1}}, {"AdEMAMix.alpha_warmup"});
}

TEST(BadOptions, OfTheOtherRules) {
  expect_common_ranges<Adagrad>();
  expect_range(&Adagrad::lr_decay, "lr_decay", 0);
  expect_range(&Adagrad::initial_accumulator_value, "initial_accumulator_value", 0);
  expect_common_ranges<Adadelta>();
  expect_range(&Adadelta::rho, "rho", 0, 1);
  expect_common_ranges<RMSprop>();
  expect_range(&RMSprop::alpha, "alpha", 0, 1);
  expect_range(&RMSprop::momentum, "momentum", 0);
  expect_common_ranges<Lion>();
  expect_range(&Lion::beta1, "beta1", 0, 1);
}

TEST(BadOptions, OfTheLayerwiseRules) {
  expect_adam_ranges<LAMB>();
  expect_common_ranges<LARS>();
  expect_range(&LARS::momentum, "momentum", 0);
  expect_range(&LARS::trust_coefficient, "trust_coefficient", 0);
}

TEST(BadOptions, OfTheScheduleFreeRules) {
  expect_common_ranges<ScheduleFreeSGD>();
  expect_range(&ScheduleFreeSGD::r, "r", 0, 16);
  expect_range(&ScheduleFreeSGD::weight_lr_power, "weight_lr_power", 0, 16);
  expect_common_ranges<ScheduleFreeAdamW>();
  expect_range(&ScheduleFreeAdamW::r, "r", 0, 16);
  expect_range(&ScheduleFreeAdamW::weight_lr_power, "weight_lr_power", 0, 16);
  for (const double bad : {0.0, 1.0, -0.5, std::nan("")}) {
    expect_refused({.rule = ScheduleFreeSGD{.momentum = bad}}, {"ScheduleFreeSGD.momentum"});
    expect_refused({.rule = ScheduleFreeAdamW{.beta1 = bad}}, {"ScheduleFreeAdamW.beta1"});
  }
}

TEST(BadOptions, NumberOfTasks) {
  for (const int tasks : {-1, 0, max_tasks + 1}) {
    expect_refused({.tasks = tasks}, {"tasks", std::to_string(tasks), "64"});
  }
  EXPECT_NO_THROW(Optimizer(mixed_layout(1), {.tasks = max_tasks}));
}

TEST(BadOptions, AHeadOfATaskThatIsNotThere) {
  expect_error<InvalidArgument>([] { Optimizer(mixed_layout(3), {.tasks = 2}); },
                                {"tasks", "got 2", "expected at least 3"});
}

TEST(BadOptions, ConstantWeights) {
  expect_refused({.aggregator = Constant{{1, 2}}, .tasks = 3}, {"Constant.values", "every task"});
  for (const double bad : {std::nan(""), infinity, -infinity}) {
    expect_refused({.aggregator = Constant{{1, bad}}, .tasks = 2}, {"Constant.values"});
  }
}

TEST(BadOptions, ClipAndLossScale) {
  for (const double bad : {0.0, -1.0, std::nan(""), infinity}) {
    expect_refused({.clip_norm = bad}, {"clip_norm"});
    expect_refused({.loss_scale = bad}, {"loss_scale"});
  }
}

TEST(BadOptions, Device) {
  expect_refused({.device = cpu(-1)}, {"threads", "-1"});
  expect_refused({.device = {Device::Kind::cuda, -1, 0}}, {"ordinal", "-1"});
}

TEST(BadOptions, CudaThatIsNotThere) {
  EXPECT_TRUE(built_with_cuda() || cuda_devices() == 0);
  const int ordinal = cuda_devices();  // one beyond the last
  expect_error<DeviceUnavailable>([&] { Optimizer(mixed_layout(1), {.device = cuda(ordinal)}); },
                                  {"cuda", "got", "expected"});
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/// No more than `extra` bytes of address space beyond what is in use now, for as long as it lives.
class LittleMemory {
 public:
  explicit LittleMemory(std::size_t extra) {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    ::getrlimit(RLIMIT_AS, &before_);
    rlimit limit = before_;
    limit.rlim_cur = pages * 4096 + extra;
    ::setrlimit(RLIMIT_AS, &limit);
  }
  ~LittleMemory() { ::setrlimit(RLIMIT_AS, &before_); }
  LittleMemory(const LittleMemory&) = delete;
  LittleMemory& operator=(const LittleMemory&) = delete;

 private:
  rlimit before_{};
};

/// Memory runs out at one point of the construction after another.
TEST(BadOptions, OutOfMemoryLeavesNothingHalfMade) {
  Layout large;
  large.add("large", {std::int64_t{1} << 24});
  for (int s = 0; s < 50'000; ++s) large.add(std::to_string(s), {1});
  int refused = 0, made = 0;
  std::string other;
  for (std::size_t megabytes = 1; megabytes <= 1024; megabytes *= 2) {
    Layout layout = large;
    const LittleMemory little(megabytes << 20);
    try {
      Optimizer(std::move(layout), {.rule = AdamW{.amsgrad = true}, .tasks = 8});
      ++made;
    } catch (const OutOfMemory& error) {
      refused += std::string(error.what()).find("memory") != std::string::npos;
    } catch (const std::exception& error) {
      other = error.what();
    }
  }
  EXPECT_EQ(other, "") << "thrown instead of OutOfMemory";
  EXPECT_GE(refused, 5);
  EXPECT_GE(made, 1);
}

#endif

}  // namespace
}  // namespace gramstep::test
