// The rules that treat matrices apart: Adafactor, which keeps moments by row and by column, and Muon, which
// makes its momentum orthogonal; and the rest of the layout beside them.
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>

#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

/// A matrix of more than one tile and more than one chunk, a stack, one row, one column, and what is none.
Layout matrix_layout() {
  Layout layout;
  layout.add("large", {70, 601});
  layout.add("aligned", {65, 516});
  layout.add("stack", {2, 3, 5, 7});
  layout.add("row", {1, 130});
  layout.add("column", {130, 1});
  layout.add("none", {0, 5});
  layout.add("vector", {131});
  layout.add("scalar", {});
  layout.add("head", {9, 33}, {.task = 0});
  return layout;
}

const Rule matrix_rules[] = {Adafactor{.lr = 0.25}, Muon{.lr = 0.25}};

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Matrix matrix_of(std::span<const float> values, const Shape& shape) {
  return Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
             values.data(), shape[0], shape[1])
      .cast<double>();
}

std::vector<float> copy_of(std::span<const float> values) { return {values.begin(), values.end()}; }

// ---- Both ---------------------------------------------------------------------------------------------

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

// ---- Adafactor ----------------------------------------------------------------------------------------

TEST(Adafactor, IsTheReferenceOverTilesAndStacks) {
  for (const int tasks : {1, 3}) {
    Twin twin(
        matrix_layout(),
        {.rule = Adafactor{.lr = 0.125, .epsilon1 = 0.01, .weight_decay = 0.1}, .tasks = tasks});
    twin.draw_and_step(2);
    twin.draw_and_step_without("large", "head");
    twin.draw_and_step();
    twin.expect_close();
  }
}

/// |g_ij| = a_i b_j is a gradient whose squares are of rank one: nothing is lost by keeping their rows and
/// columns, and the first step is the learning rate times the RMS of the parameters, for every element.
TEST(Adafactor, SquaresOfRankOneAreKeptExactly) {
  Layout layout;
  layout.add("a", {65, 516});
  Rig rig(layout, {.rule = Adafactor{.lr = 0.25}});
  double squares = 0;
  for (const float p : rig.param("a")) squares += static_cast<double>(p) * static_cast<double>(p);
  const std::vector<float> before = copy_of(rig.param("a"));
  for (std::size_t i = 0; i < 65; ++i) {
    for (std::size_t j = 0; j < 516; ++j) {
      const float sign = (i * j) % 3 == 0 ? -1.0f : 1.0f;
      rig.gradient("a")[i * 516 + j] =
          sign * static_cast<float>(i % 7 + 1) * std::ldexp(1.0f, static_cast<int>(j % 9));
    }
  }
  rig.step();
  const double step = 0.25 * std::sqrt(squares / (65 * 516));
  for (std::size_t e = 0; e < before.size(); ++e) {
    const double moved = static_cast<double>(before[e]) - static_cast<double>(rig.param("a")[e]);
    const double expected = rig.gradient("a")[e] < 0 ? -step : step;
    // Of the means 16 roundings each, of the norms as many halves; and the parameter's own.
    ASSERT_NEAR(moved, expected, 40 * 0x1p-24 * step + 0x1p-24) << e;
  }
}

/// At step t the mean squares move by t^beta2_decay, and no relative step is longer than 1 / sqrt(t).
TEST(Adafactor, DecaysAndStepsByTheCount) {
  Layout layout;
  layout.add("a", {2, 2});
  Rig rig(layout, {.rule = Adafactor{.lr = 1, .beta2_decay = -0.5, .epsilon2 = 0, .d = 4}});
  rig.optimizer.set_steps(3, std::vector<std::int64_t>{3});
  std::ranges::fill(rig.param("a"), 2.0f);
  std::ranges::fill(rig.gradient("a"), 2.0f);
  rig.step();
  EXPECT_EQ(rig.optimizer.state("row_var", "a").data[0], 2.0f) << "half of the way to 4";
  EXPECT_EQ(rig.optimizer.state("col_var", "a").data[1], 2.0f);
  // p - 1/2 RMS(p) g / sqrt(2)
  EXPECT_NEAR(static_cast<double>(rig.param("a")[0]), 2 - std::sqrt(2.0), 8 * 0x1p-24);
}

/// The update's RMS is cut to d, the parameters' taken to be epsilon2 at least.
TEST(Adafactor, ClipsItsUpdateAndLeavesZero) {
  Layout layout;
  layout.add("a", {130});
  for (const double d : {1.0, 0.125}) {
    Rig rig(layout, {.rule = Adafactor{.lr = 0.5, .epsilon2 = 0.25, .d = d}});
    std::ranges::fill(rig.param("a"), 0.0f);
    std::ranges::fill(rig.gradient("a"), -3.0f);
    rig.step();
    for (const float p : rig.param("a")) ASSERT_FLOAT_EQ(p, static_cast<float>(0.125 * d));
  }
}

/// fp32 would lose a millionth of a sum of four million squares, and in the end all that is added.
TEST(Adafactor, LongRowsAndColumnsAreAddedUpAsShortOnesAre) {
  Layout layout;
  layout.add("row", {2, (1 << 21) + 5});
  layout.add("column", {(1 << 20) + 5, 3});
  Rig rig(layout, {.rule = Adafactor{}});
  std::ranges::fill(rig.rows[0].span(), 0.3f);
  rig.step();
  const double square = static_cast<double>(0.3f) * static_cast<double>(0.3f);
  for (const char* name : {"row", "column"}) {
    for (const char* state : {"row_var", "col_var"}) {
      const float kept = rig.optimizer.state(state, name).data[0];
      EXPECT_NEAR(static_cast<double>(kept), square, 18 * 0x1p-24 * square) << name << state;
    }
  }
}

// ---- Muon ---------------------------------------------------------------------------------------------

/// What the iteration makes of a singular value.
double after_iteration(const Muon& muon, double s) {
  for (int i = 0; i < muon.ns_steps; ++i) {
    s = s * (muon.ns_a + s * s * (muon.ns_b + muon.ns_c * s * s));
  }
  return s;
}

/// One step on a matrix of zeros: what is subtracted, divided by the learning rate and the shape's factor.
Matrix orthogonalized_by(Muon muon, const Matrix& gradient) {
  const Shape shape{gradient.rows(), gradient.cols()};
  Layout layout;
  layout.add("a", shape);
  muon.lr = 1;
  Rig rig(layout, {.rule = muon});
  std::ranges::fill(rig.param("a"), 0.0f);
  Eigen::Map<Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
      rig.gradient("a").data(), shape[0], shape[1]) = gradient.cast<float>();
  rig.step();
  const double rows = static_cast<double>(shape[0]), columns = static_cast<double>(shape[1]);
  return -matrix_of(rig.param("a"), shape) / std::sqrt(std::max(1.0, rows / columns));
}

Matrix random_matrix(std::int64_t rows, std::int64_t columns) {
  Random random(static_cast<std::uint64_t>(rows * 1000 + columns));
  return Matrix::NullaryExpr(rows, columns, [&] { return static_cast<double>(random.exact()); });
}

/// Independent roundings of five steps: an iteration stretches what the one before it left by 3.9 at most,
/// the largest slope of its polynomial on [0, 1.21], 3.9^5 / 2.9 = 311 in all; products have sqrt(n) of
/// them, and ten matrices take part in each step.
double iteration_bound(const Matrix& a) {
  const double longer = static_cast<double>(std::max(a.rows(), a.cols()));
  return 311 * 10 * std::sqrt(longer) * 0x1p-24;
}

/// Of U S V^T the iteration makes U f(S) V^T, f its polynomial five times over.
TEST(Muon, IsThePolynomialOfTheSingularValues) {
  const Shape shapes[] = {{1, 1},   {1, 130}, {130, 1},   {3, 43},    {43, 3},
                          {64, 64}, {65, 64}, {129, 257}, {300, 128}, {130, 520}};
  for (const Shape& shape : shapes) {
    const Matrix g = random_matrix(shape[0], shape[1]);
    const Eigen::BDCSVD<Matrix> svd(g, Eigen::ComputeThinU | Eigen::ComputeThinV);
    for (const std::int64_t steps : {1, 2, 5}) {
      SCOPED_TRACE(std::to_string(shape[0]) + " x " + std::to_string(shape[1]));
      const Muon muon{.ns_steps = steps};
      Eigen::VectorXd s = svd.singularValues() / g.norm();
      for (double& each : s) each = after_iteration(muon, each);
      const Matrix expected = svd.matrixU() * s.asDiagonal() * svd.matrixV().transpose();
      const Matrix got = orthogonalized_by(muon, g);
      EXPECT_LE((got - expected).norm(), iteration_bound(g) * expected.norm());
    }
  }
}

/// Its authors' claim: singular values between 0.68 and 1.13, up to 1.21 in truth.
TEST(Muon, StepsAreNearlyOrthogonal) {
  for (const Shape& shape : {Shape{20, 60}, Shape{60, 20}}) {
    const Matrix step = orthogonalized_by({}, random_matrix(shape[0], shape[1]));
    const Eigen::VectorXd s = Eigen::JacobiSVD<Matrix>(step).singularValues();
    EXPECT_GT(s.minCoeff(), 0.68);
    EXPECT_LT(s.maxCoeff(), 1.21);
  }
}

TEST(Muon, IsTheReferenceForOneIteration) {
  for (const int tasks : {1, 3}) {
    Twin twin(mixed_layout(tasks),
              {.rule = Muon{.lr = 0.01, .ns_steps = 1, .adamw_epsilon = 0.1}, .tasks = tasks});
    twin.draw_and_step(2);
    twin.draw_and_step_without("shared129", "first_head");
    twin.draw_and_step(2);
    twin.expect_close();
  }
}

/// A gradient 2^k times as large makes the same step, to the last bit: only its direction counts.
TEST(Muon, ForgetsTheGradientsLength) {
  Rig rig(matrix_layout(), {.rule = Muon{.lr = 0.1}});
  Rig scaled(matrix_layout(), {.rule = Muon{.lr = 0.1}});
  rig.draw();
  scaled.draw();
  for (float& g : scaled.gradient("large")) g *= 0x1p20f;
  rig.step();
  scaled.step();
  EXPECT_TRUE(same_bits(rig.param("large"), scaled.param("large")));
}

TEST(Muon, OfTheTransposeIsTheTranspose) {
  const Matrix g = random_matrix(30, 50);
  const Matrix there = orthogonalized_by({}, g), back = orthogonalized_by({}, g.transpose());
  EXPECT_LE((there - back.transpose()).norm(), 2 * iteration_bound(g) * there.norm());
}

/// What is no matrix is AdamW's, to the last bit, and so is a matrix that is left to it.
TEST(Muon, LeavesTheRestToAdamW) {
  Layout layout = matrix_layout();
  layout.add("embedding", {20, 30}, {.elementwise = true});
  const Muon muon{.lr = 0.01,
                  .weight_decay = 0.1,
                  .adamw_lr_scale = 0.5,
                  .beta1 = 0.8,
                  .beta2 = 0.9,
                  .adamw_epsilon = 1e-3,
                  .maximize = true};
  const AdamW adamw{.lr = 0.005,
                    .beta1 = 0.8,
                    .beta2 = 0.9,
                    .epsilon = 1e-3,
                    .weight_decay = 0.1,
                    .maximize = true};
  Rig both(layout, {.rule = muon}), rest(layout, {.rule = adamw});
  both.draw_and_step(3);
  rest.draw_and_step(3);
  for (const char* name : {"stack", "vector", "scalar", "embedding"}) {
    EXPECT_TRUE(same_bits(both.param(name), rest.param(name))) << name;
    for (const char* state : {"exp_avg", "exp_avg_sq"}) {
      EXPECT_TRUE(same_bits(both.optimizer.state(state, name).span(),
                            rest.optimizer.state(state, name).span()))
          << name << state;
    }
  }
  EXPECT_FALSE(same_bits(both.param("large"), rest.param("large")));
}

/// Without a gradient there is no direction: only the weight decay moves a matrix.
TEST(Muon, AZeroGradientDecaysAlone) {
  Rig rig(matrix_layout(), {.rule = Muon{.lr = 0.5, .weight_decay = 0.25}});
  std::ranges::fill(rig.gradient("large"), 0.0f);
  const std::vector<float> before = copy_of(rig.param("large"));
  rig.step();
  for (std::size_t i = 0; i < before.size(); ++i) {
    ASSERT_EQ(rig.param("large")[i], before[i] - 0.125f * before[i]);
  }
}

/// The two ways to go from a matrix' shape to its step's length.
TEST(Muon, ScalesByTheShape) {
  const auto moved = [](const Shape& shape, bool match) {
    Layout layout;
    layout.add("a", shape);
    Rig rig(layout, {.rule = Muon{.lr = 1, .ns_steps = 1, .match_rms_adamw = match}});
    std::ranges::fill(rig.param("a"), 0.0f);
    std::ranges::fill(rig.gradient("a"), 1.0f);
    rig.step();
    return matrix_of(rig.param("a"), shape).norm();
  };
  // A matrix of one singular value, of which one iteration makes a + b + c.
  const double one = 3.4445 - 4.7750 + 2.0315;
  EXPECT_NEAR(moved({4, 16}, false), one, 1e-5);
  EXPECT_NEAR(moved({16, 4}, false), 2 * one, 1e-5);
  EXPECT_NEAR(moved({4, 16}, true), 0.8 * one, 1e-5);
  EXPECT_NEAR(moved({16, 4}, true), 0.8 * one, 1e-5);
}

}  // namespace
}  // namespace gramstep::test
