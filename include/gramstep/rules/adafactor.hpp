// Adafactor: second moments by row and by column of each matrix, steps as long as the parameters are.
#pragma once

#include <array>
#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/elementary.hpp"

namespace gramstep::inline v1 {

/// What Adafactor's updates need of its options, the step and the segment's norms.
struct AdafactorScalars {
  float lr;    // the relative step size; once the norms are known, what the update is multiplied by
  float keep;  // 1 - lr * weight decay
  float take;  // 1 - beta2 of this step
  float d;     // most RMS of an update
  float epsilon1;  // least mean of a matrix's rows
  float most;      // 1 / epsilon1: most that a gradient is multiplied by
  float epsilon2;  // least RMS of the parameters
};

namespace adafactor {

/// sums: |p|^2, |u|^2 of the segment.
GRAMSTEP_BODY void settle(AdafactorScalars& s, const double* sums, const MatrixStack& segment) {
  const double size = static_cast<double>(segment.size);
  const double rms_p = sqrt(sums[0] / size), rms_u = sqrt(sums[1] / size);
  const double scale = rms_p < s.epsilon2 ? static_cast<double>(s.epsilon2) : rms_p;
  const double over = rms_u / s.d, clip = over < 1.0 ? 1.0 : over;
  s.lr = static_cast<float>(s.lr * scale / clip);
}

/// One over the root of a second moment, or of a factor of one; of 0 it is infinite.
GRAMSTEP_BODY float inverse_root(float second) { return 1.0f / sqrtf(second); }

/// The gradient over the root of its second moment.
GRAMSTEP_BODY float direction(const AdafactorScalars& s, float g, float inverse) {
  // A NaN must come through: comparisons with NaN are false.
  return g * (s.most < inverse ? s.most : inverse);
}

GRAMSTEP_BODY void measure(const AdafactorScalars& s, float g, float p, float inverse,
                           float (&terms)[2]) {
  const float u = direction(s, g, inverse);
  terms[0] = p * p;
  terms[1] = u * u;
}

GRAMSTEP_BODY void apply(const AdafactorScalars& s, float g, float& p, float inverse) {
  p = s.keep * p - s.lr * direction(s, g, inverse);
}

}  // namespace adafactor

/// One element of a segment that is no matrix: the second moment in the pass that measures.
struct AdafactorUpdate {
  using Scalars = AdafactorScalars;
  static constexpr bool of_matrices = false, state_done_first = true, applies_gradient = true;
  static constexpr int states = 1;
  static constexpr std::array<std::string_view, 1> state_names{"variance"};

  GRAMSTEP_BODY static void measure(const Scalars& s, float g, float p, float* state,
                                    float (&terms)[2]) {
    state[0] = lerp(state[0], g * g, s.take);
    adafactor::measure(s, g, p, adafactor::inverse_root(state[0]), terms);
  }
  GRAMSTEP_BODY static void settle(Scalars& s, const double* sums, const MatrixStack& segment) {
    adafactor::settle(s, sums, segment);
  }
  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, float* state) {
    adafactor::apply(s, g, p, adafactor::inverse_root(state[0]));
  }
};

/// One element of a matrix, whose second moment is a product of what its row and its column keep. Its states are
/// one over the roots of both, so that no element takes a root or divides. A pass before the two over the elements has
/// brought the states up to date.
struct FactoredAdafactorUpdate {
  using Scalars = AdafactorScalars;
  static constexpr bool of_matrices = true, state_done_first = true, applies_gradient = true;
  static constexpr int states = 2;
  static constexpr int row_factors = 0, column_factors = 1, column = 2, row = 3;
  static constexpr std::array<StatePiece, 4> pieces{
      {{"", Per::row}, {"", Per::column}, {"col_var", Per::column}, {"row_var", Per::row}}};

  /// What a row or a column keeps: before of its mean squares, then this step's.
  GRAMSTEP_BODY static float squares(const Scalars& s, float before, float mean) {
    return lerp(before, mean, s.take);
  }
  /// The row's and the column's share of their elements' inverse roots; mean: of all rows of the matrix.
  GRAMSTEP_BODY static float row_factor(const Scalars& s, float kept, float mean) {
    return adafactor::inverse_root(kept / (mean < s.epsilon1 ? s.epsilon1 : mean));
  }
  GRAMSTEP_BODY static float column_factor(float kept) { return adafactor::inverse_root(kept); }
  GRAMSTEP_BODY static void measure(const Scalars& s, float g, float p, const float* state,
                                    float (&terms)[2]) {
    adafactor::measure(s, g, p, state[row_factors] * state[column_factors], terms);
  }
  GRAMSTEP_BODY static void settle(Scalars& s, const double* sums, const MatrixStack& segment) {
    adafactor::settle(s, sums, segment);
  }
  GRAMSTEP_BODY static void apply(const Scalars& s, float g, float& p, const float* state) {
    adafactor::apply(s, g, p, state[row_factors] * state[column_factors]);
  }
};

/// Adafactor as torch.optim.Adafactor does it: without momentum, the second moment of a matrix kept as
/// row and column means.
///
///   take = t^beta2_decay,   rho = min(lr, 1 / sqrt(t)),   alpha = rho max(epsilon2, RMS(p))
///   matrices [.., R, C]: r = r + take (mean of g^2 over columns - r),   c the same over rows
///                        v_ij = r_i c_j / max(mean of r, epsilon1)
///   all else:            v = v + take (g^2 - v)
///   u = g / sqrt(max(v, epsilon1^2)),   p = (1 - lr * weight_decay) p - alpha u / max(1, RMS(u) / d)
///
/// Source: Shazeer and Stern 2018, algorithms 4 and 5; torch.optim.Adafactor for the place of both
/// epsilons and of the weight decay. Matrices are the last two dimensions of a segment of two or more;
/// GroupOptions::elementwise takes a segment as none.
/// State: "row_var" [.., R, 1] and "col_var" [.., 1, C] of matrices, "variance" of all else, fp32. Sums of
/// squares by row and column have at most 11 roundings of fp32, then are added up in double, in the same order
/// on every device: to the same bits.
/// Bytes a parameter of a matrix, fp32, one task: 24, in three passes: 4 for the sums by row and column, 8
/// for the norms, 12 to apply; of all else 32, in two.
struct Adafactor {
  double lr = 1e-2;           ///< most relative step size, finite, >= 0
  double beta2_decay = -0.8;  ///< 1 - beta2 is t to this power, in [-16, 0]
  double epsilon1 = 0x1p-23;  ///< its square is the least second moment, in [1e-15, 1e15)
  double epsilon2 = 1e-3;     ///< least RMS that parameters are taken to have, finite, >= 0
  double d = 1;               ///< most RMS of an update, finite, > 0
  double weight_decay = 0;    ///< decoupled, multiplied by lr, >= 0
  bool maximize = false;      ///< ascend instead of descend

  static constexpr std::string_view name = "Adafactor";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("beta2_decay", self.beta2_decay);
    visit("epsilon1", self.epsilon1);
    visit("epsilon2", self.epsilon2);
    visit("d", self.d);
    visit("weight_decay", self.weight_decay);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<AdafactorUpdate, FactoredAdafactorUpdate>;
  /// Which of Updates these options select, and for a matrix.
  int update() const { return 0; }
  int matrix_update() const { return 1; }
  /// Whether a segment of that many dimensions is taken as matrices.
  static bool is_matrix(int rank) { return rank >= 2; }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("Adafactor.lr", lr, 0);
    expect(beta2_decay >= -16 && beta2_decay <= 0, "Adafactor.beta2_decay", beta2_decay,
           "a number from -16 to 0");
    expect_in("Adafactor.epsilon1", epsilon1, 1e-15, 1e15);
    expect_in("Adafactor.epsilon2", epsilon2, 0);
    expect_in("Adafactor.d", d, 1e-30, 1e30);
    expect_in("Adafactor.weight_decay", weight_decay, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY AdafactorScalars scalars(const RuleInput& in) const {
    const double t = static_cast<double>(in.t), most = 1.0 / sqrt(t);
    return {static_cast<float>(in.lr < most ? in.lr : most),
            static_cast<float>(1.0 - in.lr * in.weight_decay),
            static_cast<float>(1.0 / elementary::raised(t, -beta2_decay)),
            static_cast<float>(d),
            static_cast<float>(epsilon1),
            static_cast<float>(1.0 / epsilon1),
            static_cast<float>(epsilon2)};
  }
};

}  // namespace gramstep::inline v1
