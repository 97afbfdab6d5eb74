// Aggregators as text.
#include <set>

#include "tests/every_aggregator.hpp"
#include "tests/support.hpp"

namespace gramstep::test {
namespace {

TEST(AggregatorText, ReadsBackWhatItWrote) {
  for (const Aggregator& aggregator : every_aggregator(3)) {
    const std::string text = text_of(aggregator);
    const Aggregator read = aggregator_of(text);
    EXPECT_EQ(read.index(), aggregator.index()) << text;
    EXPECT_EQ(text_of(read), text);
  }
}

TEST(AggregatorText, NamesAreDistinctAndOptionsAreNamed) {
  std::set<std::string_view> names;
  for (const std::string_view name : aggregator_names())
    EXPECT_TRUE(names.insert(name).second) << name;
  EXPECT_EQ(names.size(), std::variant_size_v<Aggregator>);
  EXPECT_EQ(option_names(PCGrad{}), (std::vector<std::string_view>{"reduction", "order", "seed"}));
  EXPECT_TRUE(option_names(Sum{}).empty());
}

TEST(AggregatorText, TakesNumbersWordsAndLists) {
  const auto pcgrad = std::get<PCGrad>(
      aggregator_of(" PCGrad ( seed = 18446744073709551615 ,order=fixed, reduction = mean ) "));
  EXPECT_EQ(pcgrad.seed, UINT64_MAX);
  EXPECT_EQ(pcgrad.order, PCGradOrder::fixed);
  EXPECT_EQ(pcgrad.reduction, Reduction::mean);
  const auto constant = std::get<Constant>(aggregator_of("Constant(values=[-1.5, 2e-3])"));
  ASSERT_EQ(constant.values.size(), 2);
  EXPECT_EQ(constant.values[0], -1.5);
  EXPECT_EQ(constant.values[1], 2e-3);
  EXPECT_EQ(std::get<Constant>(aggregator_of("Constant(values=[])")).values.size(), 0);
  EXPECT_EQ(std::get<CAGrad>(aggregator_of("CAGrad(c=0.1)")).c, 0.1);
  EXPECT_FALSE(std::get<NashMTL>(aggregator_of("NashMTL(normalise=false)")).normalise);
  EXPECT_EQ(std::get<TrimmedMean>(aggregator_of("TrimmedMean(trim=3)")).trim, 3);
  EXPECT_TRUE(std::holds_alternative<MGDA>(aggregator_of("MGDA()")));
}

TEST(AggregatorText, SaysWhereItCannotBeRead) {
  const auto expect_refused = [](const char* text, const std::vector<std::string>& words) {
    expect_error<InvalidArgument>([&] { (void)aggregator_of(text); }, words);
  };
  expect_refused("", {"name of an aggregator"});
  expect_refused("PCGard", {"PCGard", "PCGrad", "MGDA"});
  expect_refused("PCGrad(", {"name of an option"});
  expect_refused("PCGrad(speed=3)", {"reduction", "order", "seed"});
  expect_refused("PCGrad(seed)", {"'='"});
  expect_refused("PCGrad(seed=-1)", {"integer >= 0", "character 13"});
  expect_refused("PCGrad(seed=1", {"')'"});
  expect_refused("PCGrad(seed=1) twice", {"the end"});
  expect_refused("PCGrad(order=random)", {"fresh, fixed"});
  expect_refused("CAGrad(c=much)", {"a number"});
  expect_refused("CAGrad(c=1, c=2)", {"option c of CAGrad", "twice", "character 14"});
  expect_refused("PCGrad(seed=1, order=fixed, seed=1)", {"option seed of PCGrad", "twice"});
  expect_refused("CAGrad(c=0.5x)", {"a number"});
  expect_refused("NashMTL(normalise=yes)", {"true or false"});
  expect_refused("Constant(values=[1, ])", {"a number"});
  expect_refused("Constant(values=1)", {"'['"});
  std::string many = "Constant(values=[1";
  for (int k = 0; k < max_tasks; ++k) many += ", 1";
  expect_refused((many + "])").c_str(), {"65", "64"});
}

TEST(AggregatorText, OptionsAreCheckedWhereTasksAreKnown) {
  Layout layout;
  layout.add("a", {3});
  const auto expect_refused = [&](const char* text, const std::vector<std::string>& words) {
    expect_error<InvalidArgument>(
        [&] { Optimizer(layout, {.aggregator = aggregator_of(text), .tasks = 3}); }, words);
  };
  expect_refused("CAGrad(c=-1)", {"CAGrad.c", "-1", ">= 0"});
  expect_refused("UPGrad(preference=[1, 2])", {"UPGrad.preference", "2", "3"});
  expect_refused("UPGrad(preference=[1, 2, 0])", {"UPGrad.preference[2]", "0", "> 0"});
  expect_refused("DualProj(preference=[1, 2, nan])", {"DualProj.preference[2]", "nan"});
  expect_refused("TrimmedMean(trim=2)", {"TrimmedMean.trim"});
  expect_refused("Constant", {"Constant.values"});
}

}  // namespace
}  // namespace gramstep::test
