// Muon, which makes its momentum of a matrix orthogonal.
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "tests/matrices.hpp"
#include "tests/twin.hpp"

namespace gramstep::test {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Matrix matrix_of(std::span<const float> values, const Shape& shape) {
  return Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
             values.data(), shape[0], shape[1])
      .cast<double>();
}

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

/// The squares of the singular values of a matrix, and its singular vectors on its shorter side.
Eigen::SelfAdjointEigenSolver<Matrix> shorter_side(const Matrix& a) {
  const bool wide = a.rows() <= a.cols();
  return Eigen::SelfAdjointEigenSolver<Matrix>(wide ? Matrix(a * a.transpose())
                                                    : Matrix(a.transpose() * a));
}

/// U f(S / |a|) V^T of a = U S V^T, as W (f(S / |a|) / S) W^T times a: W is U or V, whichever is smaller, and f(x) / x
/// a polynomial of x^2, which no small singular value spoils.
Matrix with_singular_values_after(const Muon& muon, const Matrix& a) {
  const Eigen::SelfAdjointEigenSolver<Matrix> side = shorter_side(a);
  Eigen::VectorXd factors = side.eigenvalues().cwiseSqrt();
  for (double& each : factors) each = after_iteration(muon, each / a.norm()) / each;
  const Matrix along = side.eigenvectors() * factors.asDiagonal() * side.eigenvectors().transpose();
  return a.rows() <= a.cols() ? Matrix(along * a) : Matrix(a * along);
}

/// Of U S V^T the iteration makes U f(S) V^T, f its polynomial five times over.
TEST(Muon, IsThePolynomialOfTheSingularValues) {
  const Shape shapes[] = {{1, 1},   {1, 130}, {130, 1},   {3, 43},    {43, 3},
                          {64, 64}, {65, 64}, {129, 257}, {300, 128}, {130, 520}};
  for (const Shape& shape : shapes) {
    const Matrix g = random_matrix(shape[0], shape[1]);
    for (const std::int64_t steps : {1, 2, 5}) {
      SCOPED_TRACE(std::to_string(shape[0]) + " x " + std::to_string(shape[1]));
      const Muon muon{.ns_steps = steps};
      const Matrix expected = with_singular_values_after(muon, g);
      const Matrix got = orthogonalized_by(muon, g);
      EXPECT_LE((got - expected).norm(), iteration_bound(g) * expected.norm());
    }
  }
}

/// Its authors' claim: singular values between 0.68 and 1.13, up to 1.21 in truth.
TEST(Muon, StepsAreNearlyOrthogonal) {
  for (const Shape& shape : {Shape{20, 60}, Shape{60, 20}}) {
    const Matrix step = orthogonalized_by({}, random_matrix(shape[0], shape[1]));
    const Eigen::VectorXd s = shorter_side(step).eigenvalues().cwiseSqrt();
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
