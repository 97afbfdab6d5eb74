// Products of matrices for one instruction set, which the build names GRAMSTEP_ISA and compiles this file
// for, by Eigen.
#include "host/cpu/leaves.hpp"

// Eigen's templates under a name of this instruction set's own: no other set's code can be linked in their
// place. A step takes no memory: blocks are small enough for the stack.
#define Eigen GRAMSTEP_JOIN(Eigen_, GRAMSTEP_ISA)
#define EIGEN_DONT_PARALLELIZE
#define EIGEN_STACK_ALLOCATION_LIMIT (1 << 20)
#include <Eigen/Core>

namespace gramstep::host {
namespace {

// Blocks of a [rows, inner] and b [inner, columns]: 128 KiB each as Eigen packs them. Their order is fixed,
// and with it the order in which products are added up.
constexpr std::int64_t block_rows = 128, block_inner = 256;

using Block = Eigen::Map<const Eigen::MatrixXf, Eigen::Unaligned, Eigen::OuterStride<>>;

/// Calls function(block) for rows [i, i + rows) and columns [j, j + columns) of a matrix, of which `lead`
/// elements are stored to a column.
template <class Function>
void with_block(const float* matrix, bool transposed, std::int64_t lead, std::int64_t i,
                std::int64_t j, std::int64_t rows, std::int64_t columns, const Function& function) {
  if (transposed) {
    function(Block(matrix + j + i * lead, columns, rows, Eigen::OuterStride<>(lead)).transpose());
  } else {
    function(Block(matrix + i + j * lead, rows, columns, Eigen::OuterStride<>(lead)));
  }
}

std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

}  // namespace

ProductLeaf GRAMSTEP_OF_ISA(product_leaf_);
void GRAMSTEP_OF_ISA(product_leaf_)(const Product& p, std::int64_t first, std::int64_t last) {
  const std::int64_t columns = last - first;
  for (std::int64_t i = 0; i < p.rows; i += block_rows) {
    const std::int64_t rows = least(block_rows, p.rows - i);
    Eigen::Map<Eigen::MatrixXf, Eigen::Unaligned, Eigen::OuterStride<>> out(
        p.out + i + first * p.rows, rows, columns, Eigen::OuterStride<>(p.rows));
    if (p.c == nullptr) {
      out.setZero();
    } else {
      with_block(p.c, false, p.rows, i, first, rows, columns,
                 [&](const auto& c) { out = p.beta * c; });
    }
    for (std::int64_t k = 0; k < p.inner; k += block_inner) {
      const std::int64_t inner = least(block_inner, p.inner - k);
      const std::int64_t a_lead = p.a_transposed ? p.inner : p.rows;
      const std::int64_t b_lead = p.b_transposed ? p.columns : p.inner;
      with_block(p.a, p.a_transposed, a_lead, i, k, rows, inner, [&](const auto& a) {
        with_block(p.b, p.b_transposed, b_lead, k, first, inner, columns,
                   [&](const auto& b) { out.noalias() += p.alpha * a * b; });
      });
    }
  }
}

}  // namespace gramstep::host
