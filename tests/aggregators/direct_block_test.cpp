// Direct and spectral aggregators in a block of fibers: the bits of one thread, in every order.
#include "fiber_context.hpp"
#include "gramstep/aggregators/aligned_mtl.hpp"
#include "gramstep/aggregators/config.hpp"
#include "gramstep/aggregators/constant.hpp"
#include "gramstep/aggregators/db_mtl.hpp"
#include "gramstep/aggregators/gradvac.hpp"
#include "gramstep/aggregators/imtl_g.hpp"
#include "gramstep/aggregators/krum.hpp"
#include "gramstep/aggregators/mean.hpp"
#include "gramstep/aggregators/moco.hpp"
#include "gramstep/aggregators/modo.hpp"
#include "gramstep/aggregators/momentum_config.hpp"
#include "gramstep/aggregators/pcgrad.hpp"
#include "gramstep/aggregators/random.hpp"
#include "gramstep/aggregators/sdmgrad.hpp"
#include "gramstep/aggregators/sum.hpp"
#include "tests/aggregators/problems.hpp"
#include "tests/aggregators/solve.hpp"

namespace gramstep::test {
namespace {

template <class A>
struct WeightsBody {
  A aggregator;
  GramProblem problem;
  double* w;
  Solution* solutions;  // one a thread

  struct Shared {};

  template <class X>
  void operator()(const X& x, Shared&) const {
    solutions[x.thread()] = aggregator.weights(x, problem, w);
  }
};

/// Runs a block, and compares all that it leaves with what one thread leaves.
template <class A>
void expect_same_bits(const A& aggregator, const Problem& given, const simt::Launch& launch) {
  const int tasks = given.tasks();
  SCOPED_TRACE(given.name + " " + std::string(A::name));
  std::vector<double> state(static_cast<std::size_t>(state_size<A>(tasks)), 1.0 / tasks);
  const Solved<A> one = solve(aggregator, given.gram, tasks, {}, 2, state);

  // Of exactly the size asked for: AddressSanitizer watches the ends.
  std::vector<double> scratch(static_cast<std::size_t>(A::scratch(tasks)), NAN);
  std::vector<double> w(static_cast<std::size_t>(tasks), NAN), next_state(state.size(), NAN);
  std::vector<Solution> solutions(static_cast<std::size_t>(launch.threads));
  const GramProblem problem{.tasks = tasks,
                            .gram = given.gram.data(),
                            .losses = nullptr,
                            .step = 2,
                            .group = 0,
                            .state = state.data(),
                            .next_state = next_state.data(),
                            .scratch = scratch.data()};
  simt::run(launch, WeightsBody<A>{aggregator, problem, w.data(), solutions.data()});
  EXPECT_TRUE(same_bits(w, one.w));
  EXPECT_TRUE(same_bits(next_state, one.next_state));
  for (const Solution& solution : solutions) {
    EXPECT_EQ(solution.residual, one.solution.residual);
    EXPECT_EQ(solution.iterations, one.solution.iterations);
  }
}

template <class A>
class Block : public ::testing::Test {};
using Aggregators = ::testing::Types<Sum, Mean, PCGrad, gramstep::Random, GradVac, IMTLG, ConFIG,
                                     AlignedMTL, SDMGrad, MoDo, Krum, MoCo, DBMTL, MomentumConFIG>;
TYPED_TEST_SUITE(Block, Aggregators);

TYPED_TEST(Block, GivesTheBitsOfOneThread) {
  const simt::Launch launches[] = {{.threads = 512, .order = simt::Order::forward},
                                   {.threads = 32, .order = simt::Order::reverse},
                                   {.threads = 96, .order = simt::Order::random}};
  for (const simt::Launch& launch : launches) {
    // Full rank and not: both ways to a pseudo-inverse.
    for (const Kind kind : {Kind::normal, Kind::deficient, Kind::zero}) {
      for (const int tasks : {1, 2, 3, 8, 17}) {
        if (tasks < 3 && TypeParam::name == Krum::name) continue;
        expect_same_bits(TypeParam{}, make_problem(kind, tasks, 1), launch);
      }
    }
  }
  expect_same_bits(TypeParam{}, make_problem(Kind::opposite, 64, 1), {.threads = 512});
}

TEST(ConstantBlock, GivesTheBitsOfOneThread) {
  expect_same_bits(Constant{{1, -2, 3}}, make_problem(Kind::normal, 3, 1), {.threads = 64});
}

}  // namespace
}  // namespace gramstep::test
