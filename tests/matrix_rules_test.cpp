// What the rules that treat matrices apart have in common: state by kind, and the rest of the layout beside
// its matrices.
#include <algorithm>
#include <cmath>

#include "tests/matrices.hpp"
#include "tests/rig.hpp"

namespace gramstep::test {
namespace {

const Rule matrix_rules[] = {Adafactor{.lr = 0.25}, Muon{.lr = 0.25}};

TEST(MatrixRules, StateIsKeptByKind) {
  using Names = std::vector<std::string_view>;
  Optimizer adafactor(matrix_layout(), {.rule = Adafactor{}});
  EXPECT_EQ(adafactor.state_names(), (Names{"col_var", "row_var", "variance"}));
  EXPECT_EQ(adafactor.state_names("stack"), (Names{"col_var", "row_var"}));
  EXPECT_EQ(adafactor.state_names("vector"), Names{"variance"});
  EXPECT_EQ(adafactor.state_names("none"), Names{"variance"});
  EXPECT_EQ(adafactor.state("row_var", "stack").shape, (Shape{2, 3, 5, 1}));
  EXPECT_EQ(adafactor.state("col_var", "stack").shape, (Shape{2, 3, 1, 7}));
  EXPECT_EQ(adafactor.state("row_var", "stack").size, 30);
  EXPECT_EQ(adafactor.state("variance", "scalar").size, 1);
  Optimizer muon(matrix_layout(), {.rule = Muon{}});
  EXPECT_EQ(muon.state_names(), (Names{"momentum_buffer", "exp_avg", "exp_avg_sq"}));
  EXPECT_EQ(muon.state_names("large"), Names{"momentum_buffer"});
  EXPECT_EQ(muon.state_names("stack"), (Names{"exp_avg", "exp_avg_sq"})) << "not of two dimensions";
  EXPECT_EQ(muon.state("momentum_buffer", "head").shape, (Shape{9, 33}));
}

TEST(MatrixRules, StateThatIsNotKeptIsRefused) {
  Optimizer muon(matrix_layout(), {.rule = Muon{}});
  expect_error<InvalidArgument>([&] { muon.state("momentum_buffer"); },
                                {"Muon", "got no segment", "matrices"});
  expect_error<InvalidArgument>([&] { muon.state("momentum_buffer", "vector"); },
                                {"\"momentum_buffer\" of segment vector", "a matrix to Muon"});
  expect_error<InvalidArgument>([&] { muon.state("exp_avg", "large"); },
                                {"\"exp_avg\" of segment large", "no matrix to Muon"});
  expect_error<InvalidArgument>([&] { muon.state("variance", "large"); },
                                {"\"variance\"", "momentum_buffer exp_avg exp_avg_sq"});
  expect_error<InvalidArgument>([&] { muon.state_names("large one"); }, {"large one"});
}

/// A group or a segment may leave its matrices to the other half of the rule.
TEST(MatrixRules, ElementwiseSegmentsAreNoMatrices) {
  Layout layout;
  layout.add_group("embeddings", {.elementwise = true});
  layout.add("embedding", {20, 30}, {.group = "embeddings"});
  layout.add("own", {20, 30}, {.elementwise = true});
  layout.add("back", {20, 30}, {.group = "embeddings", .elementwise = false});
  layout.add("weight", {20, 30});
  Optimizer adafactor(layout, {.rule = Adafactor{}});
  for (const char* name : {"embedding", "own"}) {
    EXPECT_EQ(adafactor.state_names(name)[0], "variance") << name;
  }
  for (const char* name : {"back", "weight"}) {
    EXPECT_EQ(adafactor.state_names(name)[0], "col_var") << name;
  }
}

TEST(MatrixRules, MisalignedMemoryGivesTheSameBits) {
  for (const Rule& rule : matrix_rules) {
    for (const int tasks : {1, 3, 9}) {
      Rig aligned(matrix_layout(), {.rule = rule, .tasks = tasks});
      aligned.draw_and_step(2);
      Rig shifted(matrix_layout(), {.rule = rule, .tasks = tasks}, 1);
      shifted.draw_and_step(2);
      expect_same(aligned.snapshot(), shifted.snapshot());
      shifted.expect_padding_untouched();
    }
  }
}

TEST(MatrixRules, ThreadsDoNotChangeABit) {
  Layout layout = matrix_layout();
  layout.add("square", {300, 300});
  for (const Rule& rule : matrix_rules) {
    Rig one(layout, {.rule = rule, .tasks = 2, .device = cpu(1)});
    one.draw_and_step(2);
    for (const int threads : {2, 3, 8}) {
      Rig several(layout, {.rule = rule, .tasks = 2, .device = cpu(threads)});
      several.draw_and_step(2);
      expect_same(one.snapshot(), several.snapshot());
    }
  }
}

TEST(MatrixRules, ASkippedStepMovesNothing) {
  for (const Rule& rule : matrix_rules) {
    Rig rig(matrix_layout(), {.rule = rule, .non_finite = NonFinite::skip});
    rig.draw_and_step(2);
    const Snapshot before = rig.snapshot();
    rig.gradient("large")[42'069] = NAN;
    rig.step();
    EXPECT_TRUE(rig.optimizer.report().skipped);
    expect_same(before, rig.snapshot(), false);
  }
}

/// A NaN comes through everywhere in its tensor, and nowhere else.
TEST(MatrixRules, ANanIsAllOfItsTensor) {
  const auto is_nan = [](float p) { return std::isnan(p); };
  for (const Rule& rule : matrix_rules) {
    for (const char* name : {"large", "head"}) {
      Rig rig(matrix_layout(), {.rule = rule});
      rig.gradient(name)[8] = NAN;
      rig.step();
      EXPECT_TRUE(std::ranges::all_of(rig.param(name), is_nan)) << text_of(rule) << name;
      EXPECT_TRUE(std::ranges::none_of(rig.param("aligned"), is_nan)) << text_of(rule);
    }
  }
}

/// An inactive matrix beside one of its shape is left alone, whatever is in its place.
TEST(MatrixRules, InactiveMatricesAreLeftAlone) {
  Layout layout;
  for (const char* name : {"a", "b", "c"}) layout.add(name, {20, 30});
  for (const Rule& rule : matrix_rules) {
    Rig rig(layout, {.rule = rule}), without(layout, {.rule = rule});
    rig.draw_and_step();
    without.draw_and_step();
    const std::vector<float> before = copy_of(rig.param("b"));
    without.optimizer.set_active("b", false);
    std::ranges::fill(without.gradient("b"), NAN);
    rig.step();
    without.step();
    EXPECT_TRUE(same_bits(before, without.param("b")));
    for (const char* name : {"a", "c"}) {
      EXPECT_TRUE(same_bits(rig.param(name), without.param(name))) << text_of(rule) << name;
    }
  }
}

TEST(MatrixRules, ChangeTheirOptionsAlone) {
  Rig rig(matrix_layout(), {.rule = Muon{}});
  rig.optimizer.set_rule(Muon{.lr = 0.5, .nesterov = false, .ns_steps = 2});
  EXPECT_EQ(text_of(rig.optimizer.options().rule),
            text_of(Rule(Muon{.lr = 0.5, .nesterov = false, .ns_steps = 2})));
  expect_error<InvalidState>([&] { rig.optimizer.set_rule(AdamW{}); }, {"momentum_buffer"});
  expect_error<InvalidState>([&] { rig.optimizer.set_rule(Adafactor{}); }, {"row_var"});
  Rig adamw(matrix_layout(), {.rule = AdamW{}});
  expect_error<InvalidState>([&] { adamw.optimizer.set_rule(Muon{}); }, {"momentum_buffer"});
}

/// What one layout has by row another has by element.
TEST(MatrixRules, StateIsNotCopiedBetweenKinds) {
  Layout matrix, elements;
  matrix.add("a", {4, 5});
  elements.add("a", {4, 5}, {.elementwise = true});
  Optimizer from(matrix, {.rule = Adafactor{}}), to(elements, {.rule = Adafactor{}});
  expect_error<InvalidState>([&] { to.copy_state(from); }, {"other state"});
}

TEST(MatrixRules, StateIsCopied) {
  for (const Rule& rule : matrix_rules) {
    Rig from(matrix_layout(), {.rule = rule}), to(matrix_layout(), {.rule = rule});
    from.draw_and_step(3);
    to.optimizer.copy_state(from.optimizer);
    std::ranges::copy(from.params.span(), to.params.data());
    from.step();
    for (std::size_t i = 0; i < from.rows.size(); ++i) {
      std::ranges::copy(from.rows[i].span(), to.rows[i].data());
    }
    std::ranges::copy(from.heads.span(), to.heads.data());
    to.step();
    expect_same(from.snapshot(), to.snapshot(), false);
  }
}

}  // namespace
}  // namespace gramstep::test
