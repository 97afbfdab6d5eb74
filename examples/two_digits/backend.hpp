// Backend: what the model needs of a device. Eigen on the CPU, cuBLAS where there is a GPU.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <type_traits>

#include <gramstep/gramstep.hpp>

namespace two_digits {

/// A matrix in somebody's memory, row by row.
template <class T>
struct Matrix {
  T* data;
  std::int64_t rows;
  std::int64_t cols;

  std::int64_t size() const { return rows * cols; }
  template <class U>
  requires std::is_same_v<U, const T>
  operator Matrix<U>() const { return {data, rows, cols}; }
};

/// Memory of a device, zeroed, freed with its owner.
template <class Real>
struct Buffer {
  std::unique_ptr<Real[], std::function<void(Real*)>> memory;
  std::int64_t size = 0;

  Real* data() const { return memory.get(); }
  std::span<Real> span() const { return {data(), static_cast<std::size_t>(size)}; }
};

/// The products and elementwise functions of a network, on one device's default stream. Pointers
/// are memory of that device, but for those named host. Real is float; on the CPU also double, for
/// tests.
template <class Real>
class Backend {
 public:
  virtual ~Backend() = default;

  virtual gramstep::Device device() const = 0;
  virtual Buffer<Real> allocate(std::int64_t size) = 0;
  virtual void upload(std::span<const Real> host, Real* to) = 0;
  virtual void download(const Real* from, std::span<Real> host) = 0;
  /// Returns when all that was queued has run.
  virtual void wait() = 0;

  /// y = x w^T + bias, the bias added to every row.
  virtual void linear(Matrix<const Real> x, Matrix<const Real> w, const Real* bias,
                      Matrix<Real> y) = 0;
  /// The gradients of linear: dw = dy^T x, dbias = the sum of dy's rows.
  virtual void linear_weights(Matrix<const Real> x, Matrix<const Real> dy, Matrix<Real> dw,
                              Real* dbias) = 0;
  /// The gradient of linear: dx = dy w.
  virtual void linear_inputs(Matrix<const Real> dy, Matrix<const Real> w, Matrix<Real> dx) = 0;
  /// y = max(y, 0).
  virtual void relu(Matrix<Real> y) = 0;
  /// The gradient of relu, from its result y: dy = 0 where y = 0.
  virtual void relu_inputs(Matrix<const Real> y, Matrix<Real> dy) = 0;
  /// The mean over rows of -log softmax(logits)[label], into *loss, and `scale` times its gradient
  /// into dlogits. host_labels [rows].
  virtual void cross_entropy(Matrix<const Real> logits, std::span<const int> host_labels,
                             Real scale, Real* loss, Matrix<Real> dlogits) = 0;
};

/// The CPU backend, by Eigen.
template <class Real>
std::unique_ptr<Backend<Real>> make_cpu_backend(int threads);

/// The backend of CUDA device 0, by cuBLAS. Throws gramstep::DeviceUnavailable where it was not
/// built.
std::unique_ptr<Backend<float>> make_cuda_backend();

/// Whether the CUDA backend was built and there is a GPU.
bool cuda_backend_usable();

}  // namespace two_digits
