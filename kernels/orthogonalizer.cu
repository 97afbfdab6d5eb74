#include "kernels/orthogonalizer.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "kernels/cublas.hpp"
#include "kernels/device_array.cuh"

namespace gramstep::kernels {
namespace {

void check_cublas(int status, const char* call) {
  if (status != 0) throw CudaError(std::string(call) + ": status " + std::to_string(status));
}

/// As much as cuBLAS asks for on the largest devices; its own would be taken in the first step.
constexpr std::int64_t workspace_bytes = std::int64_t{32} << 20;

int extent_of(std::int64_t size) {
  if (size <= std::numeric_limits<int>::max()) return static_cast<int>(size);
  throw InvalidArgument("Optimizer: Muon on CUDA: got a matrix with a side of " +
                        std::to_string(size) + ", expected less than 2^31");
}

/// The matrices of one shape, as cuBLAS sees them: by column.
struct Batch {
  int rows, columns;
  std::int64_t first;  // of its pointers
  int count;
  int side() const { return std::min(rows, columns); }
  std::int64_t size() const { return std::int64_t{rows} * columns; }
  std::int64_t square() const { return std::int64_t{side()} * side(); }
};

}  // namespace

class Orthogonalizer::Implementation {
 public:
  Implementation(const std::vector<PlacedMatrix>& matrices, float* x)
      : cublas_(Cublas::get()), workspace_(workspace_bytes, "cuBLAS") {
    group(matrices);
    std::int64_t largest = 0, square = 0;
    for (const Batch& batch : batches_) {
      largest = std::max(largest, batch.count * batch.size());
      square = std::max(square, batch.count * batch.square());
    }
    other_ = std::make_unique<DeviceArray<float>>(largest, "matrices");
    squares_ = std::make_unique<DeviceArray<float>>(2 * square, "products of matrices");
    write_pointers(x, square);
    check_cublas(cublas_.create(&handle_), "cublasCreate");
    check_cublas(cublas_.set_workspace(handle_, workspace_.data(), workspace_bytes),
                 "cublasSetWorkspace");
  }
  ~Implementation() { cublas_.destroy(handle_); }

  void run(const NewtonSchulz& iteration, Stream stream) {
    check_cublas(cublas_.set_stream(handle_, stream), "cublasSetStream");
    // cublasSetStream puts back a workspace of cuBLAS' own.
    check_cublas(cublas_.set_workspace(handle_, workspace_.data(), workspace_bytes),
                 "cublasSetWorkspace");
    for (const Batch& batch : batches_) {
      for (int step = 0; step < iteration.steps; ++step) {
        take_step(batch, iteration, step % 2 == 0 ? x_ : others_, step % 2 == 0 ? others_ : x_);
      }
      if (iteration.steps % 2 == 1) copy_back(batch, stream);
    }
  }

 private:
  /// Pointers to the matrices of all batches, [4, matrices]: x, the other, gram and polynomial.
  enum : int { x_, others_, gram_, polynomial_ };
  float* const* at(int which, const Batch& batch) {
    return pointers_->data() + which * matrices_ + batch.first;
  }
  const float* const* from(int which, const Batch& batch) { return at(which, batch); }

  void group(const std::vector<PlacedMatrix>& matrices) {
    std::map<std::pair<int, int>, std::vector<std::int64_t>> shapes;
    for (const PlacedMatrix& each : matrices) {
      shapes[{extent_of(each.columns), extent_of(each.rows)}].push_back(each.at);
    }
    for (const auto& [shape, places] : shapes) {
      batches_.push_back({shape.first, shape.second, std::ssize(places_),
                          static_cast<int>(places.size())});
      places_.insert(places_.end(), places.begin(), places.end());
    }
    matrices_ = std::ssize(places_);
  }

  void write_pointers(float* x, std::int64_t square) {
    std::vector<float*> pointers(static_cast<std::size_t>(4 * matrices_));
    for (const Batch& batch : batches_) {
      for (int i = 0; i < batch.count; ++i) {
        const std::int64_t matrix = batch.first + i;
        const auto set = [&](int which, float* to) {
          pointers[static_cast<std::size_t>(which * matrices_ + matrix)] = to;
        };
        set(x_, x + places_[static_cast<std::size_t>(matrix)]);
        set(others_, other_->data() + i * batch.size());
        set(gram_, squares_->data() + i * batch.square());
        set(polynomial_, squares_->data() + square + i * batch.square());
      }
    }
    pointers_ = std::make_unique<DeviceArray<float*>>(pointers, "pointers to matrices");
  }

  /// to = a from + (b A + c A^2) from, A = from from^T of the shorter side.
  void take_step(const Batch& batch, const NewtonSchulz& by, int source, int target) {
    const int side = batch.side(), inner = std::max(batch.rows, batch.columns);
    const bool wide = batch.rows <= batch.columns;
    const int left = wide ? Cublas::plain : Cublas::transposed;
    const int right = wide ? Cublas::transposed : Cublas::plain;
    const float zero = 0, one = 1;
    const auto multiply = [&](int a_operation, int b_operation, int rows, int columns, int depth,
                              const float& alpha, int a, int a_lead, int b, int b_lead,
                              const float& beta, int c, int c_lead) {
      check_cublas(cublas_.multiply(handle_, a_operation, b_operation, rows, columns, depth, &alpha,
                                    from(a, batch), a_lead, from(b, batch), b_lead, &beta,
                                    at(c, batch), c_lead, batch.count),
                   "cublasSgemmBatched");
    };
    multiply(left, right, side, side, inner, one, source, batch.rows, source, batch.rows, zero,
             gram_, side);
    copy(batch, gram_, polynomial_, batch.square());
    multiply(Cublas::plain, Cublas::plain, side, side, side, by.c, gram_, side, gram_, side, by.b,
             polynomial_, side);
    copy(batch, source, target, batch.size());
    if (wide) {
      multiply(Cublas::plain, Cublas::plain, batch.rows, batch.columns, side, one, polynomial_, side,
               source, batch.rows, by.a, target, batch.rows);
    } else {
      multiply(Cublas::plain, Cublas::plain, batch.rows, batch.columns, side, one, source,
               batch.rows, polynomial_, side, by.a, target, batch.rows);
    }
  }
};

}  // namespace gramstep::kernels
