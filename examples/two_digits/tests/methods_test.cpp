// How lists of rules and aggregators are read.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "methods.hpp"

namespace gs = gramstep;

namespace two_digits {
namespace {

using Strings = std::vector<std::string>;

template <class Read>
std::string message_of(Read read, const std::string& list) {
  try {
    read(list);
  } catch (const gs::InvalidArgument& error) {
    return error.what();
  }
  return "no error";
}

Strings names_of(const RuleList& list) {
  Strings names;
  for (const NamedRule& each : list.rules) names.push_back(each.name);
  return names;
}

TEST(Rules, AreTheLibrarysTextsInAnyCase) {
  const RuleList list = read_rules("sgd ( momentum = 0.9 ,nesterov=true),LION, AdEMAMix(alpha=4)");
  EXPECT_EQ(names_of(list),
            (Strings{"SGD(momentum=0.9, nesterov=true)", "Lion", "AdEMAMix(alpha=4)"}));
  EXPECT_EQ(std::get<gs::SGD>(list.rules[0].rule).momentum, 0.9);
  EXPECT_TRUE(std::get<gs::SGD>(list.rules[0].rule).nesterov);
  EXPECT_EQ(std::get<gs::AdEMAMix>(list.rules[2].rule).alpha, 4);
}

TEST(Rules, AreNamedByWhatDepartsFromTheirDefaults) {
  EXPECT_EQ(names_of(read_rules("adam(beta1=0.9, lr=0.01, weight_decay=0.1)")),
            (Strings{"Adam(weight_decay=0.1)"}));
}

TEST(Rules, SayWhetherTheirTextHasALearningRate) {
  const RuleList list = read_rules("Adam, Lion( lr = 3e-4 ),SGD(momentum=0.5)");
  EXPECT_FALSE(list.rules[0].lr_given);
  EXPECT_TRUE(list.rules[1].lr_given);
  EXPECT_EQ(lr_of(list.rules[1].rule), 3e-4);
  EXPECT_FALSE(list.rules[2].lr_given);
}

TEST(Rules, AreNamedWithTheirRateWhereTheyDifferInNothingElse) {
  EXPECT_EQ(names_of(read_rules("Adam,Adam(lr=0.01),Lion(lr=0.01),adam(lr=0.03,beta1=0.9)")),
            (Strings{"Adam", "Adam(lr=0.01)", "Lion", "Adam(lr=0.03)"}));
}

TEST(Rules, AreTakenOnce) {
  EXPECT_EQ(names_of(read_rules("Adam,adam(),Adam(beta1=0.9),Lion(lr=1),lion(lr=1.0)")),
            (Strings{"Adam", "Lion"}));
}

TEST(Rules, AllAreThoseOfTheLibrary) {
  const RuleList list = read_rules("SGD(momentum=0.9),adamw,all");
  const Strings names = names_of(list);
  EXPECT_EQ(names[0], "SGD(momentum=0.9)");
  EXPECT_EQ(names[1], "AdamW");
  for (const std::string_view name : gs::rule_names()) {
    const bool taken = std::ranges::count(names, name) == 1;
    const bool left_out = std::ranges::count(list.left_out, name, &LeftOut::name) == 1;
    EXPECT_NE(taken, left_out) << name;
  }
  EXPECT_GE(names.size(), 16u);
  EXPECT_TRUE(std::ranges::none_of(list.rules, &NamedRule::lr_given));
}

TEST(Rules, OfTheDefaultListHaveTheirRates) {
  const RuleList list = read_rules(default_rules);
  EXPECT_EQ(names_of(list), (Strings{"SGD", "SGD(momentum=0.9)", "Adam", "AdamW"}));
  EXPECT_TRUE(std::ranges::all_of(list.rules, &NamedRule::lr_given));
}

TEST(Rules, SayWhatIsWrong) {
  EXPECT_NE(message_of(read_rules, "Adam,nonsense").find("nonsense"), std::string::npos);
  EXPECT_NE(message_of(read_rules, "Adam(beta1=2)").find("beta1"), std::string::npos);
  EXPECT_NE(message_of(read_rules, "Adam(lr=").find("Adam(lr="), std::string::npos);
  EXPECT_NE(message_of(read_rules, "Adam,"), "no error");
}

TEST(Aggregators, AreSplitAtCommasOutsideBrackets) {
  const Texts list = read_aggregators(
      "Sum, CAGrad(c=0.4, rescale=none),Constant(values="
      "[1, 2]) ,PCGrad");
  EXPECT_EQ(list.texts,
            (Strings{"Sum", "CAGrad(c=0.4, rescale=none)", "Constant(values=[1, 2])", "PCGrad"}));
  EXPECT_TRUE(list.left_out.empty());
  EXPECT_EQ(std::get<gs::CAGrad>(gs::aggregator_of(list.texts[1])).c, 0.4);
  EXPECT_EQ(std::get<gs::Constant>(gs::aggregator_of(list.texts[2])).values[1], 2.0);
}

TEST(Aggregators, MayBeWrittenInAnyCase) {
  EXPECT_EQ(read_aggregators("sum,pcgrad").texts, (Strings{"Sum", "PCGrad"}));
  EXPECT_EQ(read_aggregators("CAGRAD (c=0.4)").texts, (Strings{"CAGrad (c=0.4)"}));
}

TEST(Aggregators, AreTakenOnce) {
  EXPECT_EQ(read_aggregators("Sum,Mean,sum").texts, (Strings{"Sum", "Mean"}));
}

TEST(Aggregators, AllAreThoseThatDoForTwoTasks) {
  const Texts list = read_aggregators("PCGrad,all,CAGrad(c=0.1)");
  EXPECT_EQ(list.texts.front(), "PCGrad");
  EXPECT_EQ(list.texts.back(), "CAGrad(c=0.1)");
  for (const std::string_view name : gs::aggregator_names()) {
    const bool taken = std::ranges::count(list.texts, name) == 1;
    const bool left_out = std::ranges::count(list.left_out, name, &LeftOut::name) == 1;
    EXPECT_NE(taken, left_out) << name;
  }
  Strings left_out;
  for (const LeftOut& each : list.left_out) {
    left_out.push_back(each.name);
    EXPECT_NE(each.reason.find(each.name), std::string::npos) << each.reason;
  }
  EXPECT_EQ(left_out, (Strings{"Constant", "Krum", "TrimmedMean"}));
}

TEST(Aggregators, SayWhatIsWrong) {
  EXPECT_NE(message_of(read_aggregators, "Sum,nonsense").find("nonsense"), std::string::npos);
  EXPECT_NE(message_of(read_aggregators, "Sum,CAGrad(c=)").find("CAGrad(c=)"), std::string::npos);
  EXPECT_NE(message_of(read_aggregators, "Krum").find("3 tasks"), std::string::npos);
  EXPECT_NE(message_of(read_aggregators, "Sum,"), "no error");
  EXPECT_NE(message_of(read_aggregators, ""), "no error");
}

TEST(Aggregators, TakeTheirSeedFromTheRun) {
  EXPECT_EQ(std::get<gs::PCGrad>(with_seed(gs::PCGrad{}, 5)).seed, 5u);
  EXPECT_TRUE(std::holds_alternative<gs::Sum>(with_seed(gs::Sum{}, 5)));
}

}  // namespace
}  // namespace two_digits
