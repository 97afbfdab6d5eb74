#include "backend.hpp"
#include "cuda_support.cuh"

namespace two_digits {
namespace {

struct AddBias {
  const float* bias;
  Matrix<float> y;
  __device__ void operator()(std::int64_t i) const { y.data[i] += bias[i % y.cols]; }
};

struct Relu {
  float* y;
  __device__ void operator()(std::int64_t i) const { y[i] = fmaxf(y[i], 0.0f); }
};

struct ReluInputs {
  const float* y;
  float* dy;
  __device__ void operator()(std::int64_t i) const { dy[i] = y[i] > 0 ? dy[i] : 0.0f; }
};

/// A column of dy a thread: a head has ten of them, a layer a few hundred.
struct SumRows {
  Matrix<const float> dy;
  float* dbias;
  __device__ void operator()(std::int64_t col) const {
    float sum = 0;
    for (std::int64_t row = 0; row < dy.rows; ++row) sum += dy.data[row * dy.cols + col];
    dbias[col] = sum;
  }
};

/// A row a thread; leaves each row's loss for Mean.
struct CrossEntropy {
  Matrix<const float> logits;
  const int* labels;
  float scale;
  float* row_losses;
  float* dlogits;
  __device__ void operator()(std::int64_t row) const {
    const float* from = logits.data + row * logits.cols;
    float* to = dlogits + row * logits.cols;
    float largest = from[0], total = 0;
    for (std::int64_t c = 1; c < logits.cols; ++c) largest = fmaxf(largest, from[c]);
    for (std::int64_t c = 0; c < logits.cols; ++c) total += to[c] = expf(from[c] - largest);
    const float share = scale / static_cast<float>(logits.rows);
    row_losses[row] = logf(total) - (from[labels[row]] - largest);
    for (std::int64_t c = 0; c < logits.cols; ++c) to[c] *= share / total;
    to[labels[row]] -= share;
  }
};

struct Mean {
  const float* values;
  std::int64_t count;
  float* mean;
  __device__ void operator()(std::int64_t) const {
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]);
    *mean = static_cast<float>(sum / static_cast<double>(count));
  }
};

template <class T>
Buffer<T> device_memory(std::int64_t size) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, static_cast<std::size_t>(size) * sizeof(T)));
  Buffer<T> buffer{{static_cast<T*>(memory), [](T* p) { cudaFree(p); }}, size};
  check(cudaMemset(memory, 0, static_cast<std::size_t>(size) * sizeof(T)));
  return buffer;
}

class CudaBackend final : public Backend<float> {
 public:
  gramstep::Device device() const override { return gramstep::cuda(0); }

  Buffer<float> allocate(std::int64_t size) override { return device_memory<float>(size); }

  void upload(std::span<const float> host, float* to) override {
    check(cudaMemcpy(to, host.data(), host.size_bytes(), cudaMemcpyHostToDevice));
  }

  void download(const float* from, std::span<float> host) override {
    check(cudaMemcpy(host.data(), from, host.size_bytes(), cudaMemcpyDeviceToHost));
  }

  void wait() override { check(cudaStreamSynchronize(nullptr)); }

  void linear(Matrix<const float> x, Matrix<const float> w, const float* bias,
              Matrix<float> y) override {
    multiply(w, CUBLAS_OP_T, x, CUBLAS_OP_N, y);
    each(y.size(), AddBias{bias, y});
  }

  void linear_weights(Matrix<const float> x, Matrix<const float> dy, Matrix<float> dw,
                      float* dbias) override {
    multiply(x, CUBLAS_OP_N, dy, CUBLAS_OP_T, dw);
    each(dy.cols, SumRows{dy, dbias});
  }

  void linear_inputs(Matrix<const float> dy, Matrix<const float> w, Matrix<float> dx) override {
    multiply(w, CUBLAS_OP_N, dy, CUBLAS_OP_N, dx);
  }

  void relu(Matrix<float> y) override { each(y.size(), Relu{y.data}); }

  void relu_inputs(Matrix<const float> y, Matrix<float> dy) override {
    each(y.size(), ReluInputs{y.data, dy.data});
  }

  void cross_entropy(Matrix<const float> logits, std::span<const int> host_labels, float scale,
                     float* loss, Matrix<float> dlogits) override {
    if (labels_.size < logits.rows) {
      labels_ = device_memory<int>(logits.rows);
      row_losses_ = device_memory<float>(logits.rows);
    }
    check(cudaMemcpy(labels_.data(), host_labels.data(), host_labels.size_bytes(),
                     cudaMemcpyHostToDevice));
    each(logits.rows,
         CrossEntropy{logits, labels_.data(), scale, row_losses_.data(), dlogits.data});
    each(1, Mean{row_losses_.data(), logits.rows, loss});
  }

 private:
  /// c = op(b) op(a). To cuBLAS, which counts by columns, a row-major matrix is its transpose, so
  /// that the factors trade places and c is op(a) op(b).
  void multiply(Matrix<const float> a, cublasOperation_t op_a, Matrix<const float> b,
                cublasOperation_t op_b, Matrix<float> c) {
    const float one = 1, zero = 0;
    const std::int64_t inner = op_a == CUBLAS_OP_N ? a.rows : a.cols;
    check(cublasSgemm(blas_.get(), op_a, op_b, static_cast<int>(c.cols), static_cast<int>(c.rows),
                      static_cast<int>(inner), &one, a.data, static_cast<int>(a.cols), b.data,
                      static_cast<int>(b.cols), &zero, c.data, static_cast<int>(c.cols)));
  }

  Blas blas_ = make_blas();
  Buffer<int> labels_;
  Buffer<float> row_losses_;
};

}  // namespace

std::unique_ptr<Backend<float>> make_cuda_backend() {
  check(cudaSetDevice(0));
  return std::make_unique<CudaBackend>();
}

bool cuda_backend_usable() { return gramstep::cuda_devices() > 0; }

}  // namespace two_digits
