// Rules and schedules as text.
#include <set>

#include "gramstep/text.hpp"
#include "tests/rule_trace.hpp"
#include "tests/support.hpp"

namespace gramstep::test {
namespace {

/// Changes an option of any type.
struct Change {
  void operator()(std::string_view, double& value) const { value = value / 3 + 0.1; }
  void operator()(std::string_view, bool& value) const { value = !value; }
  void operator()(std::string_view, std::int64_t& value) const { value += std::int64_t{1} << 60; }
  void operator()(std::string_view, Anneal& value) const {
    value = value == Anneal::cosine ? Anneal::linear : Anneal::cosine;
  }
};

/// The bits of every option, with its name.
template <class Held>
std::vector<std::pair<std::string, std::uint64_t>> bits_of(const Held& held) {
  std::vector<std::pair<std::string, std::uint64_t>> bits;
  Held::options(held, [&](std::string_view name, auto value) {
    std::uint64_t raw = 0;
    std::memcpy(&raw, &value, sizeof value);
    bits.emplace_back(name, raw);
  });
  return bits;
}

template <class Variant, class Read>
void expect_read_back(const Variant& held, const Read& read) {
  const std::string text = text_of(held);
  SCOPED_TRACE(text);
  const Variant again = read(text);
  ASSERT_EQ(again.index(), held.index());
  EXPECT_EQ(text_of(again), text);
  std::visit(
      [&](const auto& each) {
        EXPECT_EQ(bits_of(each), bits_of(std::get<std::decay_t<decltype(each)>>(again)));
        EXPECT_EQ(bits_of(each).size(), option_names(held).size());
      },
      held);
}

/// As it is by default, and with every option changed to a number that takes all its digits.
template <class Variant, class Held, class Read>
void expect_both_read_back(Held held, const Read& read) {
  expect_read_back(Variant(held), read);
  EXPECT_EQ(bits_of(std::get<Held>(read(std::string(Held::name)))), bits_of(held)) << held.name;
  Held::options(held, Change{});
  expect_read_back(Variant(held), read);
}

TEST(RuleText, ReadsBackWhatItWrote) {
  for_every_rule([](const auto& rule) {
    expect_both_read_back<Rule>(rule, [](const std::string& text) { return rule_of(text); });
  });
}

template <class... Schedules>
void read_back_schedules(const std::variant<Schedules...>*) {
  const auto read = [](const std::string& text) { return schedule_of(text); };
  (expect_both_read_back<Schedule>(Schedules{}, read), ...);
}

TEST(ScheduleText, ReadsBackWhatItWrote) {
  read_back_schedules(static_cast<const Schedule*>(nullptr));
}

TEST(RuleText, NamesAreDistinctAndInTheListsOrder) {
  const auto names = rule_names();
  EXPECT_EQ(std::set(names.begin(), names.end()).size(), std::variant_size_v<Rule>);
  EXPECT_EQ(names.front(), "SGD");
  EXPECT_EQ(names.back(), "ScheduleFreeAdamW");
  const auto schedules = schedule_names();
  EXPECT_EQ(std::set(schedules.begin(), schedules.end()).size(), std::variant_size_v<Schedule>);
  EXPECT_EQ(schedules.front(), "ConstantLR");
  EXPECT_EQ(option_names(Rule(Lion{})),
            (std::vector<std::string_view>{"lr", "beta1", "beta2", "weight_decay", "maximize"}));
  EXPECT_TRUE(option_names(Schedule(ConstantLR{})).empty());
}

/// The same in either direction: no rule has an option that its text leaves out.
TEST(RuleText, TakesEveryOption) {
  const auto adam = std::get<Adam>(
      rule_of("Adam(lr=1, beta1=0.5, beta2=0.25, epsilon=0.125, epsilon_hat=true, weight_decay=2, "
              "amsgrad=true, maximize=true)"));
  EXPECT_EQ(adam.lr, 1.0);
  EXPECT_EQ(adam.beta1, 0.5);
  EXPECT_EQ(adam.beta2, 0.25);
  EXPECT_EQ(adam.epsilon, 0.125);
  EXPECT_EQ(adam.weight_decay, 2.0);
  EXPECT_TRUE(adam.epsilon_hat && adam.amsgrad && adam.maximize);
  const auto cycle = std::get<OneCycleLR>(
      schedule_of(" OneCycleLR ( total_steps=9000000000,three_phase=true, anneal = linear )"));
  EXPECT_EQ(cycle.total_steps, 9'000'000'000);
  EXPECT_TRUE(cycle.three_phase);
  EXPECT_EQ(cycle.anneal, Anneal::linear);
}

TEST(RuleText, SaysWhereItCannotBeRead) {
  const auto expect_rule = [](const char* text, const std::vector<std::string>& words) {
    expect_error<InvalidArgument>([&] { (void)rule_of(text); }, words);
  };
  const auto expect_schedule = [](const char* text, const std::vector<std::string>& words) {
    expect_error<InvalidArgument>([&] { (void)schedule_of(text); }, words);
  };
  expect_rule("", {"rule: got \"\"", "the name of a rule", "character 1"});
  expect_rule("Adm", {"Adam", "ScheduleFreeAdamW"});
  expect_rule("PCGrad", {"one of SGD"});
  expect_rule("Adam(rate=1)", {"an option of Adam (lr, beta1"});
  expect_rule("Adam(lr=fast)", {"a number"});
  expect_rule("Adam(lr=1, lr=2)", {"option lr of Adam", "twice"});
  expect_rule("Adam(amsgrad=1)", {"true or false"});
  expect_rule("AdEMAMix(alpha_warmup=1.5)", {"an integer"});
  expect_rule("SGD() SGD", {"the end"});
  expect_schedule("", {"schedule: got \"\"", "the name of a schedule"});
  expect_schedule("LinearLR", {"ConstantLR", "OneCycleLR"});
  expect_schedule("StepLR(step_size=1e3)", {"an integer"});
  expect_schedule("OneCycleLR(anneal=cos)", {"cosine, linear"});
}

/// Options are checked when an optimizer is made of them.
TEST(RuleText, OptionsAreCheckedWhereTheyAreUsed) {
  Layout layout;
  layout.add("a", {3});
  expect_error<InvalidArgument>([&] { Optimizer(layout, {.rule = rule_of("Lion(beta1=1)")}); },
                                {"Lion.beta1"});
}

}  // namespace
}  // namespace gramstep::test
