// Momenta of the task gradients, kept by the gram stage: against m = keep m + take g by hand.
#include <cmath>

#include "tests/rig.hpp"

namespace gramstep::test {
namespace {

const std::vector<float> some_losses = {0.5f, 2.0f, 1.25f};

OptimizerOptions options_with(const Aggregator& aggregator) {
  return {.rule = SGD{.lr = 0.01}, .aggregator = aggregator, .tasks = 3};
}

/// A rig beside the momenta that its tasks should have, in the order of fp32's operations.
class MomentumRig : public Rig {
 public:
  template <class A>
  explicit MomentumRig(const A& aggregator, double loss_scale = 1)
      : Rig(mixed_layout(3), with_scale(aggregator, loss_scale)),
        momentum_(
            [aggregator](std::int64_t t, double loss) { return aggregator.momentum(t, loss); }),
        expected_(3, std::vector<float>(rows[0].span().size())),
        loss_scale_(loss_scale) {
    losses = some_losses;
  }

  void set_loss_scale(double loss_scale) {
    optimizer.set_loss_scale(loss_scale);
    loss_scale_ = loss_scale;
  }

  void draw_and_step() {
    draw();
    ++step_;
    for (int k = 0; k < 3; ++k) {
      const TaskMomentum now =
          momentum_(step_, static_cast<double>(some_losses[static_cast<std::size_t>(k)]));
      const auto keep = static_cast<float>(now.keep);
      const auto take = static_cast<float>(now.take / loss_scale_);
      for (const std::string& name : shared()) {
        if (name == inactive) continue;
        const std::int64_t at = optimizer.layout().segment(name).offset;
        const std::span<float> g = gradient(name, k);
        for (std::size_t i = 0; i < g.size(); ++i) {
          float& m = expected_[static_cast<std::size_t>(k)][static_cast<std::size_t>(at) + i];
          const float kept = keep * m, taken = take * g[i];
          m = kept + taken;
        }
      }
    }
    step();
  }

  void expect_momenta() {
    for (int k = 0; k < 3; ++k) {
      const std::span<float> got = optimizer.task_momentum(k);
      for (const std::string& name : shared()) {
        const Segment s = optimizer.layout().segment(name);
        const auto first = static_cast<std::size_t>(s.offset),
                   size = static_cast<std::size_t>(s.size);
        EXPECT_TRUE(
            same_bits(got.subspan(first, size),
                      std::span(expected_[static_cast<std::size_t>(k)]).subspan(first, size)))
            << name << ", task " << k << ", step " << step_;
      }
    }
  }

  std::string inactive;

 private:
  template <class A>
  static OptimizerOptions with_scale(const A& aggregator, double loss_scale) {
    OptimizerOptions options = options_with(aggregator);
    options.loss_scale = loss_scale;
    return options;
  }

  std::vector<std::string> shared() const {
    std::vector<std::string> names;
    for (int s = 0; s < optimizer.layout().segments(); ++s) {
      const Segment segment = optimizer.layout().segment(s);
      if (segment.task == shared_by_all) names.push_back(segment.name);
    }
    return names;
  }

  std::function<TaskMomentum(std::int64_t, double)> momentum_;
  std::vector<std::vector<float>> expected_;
  double loss_scale_;
  std::int64_t step_ = 0;
};

TEST(TaskMomentum, IsKeptAsTheMethodSays) {
  const auto expect_right = [](auto aggregator) {
    MomentumRig rig(aggregator);
    for (int i = 0; i < 4; ++i) {
      rig.draw_and_step();
      rig.expect_momenta();
    }
    EXPECT_TRUE(rig.optimizer.report().looked);
    rig.expect_padding_untouched();
  };
  expect_right(MoCo{});
  expect_right(DBMTL{});
  expect_right(MomentumConFIG{});
}

TEST(TaskMomentum, OfAnInactiveSegmentStaysAndItsParametersToo) {
  MomentumRig rig(MoCo{});
  rig.draw_and_step();
  rig.inactive = "shared4097";
  rig.optimizer.set_active(rig.inactive, false);
  const std::vector<float> before(rig.param(rig.inactive).begin(), rig.param(rig.inactive).end());
  rig.draw_and_step();
  rig.draw_and_step();
  rig.expect_momenta();
  EXPECT_TRUE(same_bits(rig.param(rig.inactive), before));
}

TEST(TaskMomentum, HasTheLossScaleDividedOut) {
  MomentumRig rig(MomentumConFIG{}, 4);
  rig.draw_and_step();
  rig.set_loss_scale(16);
  rig.draw_and_step();
  rig.expect_momenta();
}

TEST(TaskMomentum, OfASkippedStepIsAsItWas) {
  MomentumRig rig(MoCo{});
  rig.draw_and_step();
  rig.draw_and_step();
  const auto weights = rig.optimizer.plan_state("weights");
  const Snapshot before = rig.snapshot();
  for (const float bad : {NAN, INFINITY}) {
    rig.draw();
    rig.gradient("shared7001", 1)[7'000] = bad;
    rig.step();
    EXPECT_TRUE(rig.optimizer.report().skipped);
    rig.expect_momenta();
    expect_same(before, rig.snapshot(), false);
    EXPECT_EQ(rig.optimizer.plan_state("weights"), weights);
  }
  rig.draw_and_step();
  rig.expect_momenta();
}

TEST(TaskMomentum, IsCombinedInTheGradientsPlace) {
  Rig rig(mixed_layout(3), options_with(MomentumConFIG{}));
  const std::vector<float> before(rig.param("shared129").begin(), rig.param("shared129").end());
  rig.draw();
  rig.step();
  rig.draw();
  const std::vector<float> second(rig.param("shared129").begin(), rig.param("shared129").end());
  rig.step();
  const Report report = rig.optimizer.report();
  const auto at = static_cast<std::size_t>(rig.optimizer.layout().segment("shared129").offset);
  for (std::size_t i = 0; i < second.size(); ++i) {
    float d = 0;
    for (int k = 0; k < 3; ++k) {
      const float w = static_cast<float>(report.weights[static_cast<std::size_t>(k)]);
      const float product = w * rig.optimizer.task_momentum(k)[at + i];
      d = k == 0 ? product : d + product;
    }
    // Group "slow": a quarter of lr, decay 0.5, ascent.
    const float g = -d + 0.5f * second[i];
    EXPECT_FLOAT_EQ(rig.param("shared129")[i], second[i] - 0.0025f * g);
  }
}

TEST(TaskMomentum, IsCopiedWithTheState) {
  MomentumRig rig(MoCo{});
  rig.draw_and_step();
  Rig copy(mixed_layout(3), options_with(MoCo{}));
  copy.optimizer.copy_state(rig.optimizer);
  std::ranges::copy(rig.params.span(), copy.params.span().begin());
  for (int i = 0; i < 2; ++i) {
    rig.draw_and_step();
    for (std::size_t k = 0; k < 3; ++k) {
      std::ranges::copy(rig.rows[k].span(), copy.rows[k].span().begin());
    }
    std::ranges::copy(rig.heads.span(), copy.heads.span().begin());
    copy.step();
    EXPECT_TRUE(same_bits(rig.params.span(), copy.params.span()));
  }
  Rig other(mixed_layout(3), options_with(MoDo{}));
  expect_error<InvalidState>([&] { other.optimizer.copy_state(rig.optimizer); },
                             {"copy_state", "MoCo", "MoDo"});
}

TEST(TaskMomentum, IsAskedForWhereThereIsNone) {
  Rig rig(mixed_layout(3), options_with(MoCo{}));
  expect_error<InvalidArgument>([&] { rig.optimizer.task_momentum(3); }, {"task 3", "MoCo"});
  Rig plain(mixed_layout(3), options_with(PCGrad{}));
  expect_error<InvalidArgument>([&] { plain.optimizer.task_momentum(0); }, {"PCGrad", "momentum"});
}

}  // namespace
}  // namespace gramstep::test
