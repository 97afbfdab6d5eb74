// The examples that docs/adding-a-rule.md and docs/adding-an-aggregator.md go through.
#include <variant>

#include "equal_pull.hpp"
#include "host/text.hpp"
#include "signum.hpp"
#include "tests/aggregators/solve.hpp"
#include "tests/rule_trace.hpp"
#include "tests/support.hpp"

namespace gramstep::test {
namespace {

using Rules = std::variant<Lion, Signum>;

TEST(AddingARule, SignumIsWhatItsFormulaSays) {
  // m = 1, 0, -0.25 and the decay is a tenth of p.
  const Signum rule{.lr = 0.5, .momentum = 0.5, .weight_decay = 0.2};
  const std::vector<float> got = trace(rule, 1, {2, -1, -0.5f});
  constexpr double few_roundings = 8 * 0x1p-24;
  const double by_hand[] = {0.4, 0.36, 0.824};
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(got[i]), by_hand[i], few_roundings) << "step " << i + 1;
  }
}

/// Whose direction is then the momentum that it keeps.
TEST(AddingARule, SignumIsLionWithOneBeta) {
  Random random(3);
  std::vector<float> gradients;
  for (int step = 0; step < 100; ++step) gradients.push_back(static_cast<float>(random.uniform()));
  const Signum signum{.lr = 0.01, .momentum = 0.95, .weight_decay = 0.1};
  const Lion lion{.lr = 0.01, .beta1 = 0.95, .beta2 = 0.95, .weight_decay = 0.1};
  EXPECT_EQ(trace(signum, 0.3f, gradients), trace(lion, 0.3f, gradients));
}

TEST(AddingARule, SignumIsTakenByText) {
  const auto rule = host::read_text<Rules>("rule", "Signum(momentum=0.95, maximize=true)");
  EXPECT_EQ(std::get<Signum>(rule).momentum, 0.95);
  EXPECT_TRUE(std::get<Signum>(rule).maximize);
  EXPECT_EQ(SignumUpdate::state_names[0], "momentum_buffer");
  EXPECT_TRUE(rules::has_momentum(Signum{}));
}

TEST(AddingARule, SignumRefusesWhatIsOutOfRange) {
  EXPECT_NO_THROW(Signum{}.validate());
  EXPECT_THROW(Signum{.momentum = 1}.validate(), InvalidArgument);
}

TEST(AddingAnAggregator, EqualPullKeepsItsPromise) {
  const std::vector<double> gram{4, -1, 0, -1, 1, 0, 0, 0, 0};  // norms 2, 1 and 0
  const auto solved = solve(EqualPull{}, gram, 3);
  EXPECT_NEAR(solved.w[0], 1.0 / 3, EqualPull::tolerance);
  EXPECT_NEAR(solved.w[1], 2.0 / 3, EqualPull::tolerance);
  EXPECT_EQ(solved.w[2], 0);
  EXPECT_EQ(solve(EqualPull{.power = 0}, gram, 3).w[0], 0.5);
  EXPECT_THROW(EqualPull{.power = -1}.validate(3), InvalidArgument);
}

}  // namespace
}  // namespace gramstep::test
