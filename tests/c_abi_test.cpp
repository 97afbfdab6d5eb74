// The C ABI: from C, and against the class it stands before.
#include <cmath>

#include "gramstep/gramstep.h"
#include "tests/rig.hpp"

extern "C" const char* gramstep_c_smoke(void);
extern "C" const char* gramstep_c_settings_smoke(void);

namespace gramstep::test {
namespace {

TEST(CAbi, DrivesATrainerFromC) {
  const char* wrong = gramstep_c_smoke();
  EXPECT_EQ(wrong, nullptr) << (wrong == nullptr ? "" : wrong);
}

TEST(CAbi, IsSetFromC) {
  const char* wrong = gramstep_c_settings_smoke();
  EXPECT_EQ(wrong, nullptr) << (wrong == nullptr ? "" : wrong);
}

TEST(CAbi, NamesWhatTheClassesName) {
  EXPECT_EQ(GRAMSTEP_MAX_TASKS, max_tasks);
  EXPECT_EQ(GRAMSTEP_SHARED, shared_by_all);
  EXPECT_EQ(gramstep_cuda_devices(), cuda_devices());
  EXPECT_EQ(std::string_view(gramstep_cpu_isa()), cpu_isa());
}

/// The same layout through C.
struct CLayout {
  explicit CLayout(const Layout& from) {
    EXPECT_EQ(gramstep_layout_create(&layout), GRAMSTEP_OK);
    for (int s = 0; s < from.segments(); ++s) {
      const Segment segment = from.segment(s);
      const GroupOptions& group = from.groups()[static_cast<std::size_t>(segment.group)];
      const gramstep_group_options options{
          group.lr_scale, group.weight_decay.value_or(std::nan("")),
          group.maximize ? *group.maximize : -1, group.elementwise};
      EXPECT_EQ(gramstep_layout_add_group(layout, segment.name.c_str(), &options), GRAMSTEP_OK);
      EXPECT_EQ(gramstep_layout_add(layout, segment.name.c_str(), segment.shape.data(),
                                    static_cast<std::int32_t>(segment.shape.size()), segment.task,
                                    segment.name.c_str()),
                GRAMSTEP_OK);
    }
  }
  ~CLayout() { gramstep_layout_destroy(layout); }
  CLayout(const CLayout&) = delete;
  CLayout& operator=(const CLayout&) = delete;

  gramstep_layout* layout = nullptr;
};

gramstep_gradients in_c(const Gradients& from) {
  return {.struct_size = sizeof(gramstep_gradients),
          .rows = static_cast<const void* const*>(from.rows.pointers),
          .row_size = from.row_size,
          .heads = from.heads.data,
          .heads_size = from.heads.size,
          .losses = from.losses.data(),
          .losses_size = std::ssize(from.losses),
          .grad_scale = from.grad_scale,
          .found_inf = from.found_inf,
          .tasks = static_cast<std::int32_t>(from.rows.count),
          .reserved = 0};
}

/// Three steps through the class and three through C, from the same memory: the same bits.
void expect_same_steps(const OptimizerOptions& options, const gramstep_options& c_options) {
  Rig rig(mixed_layout(3), options), c_rig(mixed_layout(3), options);
  const CLayout layout(rig.optimizer.layout());
  gramstep_optimizer* optimizer = nullptr;
  ASSERT_EQ(gramstep_optimizer_create(&optimizer, layout.layout, &c_options), GRAMSTEP_OK)
      << gramstep_last_error();
  for (int i = 0; i < 3; ++i) {
    rig.draw_and_step();
    c_rig.draw();
    const Gradients g = c_rig.gradients();
    const gramstep_gradients c_gradients = in_c(g);
    EXPECT_EQ(gramstep_step(optimizer, c_rig.params.data(), std::ssize(c_rig.params.span()),
                            &c_gradients, nullptr),
              GRAMSTEP_OK)
        << gramstep_last_error();
  }
  EXPECT_TRUE(same_bits(rig.params.span(), c_rig.params.span()));
  gramstep_optimizer_destroy(optimizer);
}

gramstep_options c_defaults(const char* rule) {
  gramstep_options options;
  EXPECT_EQ(gramstep_options_init(&options), GRAMSTEP_OK);
  options.rule = rule;
  options.tasks = 3;
  return options;
}

TEST(CAbi, EveryOptionReachesTheCore) {
  gramstep_options c = c_defaults(nullptr);
  expect_same_steps({.rule = SGD{}, .tasks = 3}, c);

  c.rule = "SGD(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.2, maximize=true)";
  c.aggregator = "Constant(values=[0.5, -1, 2])";
  c.loss_scale = 2;
  expect_same_steps(
      {.rule =
           SGD{.lr = 0.1, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.2, .maximize = true},
       .aggregator = Constant{{0.5, -1, 2}},
       .tasks = 3,
       .loss_scale = 2},
      c);

  c = c_defaults("Adam(beta1=0.5, beta2=0.75, epsilon=0.125, amsgrad=true)");
  c.aggregator = "PCGrad(reduction=mean, seed=5)";
  c.clip_norm = 0.5;
  c.threads = 1;
  expect_same_steps({.rule = Adam{.beta1 = 0.5, .beta2 = 0.75, .epsilon = 0.125, .amsgrad = true},
                     .aggregator = PCGrad{.reduction = Reduction::mean, .seed = 5},
                     .tasks = 3,
                     .clip_norm = 0.5},
                    c);

  c = c_defaults("AdamW");
  c.aggregator = "PCGrad(order=fixed)";
  c.projection = GRAMSTEP_PROJECT_SEGMENT;
  c.smoothing = 0.5;
  expect_same_steps({.rule = AdamW{},
                     .aggregator = PCGrad{.order = PCGradOrder::fixed},
                     .tasks = 3,
                     .projection = Projection::segment,
                     .smoothing = 0.5},
                    c);

  c = c_defaults("NAdam");
  c.schedule = "StepLR(step_size=1, gamma=0.5)";
  c.warmup_steps = 2;
  c.warmup_start_factor = 0.25;
  c.loss_scale = 8;
  c.dynamic_loss_scale = 1;
  c.growth_factor = 4;
  c.growth_interval = 2;
  expect_same_steps(
      {.rule = NAdam{},
       .tasks = 3,
       .schedule = StepLR{.step_size = 1, .gamma = 0.5},
       .warmup = {.steps = 2, .start_factor = 0.25},
       .loss_scale = 8,
       .dynamic_loss_scale = DynamicLossScale{.growth_factor = 4, .growth_interval = 2}},
      c);
}

TEST(CAbi, EveryPolicyReachesTheCore) {
  const Layout layout = mixed_layout(3);
  const CLayout c_layout(layout);
  Rig rig(layout, {.tasks = 3});
  rig.gradient("scalar")[0] = NAN;
  for (const auto& [policy, status] :
       {std::pair(GRAMSTEP_NON_FINITE_DEFAULT, GRAMSTEP_OK),
        std::pair(GRAMSTEP_NON_FINITE_SKIP, GRAMSTEP_OK),
        std::pair(GRAMSTEP_NON_FINITE_ERROR, GRAMSTEP_NON_FINITE_GRADIENT),
        std::pair(GRAMSTEP_NON_FINITE_PROPAGATE, GRAMSTEP_OK)}) {
    gramstep_options options = c_defaults("SGD");
    options.non_finite = policy;
    gramstep_optimizer* optimizer = nullptr;
    ASSERT_EQ(gramstep_optimizer_create(&optimizer, c_layout.layout, &options), GRAMSTEP_OK);
    const gramstep_gradients gradients = in_c(rig.gradients());
    EXPECT_EQ(gramstep_step(optimizer, rig.params.data(), layout.size(), &gradients, nullptr),
              status);
    EXPECT_EQ(std::isnan(rig.param("scalar")[0]), policy == GRAMSTEP_NON_FINITE_PROPAGATE);
    gramstep_optimizer_destroy(optimizer);
  }
}

/// State of one segment, of a matrix and of one that its group leaves to the rest of the rule.
TEST(CAbi, GivesStateBySegment) {
  Layout layout;
  layout.add("weight", {5, 7});
  layout.add("embedding", {5, 7}, {.elementwise = true});
  const CLayout c_layout(layout);
  const gramstep_options options = c_defaults("Adafactor");
  gramstep_optimizer* optimizer = nullptr;
  ASSERT_EQ(gramstep_optimizer_create(&optimizer, c_layout.layout, &options), GRAMSTEP_OK);
  const auto size_of = [&](const char* name, const char* segment) {
    float* data = nullptr;
    std::int64_t size = 0;
    const gramstep_status status = gramstep_state_of(optimizer, name, segment, &data, &size);
    EXPECT_EQ(data != nullptr, status == GRAMSTEP_OK);
    return status == GRAMSTEP_OK ? size : -1;
  };
  EXPECT_EQ(size_of("row_var", "weight"), 5);
  EXPECT_EQ(size_of("col_var", "weight"), 7);
  EXPECT_EQ(size_of("variance", "embedding"), 35);
  EXPECT_EQ(size_of("variance", "weight"), -1);
  EXPECT_EQ(size_of("row_var", "embedding"), -1);
  EXPECT_EQ(size_of("row_var", nullptr), -1);
  float* whole = nullptr;
  EXPECT_EQ(gramstep_state(optimizer, "row_var", &whole, nullptr), GRAMSTEP_INVALID_ARGUMENT);
  gramstep_optimizer_destroy(optimizer);
}

}  // namespace
}  // namespace gramstep::test
