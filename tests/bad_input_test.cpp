// Bad input to a step: a message that names it, and nothing changed.
#include <functional>

#include "tests/rig.hpp"

namespace gramstep::test {
namespace {

using Words = std::vector<std::string>;

/// An optimizer in the midst of its work, and what must not change.
class BadStep : public ::testing::Test {
 protected:
  BadStep()
      : rig_(mixed_layout(2),
             {.rule = AdamW{}, .aggregator = PCGrad{}, .tasks = 2, .clip_norm = 1.0}) {
    rig_.draw_and_step(2);
    before_ = rig_.snapshot();
  }

  void expect_refused(const std::function<void()>& call, const Words& words) {
    expect_error<InvalidArgument>(call, words);
    expect_same(before_, rig_.snapshot());
    EXPECT_EQ(rig_.optimizer.report().skipped_steps, 0);
  }

  void expect_step_refused(std::span<float> params, const Gradients& gradients,
                           const Words& words) {
    expect_refused([&] { rig_.optimizer.step(params, gradients); }, words);
  }

  /// The gradients with one row changed.
  Gradients with_row(const float* row) {
    rows_ = {rig_.rows[0].data(), row};
    Gradients gradients = rig_.gradients();
    gradients.rows = rows_;
    return gradients;
  }
  Gradients with_heads(std::span<const float> heads) {
    Gradients gradients = rig_.gradients();
    gradients.heads = heads;
    return gradients;
  }

  /// One byte beyond where floats may be.
  template <class Float>
  static Float* misaligned(Float* from) {
    return reinterpret_cast<Float*>(reinterpret_cast<std::uintptr_t>(from) + 1);
  }

  Rig rig_;
  Snapshot before_;
  std::vector<const float*> rows_;
};

TEST_F(BadStep, NullPointers) {
  const std::span<float> params = rig_.params.span(), heads = rig_.heads.span();
  expect_step_refused({static_cast<float*>(nullptr), params.size()}, rig_.gradients(),
                      {"params", "got null", "expected"});
  expect_step_refused(params, with_row(nullptr), {"rows[1]", "got null", "expected"});
  expect_step_refused(params, with_heads({static_cast<float*>(nullptr), heads.size()}),
                      {"heads", "got null", "expected"});
}

TEST_F(BadStep, MisalignedPointers) {
  const std::span<float> params = rig_.params.span(), heads = rig_.heads.span();
  expect_step_refused({misaligned(params.data()), params.size()}, rig_.gradients(),
                      {"params", "got", "expected", "4 bytes"});
  expect_step_refused(params, with_row(misaligned(rig_.rows[1].data())),
                      {"rows[1]", "got", "expected", "4 bytes"});
  expect_step_refused(params, with_heads({misaligned(heads.data()), heads.size()}),
                      {"heads", "got", "expected", "4 bytes"});
}

TEST_F(BadStep, SizesThatDoNotMatchTheLayout) {
  const Layout& layout = rig_.optimizer.layout();
  const auto words = [](const char* what, std::int64_t got, std::int64_t expected) {
    return Words{what, "got " + std::to_string(got), "expected " + std::to_string(expected)};
  };
  const std::span<float> params = rig_.params.span(), heads = rig_.heads.span();
  expect_step_refused(params.subspan(1), rig_.gradients(),
                      words("params", layout.size() - 1, layout.size()));
  expect_step_refused({}, rig_.gradients(), words("params", 0, layout.size()));
  Gradients shorter = rig_.gradients();
  shorter.row_size -= 1;
  expect_step_refused(params, shorter,
                      words("row_size", layout.shared_size() - 1, layout.shared_size()));
  shorter.row_size = -1;
  expect_step_refused(params, shorter, words("row_size", -1, layout.shared_size()));
  expect_step_refused(params, with_heads(heads.subspan(1)),
                      words("heads", layout.heads_size() - 1, layout.heads_size()));
  expect_step_refused(params, with_heads({}), words("heads", 0, layout.heads_size()));
}

TEST_F(BadStep, AnotherNumberOfRows) {
  for (const std::size_t count : {0u, 1u, 3u}) {
    const std::vector<const float*> rows(count, rig_.rows[0].data());
    Gradients gradients = rig_.gradients();
    gradients.rows = rows;
    expect_step_refused(rig_.params.span(), gradients,
                        {"rows", "got " + std::to_string(count), "expected 2"});
  }
}

TEST_F(BadStep, OneGradientForTwoTasks) {
  Floats gradient(rig_.optimizer.layout().size());
  expect_refused([&] { rig_.optimizer.step(rig_.params.span(), gradient.span()); },
                 {"gradient", "expected 2"});
}

TEST_F(BadStep, OverlappingMemory) {
  const Layout& layout = rig_.optimizer.layout();
  const std::span<float> params = rig_.params.span();
  const std::span<float> state = rig_.optimizer.state("exp_avg_sq");
  const Words row_words{"rows[1]", "got", "overlap", "params", "expected"};
  expect_step_refused(params, with_row(params.data()), row_words);
  expect_step_refused(params, with_row(params.data() + layout.size() - 1), row_words);
  expect_step_refused(params, with_row(params.data() - layout.shared_size() + 1), row_words);
  expect_step_refused(params, with_row(state.data()), {"rows[1]", "got", "overlap", "state"});
  const auto heads_size = static_cast<std::size_t>(layout.heads_size());
  expect_step_refused(params, with_heads({params.data() + 1, heads_size}),
                      {"heads", "got", "overlap", "params", "expected"});
  expect_step_refused(params, with_heads({state.data(), heads_size}),
                      {"heads", "got", "overlap", "state"});
  expect_step_refused(state, rig_.gradients(), {"params", "state"});
}

TEST_F(BadStep, ARefusedStepDoesNotStandInTheNextOnesWay) {
  expect_step_refused(rig_.params.span(), with_row(rig_.params.data()), {"overlap"});
  expect_step_refused(rig_.params.span(), with_row(rig_.params.data()), {"overlap"});
  EXPECT_NO_THROW(rig_.step());
  expect_error<InvalidArgument>(
      [&] { rig_.optimizer.step(rig_.params.span(), with_row(rig_.params.data())); }, {"overlap"});
}

TEST_F(BadStep, MemorySideBySideDoesNotOverlap) {
  const Layout& layout = rig_.optimizer.layout();
  Floats all(2 * layout.size());
  for (float& value : all.span()) value = 0.5f;
  const std::span<float> params = all.span().first(static_cast<std::size_t>(layout.size()));
  EXPECT_NO_THROW(rig_.optimizer.step(params, with_row(all.data() + layout.size())));
}

TEST_F(BadStep, AStreamForTheCpu) {
  int not_a_stream = 0;
  const auto stream = reinterpret_cast<Stream>(&not_a_stream);
  Optimizer& optimizer = rig_.optimizer;
  const Words words{"stream", "got", "expected"};
  expect_refused([&] { optimizer.step(rig_.params.span(), rig_.gradients(), stream); }, words);
  expect_refused([&] { optimizer.set_lr(0.5, stream); }, words);
  expect_refused([&] { optimizer.set_loss_scale(0.5, stream); }, words);
  expect_refused([&] { optimizer.set_active("scalar", false, stream); }, words);
  expect_refused([&] { optimizer.report(stream); }, words);
  expect_refused([&] { optimizer.segment_steps(stream); }, words);
  EXPECT_EQ(std::get<AdamW>(optimizer.options().rule).lr, AdamW{}.lr);
  EXPECT_EQ(optimizer.options().loss_scale, 1.0);
}

TEST_F(BadStep, SettersOutOfRange) {
  for (const double lr : {-0.1, std::nan(""), infinity, -infinity}) {
    expect_refused([&] { rig_.optimizer.set_lr(lr); }, {"set_lr", "lr", "got", "expected"});
  }
  for (const double scale : {0.0, -1.0, std::nan(""), infinity}) {
    expect_refused([&] { rig_.optimizer.set_loss_scale(scale); },
                   {"set_loss_scale", "loss_scale", "got", "expected"});
  }
  expect_refused([&] { rig_.optimizer.set_active("tail", false); },
                 {"got", "\"tail\"", "expected"});
  EXPECT_EQ(std::get<AdamW>(rig_.optimizer.options().rule).lr, AdamW{}.lr);
  EXPECT_EQ(rig_.optimizer.options().loss_scale, 1.0);
}

}  // namespace
}  // namespace gramstep::test
