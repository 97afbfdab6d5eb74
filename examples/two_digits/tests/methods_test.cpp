// How a list of aggregators is read.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "methods.hpp"

namespace gs = gramstep;

namespace two_digits {
namespace {

using Texts = std::vector<std::string>;

std::string message_of(const std::string& list) {
  try {
    read_aggregators(list);
  } catch (const gs::InvalidArgument& error) {
    return error.what();
  }
  return "no error";
}

TEST(Aggregators, AreSplitAtCommasOutsideBrackets) {
  const AggregatorList list = read_aggregators(
      "Sum, CAGrad(c=0.4, rescale=none),Constant(values="
      "[1, 2]) ,PCGrad");
  EXPECT_EQ(list.texts,
            (Texts{"Sum", "CAGrad(c=0.4, rescale=none)", "Constant(values=[1, 2])", "PCGrad"}));
  EXPECT_TRUE(list.left_out.empty());
  EXPECT_EQ(std::get<gs::CAGrad>(aggregator_named(list.texts[1])).c, 0.4);
  EXPECT_EQ(std::get<gs::Constant>(aggregator_named(list.texts[2])).values[1], 2.0);
}

TEST(Aggregators, MayBeWrittenInAnyCase) {
  EXPECT_EQ(read_aggregators("sum,pcgrad").texts, (Texts{"Sum", "PCGrad"}));
  EXPECT_EQ(read_aggregators("CAGRAD (c=0.4)").texts, (Texts{"CAGrad (c=0.4)"}));
}

TEST(Aggregators, AreTakenOnce) {
  EXPECT_EQ(read_aggregators("Sum,Mean,sum").texts, (Texts{"Sum", "Mean"}));
}

TEST(Aggregators, AllAreThoseThatDoForTwoTasks) {
  const AggregatorList list = read_aggregators("PCGrad,all,CAGrad(c=0.1)");
  EXPECT_EQ(list.texts.front(), "PCGrad");
  EXPECT_EQ(list.texts.back(), "CAGrad(c=0.1)");
  for (const std::string_view name : gs::aggregator_names()) {
    const bool taken = std::ranges::count(list.texts, name) == 1;
    const bool left_out = std::ranges::count(list.left_out, name, &LeftOut::name) == 1;
    EXPECT_NE(taken, left_out) << name;
  }
  Texts left_out;
  for (const LeftOut& each : list.left_out) {
    left_out.push_back(each.name);
    EXPECT_NE(each.reason.find(each.name), std::string::npos) << each.reason;
  }
  EXPECT_EQ(left_out, (Texts{"Constant", "Krum", "TrimmedMean"}));
}

TEST(Aggregators, SayWhatIsWrong) {
  EXPECT_NE(message_of("Sum,nonsense").find("nonsense"), std::string::npos);
  EXPECT_NE(message_of("Sum,CAGrad(c=)").find("CAGrad(c=)"), std::string::npos);
  EXPECT_NE(message_of("Krum").find("3 tasks"), std::string::npos);
  EXPECT_NE(message_of("Sum,"), "no error");
  EXPECT_NE(message_of(""), "no error");
}

TEST(Aggregators, TakeTheirSeedFromTheRun) {
  EXPECT_EQ(std::get<gs::PCGrad>(with_seed(gs::PCGrad{}, 5)).seed, 5u);
  EXPECT_TRUE(std::holds_alternative<gs::Sum>(with_seed(gs::Sum{}, 5)));
}

}  // namespace
}  // namespace two_digits
