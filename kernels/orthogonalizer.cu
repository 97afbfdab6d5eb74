#include "kernels/orthogonalizer.hpp"

#include <algorithm>
#include <limits>

namespace gramstep::kernels {
namespace {

using host::MatrixBatch;

void check_cublas(int status, const char* call) {
  if (status != 0) throw CudaError(std::string(call) + ": status " + std::to_string(status));
}

/// As much as cuBLAS asks for on the largest devices; its own would be taken in the first step.
constexpr std::int64_t workspace_bytes = std::int64_t{32} << 20;

std::int64_t side_of(const MatrixBatch& batch) { return std::min(batch.rows, batch.columns); }
std::int64_t square_of(const MatrixBatch& batch) { return side_of(batch) * side_of(batch); }

/// The most elements of one batch, `each` of a matrix.
template <class Each>
std::int64_t most(const std::vector<MatrixBatch>& batches, const Each& each) {
  std::int64_t most = 0;
  for (const MatrixBatch& batch : batches) {
    most = std::max(most, std::ssize(batch.segments) * each(batch));
  }
  return most;
}

const std::vector<MatrixBatch>& addressable(const std::vector<MatrixBatch>& batches) {
  for (const MatrixBatch& batch : batches) {
    const std::int64_t side = std::max(batch.rows, batch.columns);
    if (side <= std::numeric_limits<int>::max()) continue;
    throw InvalidArgument("Optimizer: Muon on CUDA: got a matrix with a side of " +
                          std::to_string(side) + ", expected less than 2^31");
  }
  return batches;
}

void copy(const float* from, float* to, std::int64_t count, Stream stream) {
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(count) * sizeof(float),
                        cudaMemcpyDeviceToDevice, stream),
        "cudaMemcpyAsync");
}

}  // namespace

Orthogonalizer::Orthogonalizer(const std::vector<MatrixBatch>& batches)
    : batches_(addressable(batches)),
      cublas_(Cublas::get()),
      workspace_(workspace_bytes, "cuBLAS"),
      others_(most(batches, [](const auto& batch) { return batch.stride; }), "matrices"),
      grams_(most(batches, square_of), "products of matrices"),
      polynomials_(most(batches, square_of), "products of matrices") {
  check_cublas(cublas_.create(&handle_), "cublasCreate");
}

Orthogonalizer::~Orthogonalizer() { cublas_.destroy(handle_); }

void Orthogonalizer::run(const NewtonSchulz& iteration, float* x, Stream stream) {
  check_cublas(cublas_.set_stream(handle_, stream), "cublasSetStream");
  // After every cublasSetStream, which puts back a workspace of cuBLAS' own.
  check_cublas(cublas_.set_workspace(handle_, workspace_.data(), workspace_bytes),
               "cublasSetWorkspace");
  for (const MatrixBatch& batch : batches_) {
    float *from = x + batch.begin, *to = others_.data();
    for (int step = 0; step < iteration.steps; ++step) {
      take_step(batch, iteration, from, to, stream);
      std::swap(from, to);
    }
    if (iteration.steps % 2 == 1) {
      copy(from, to, std::ssize(batch.segments) * batch.stride, stream);
    }
  }
}

/// to = a from + (b A + c A^2) from, A = from from^T of the shorter side.
void Orthogonalizer::take_step(const MatrixBatch& batch, const NewtonSchulz& by, const float* from,
                               float* to, Stream stream) {
  // Stored by column, what the layout has as rows are columns.
  const int rows = static_cast<int>(batch.columns), columns = static_cast<int>(batch.rows);
  const int side = std::min(rows, columns), count = static_cast<int>(batch.segments.size());
  const std::int64_t square = square_of(batch), stride = batch.stride;
  const bool wide = rows <= columns;
  const float zero = 0, one = 1;
  float *gram = grams_.data(), *polynomial = polynomials_.data();
  const auto multiply = [&](int a_operation, int b_operation, int m, int n, int k,
                            const float& alpha, const float* a, int a_lead, std::int64_t a_stride,
                            const float* b, int b_lead, std::int64_t b_stride, const float& beta,
                            float* c, int c_lead, std::int64_t c_stride) {
    check_cublas(cublas_.multiply(handle_, a_operation, b_operation, m, n, k, &alpha, a, a_lead,
                                  a_stride, b, b_lead, b_stride, &beta, c, c_lead, c_stride, count),
                 "cublasSgemmStridedBatched");
  };
  multiply(wide ? Cublas::plain : Cublas::transposed, wide ? Cublas::transposed : Cublas::plain,
           side, side, std::max(rows, columns), one, from, rows, stride, from, rows, stride, zero,
           gram, side, square);
  copy(gram, polynomial, count * square, stream);
  multiply(Cublas::plain, Cublas::plain, side, side, side, by.c, gram, side, square, gram, side,
           square, by.b, polynomial, side, square);
  copy(from, to, count * stride, stream);
  if (wide) {
    multiply(Cublas::plain, Cublas::plain, rows, columns, side, one, polynomial, side, square, from,
             rows, stride, by.a, to, rows, stride);
  } else {
    multiply(Cublas::plain, Cublas::plain, rows, columns, side, one, from, rows, stride, polynomial,
             side, square, by.a, to, rows, stride);
  }
}

}  // namespace gramstep::kernels
