// Muon: momentum of a matrix, orthogonalised by Newton-Schulz; AdamW for all else.
#pragma once

#include <array>
#include <cmath>
#include <string_view>
#include <tuple>

#include "gramstep/rules/adamw.hpp"

namespace gramstep::inline v1 {

/// What one element of a matrix needs of Muon's options, the step and the matrix' norm.
struct MuonMatrixScalars {
  float lr;        // times the factor of the matrix' shape, once it is known
  float decay;     // lr * weight decay, decoupled
  float take;      // 1 - momentum
  float momentum;  // of the Nesterov step
  float scale;     // 1 / norm, once it is known
  float epsilon;   // least norm
  bool match_rms_adamw;
};

/// The scalars of a segment: a matrix', or AdamW's.
union MuonScalars {
  MuonMatrixScalars matrix;
  AdamScalars rest;
};

/// One element of a matrix: momentum and its norm in the pass that measures, the step in the second. The
/// matrix is made orthogonal between them.
template <bool Nesterov>
struct MuonUpdate {
  using Scalars = MuonMatrixScalars;
  static constexpr bool of_matrices = true, state_done_first = true;
  static constexpr int states = 2;
  static constexpr int orthogonalized = 1;  // the piece that is
  static constexpr std::array<StatePiece, 2> pieces{{{"momentum_buffer"}, {}}};

  GRAMSTEP_BODY static void measure(const Scalars& s, float g, float, float* state,
                                    float (&terms)[2]) {
    float& buffer = state[0];
    buffer = lerp(buffer, g, s.take);
    state[1] = Nesterov ? lerp(g, buffer, s.momentum) : buffer;
    terms[0] = state[1] * state[1];
    terms[1] = 0.0f;
  }
  /// sums: the matrix' squared norm.
  GRAMSTEP_BODY static void settle(Scalars& s, const double* sums, const MatrixStack& segment) {
    const double norm = sqrt(sums[0]), least = static_cast<double>(s.epsilon);
    s.scale = static_cast<float>(1.0 / (norm < least ? least : norm));
    const double rows = static_cast<double>(segment.rows);
    const double columns = static_cast<double>(segment.columns);
    const double wider = rows > columns ? rows / columns : 1.0;
    const double factor =
        s.match_rms_adamw ? 0.2 * sqrt(rows > columns ? rows : columns) : sqrt(wider);
    s.lr = static_cast<float>(s.lr * factor);
  }
  GRAMSTEP_BODY static void apply(const Scalars& s, float, float& p, const float* state) {
    p = p - s.decay * p;
    p = p - s.lr * state[orthogonalized];
  }
};

/// AdamW's element, for what is no matrix.
struct MuonRestUpdate : AdamUpdate<false> {
  static constexpr bool of_matrices = false;
};

/// Muon as torch.optim.Muon does it, for matrices, and AdamW in the same step for all else.
///
///   b = b + (1 - momentum)(g - b),   u = b, or with nesterov u = g + momentum (b - g)
///   X = u / max(|u|, epsilon), then ns_steps times X = ns_a X + (ns_b A + ns_c A^2) X,   A = X X^T
///   p -= lr * weight_decay * p,   p -= lr s X,   s = sqrt(max(1, R / C)) of a matrix [R, C], or with
///   match_rms_adamw 0.2 sqrt(max(R, C)), with which AdamW's learning rates do for matrices too
///
/// The products are in fp32, where torch rounds to bf16; by Eigen on the CPU, by cuBLAS on CUDA, which is
/// looked for when an optimizer is made.
///
/// Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; Liu et al. 2025,
/// "Muon is Scalable for LLM Training", for match_rms_adamw; torch.optim.Muon for the order of operations.
/// Matrices are segments of two dimensions; GroupOptions::elementwise leaves one, such as an embedding,
/// to AdamW.
/// State: "momentum_buffer" of matrices, "exp_avg" and "exp_avg_sq" of all else, fp32. The matrices' and
/// the products' bits depend on the device, not on the number of threads.
/// Bytes a parameter of a matrix, fp32, one task: 36, in two passes, and those of the products; 28 of all
/// else. Workspace: one number a parameter of a matrix, and one more of the largest matrix and two of the
/// square of its shorter side (on CUDA of all matrices of one shape, and cuBLAS' 32 MiB).
struct Muon {
  double lr = 1e-3;              ///< learning rate of matrices, finite, >= 0
  double momentum = 0.95;        ///< in [0, 1)
  double weight_decay = 0.1;     ///< decoupled, multiplied by lr, >= 0
  bool nesterov = true;          ///< orthogonalise g + momentum (b - g) in the place of b
  std::int64_t ns_steps = 5;     ///< Newton-Schulz iterations, 1 to 99
  double ns_a = 3.4445;          ///< their coefficient of X, finite
  double ns_b = -4.7750;         ///< of A X, finite
  double ns_c = 2.0315;          ///< of A^2 X, finite
  double epsilon = 1e-7;         ///< least norm of what is orthogonalised, finite, > 0
  bool match_rms_adamw = false;  ///< scale the step to AdamW's RMS
  double adamw_lr_scale = 1;     ///< AdamW's learning rate is lr times this, finite, >= 0
  double beta1 = 0.9;            ///< AdamW's decay of the first moment, in [0, 1)
  double beta2 = 0.999;          ///< AdamW's decay of the second moment, in [0, 1)
  double adamw_epsilon = 1e-8;   ///< AdamW's epsilon, >= 0
  bool maximize = false;         ///< ascend instead of descend

  static constexpr std::string_view name = "Muon";
  /// Calls visit(name, option) for every option.
  template <class Self, class Visit>
  static void options(Self& self, const Visit& visit) {
    visit("lr", self.lr);
    visit("momentum", self.momentum);
    visit("weight_decay", self.weight_decay);
    visit("nesterov", self.nesterov);
    visit("ns_steps", self.ns_steps);
    visit("ns_a", self.ns_a);
    visit("ns_b", self.ns_b);
    visit("ns_c", self.ns_c);
    visit("epsilon", self.epsilon);
    visit("match_rms_adamw", self.match_rms_adamw);
    visit("adamw_lr_scale", self.adamw_lr_scale);
    visit("beta1", self.beta1);
    visit("beta2", self.beta2);
    visit("adamw_epsilon", self.adamw_epsilon);
    visit("maximize", self.maximize);
  }
  using Updates = std::tuple<MuonRestUpdate, MuonUpdate<false>, MuonUpdate<true>>;
  /// Which of Updates these options select, and for a matrix.
  int update() const { return 0; }
  int matrix_update() const { return nesterov ? 2 : 1; }
  /// Whether a segment of that many dimensions is taken as matrices.
  static bool is_matrix(int rank) { return rank == 2; }

  NewtonSchulz newton_schulz() const {
    return {static_cast<int>(ns_steps), static_cast<float>(ns_a), static_cast<float>(ns_b),
            static_cast<float>(ns_c)};
  }

  /// Throws InvalidArgument that names the option that is out of range.
  void validate() const {
    expect_in("Muon.lr", lr, 0);
    expect_in("Muon.momentum", momentum, 0, 1);
    expect_in("Muon.weight_decay", weight_decay, 0);
    expect_in("Muon.ns_steps", ns_steps, 1, 100);
    expect_in("Muon.ns_a", ns_a, -infinity);
    expect_in("Muon.ns_b", ns_b, -infinity);
    expect_in("Muon.ns_c", ns_c, -infinity);
    expect_in("Muon.epsilon", epsilon, 1e-30);
    expect_in("Muon.adamw_lr_scale", adamw_lr_scale, 0);
    expect_in("Muon.beta1", beta1, 0, 1);
    expect_in("Muon.beta2", beta2, 0, 1);
    expect_in("Muon.adamw_epsilon", adamw_epsilon, 0);
  }

  /// The scalars of one segment's step; see RuleInput.
  GRAMSTEP_BODY MuonScalars scalars(const RuleInput& in) const {
    MuonScalars result{};
    if (in.matrix) {
      const double mu = in.momentum_or(momentum);
      result.matrix = {static_cast<float>(in.lr),
                       static_cast<float>(in.lr * in.weight_decay),
                       static_cast<float>(1.0 - mu),
                       static_cast<float>(mu),
                       1.0f,
                       static_cast<float>(epsilon),
                       match_rms_adamw};
    } else {
      RuleInput rest = in;
      rest.lr *= adamw_lr_scale;
      rest.momentum = RuleInput{}.momentum;  // a schedule's is the matrices'
      AdamW adamw;
      adamw.beta1 = beta1;
      adamw.beta2 = beta2;
      adamw.epsilon = adamw_epsilon;
      result.rest = adamw.scalars(rest);
    }
    return result;
  }
};

}  // namespace gramstep::inline v1
