#include "cuda_support.cuh"
#include "passes.hpp"

namespace two_digits {
namespace {

int size_of(Passes::In x) { return static_cast<int>(x.size()); }

struct Moments {
  float beta1, beta2;
  const float* g;
  float *m, *v;
  __device__ void operator()(std::int64_t i) const {
    m[i] += (1 - beta1) * (g[i] - m[i]);
    v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
  }
};

struct AdamStep {
  float step, root_c2, epsilon;
  const float *m, *v;
  float* p;
  __device__ void operator()(std::int64_t i) const {
    p[i] -= step * m[i] / (sqrtf(v[i]) / root_c2 + epsilon);
  }
};

class CudaPasses final : public Passes {
 public:
  void copy(In x, Out y) override {
    check(cudaMemcpyAsync(y.data(), x.data(), x.size_bytes(), cudaMemcpyDeviceToDevice));
  }

  void scale(float a, Out x) override {
    check(cublasSscal(blas_.get(), size_of(x), &a, x.data(), 1));
  }

  void add(float a, In x, Out y) override {
    check(cublasSaxpy(blas_.get(), size_of(x), &a, x.data(), 1, y.data(), 1));
  }

  double dot(In x, In y) override {
    float result = 0;
    check(cublasSdot(blas_.get(), size_of(x), x.data(), 1, y.data(), 1, &result));
    return static_cast<double>(result);
  }

  void moments(float beta1, float beta2, In g, Out m, Out v) override {
    each(size_of(g), Moments{beta1, beta2, g.data(), m.data(), v.data()});
  }

  void adam(float step, float root_c2, float epsilon, In m, In v, Out p) override {
    each(size_of(m), AdamStep{step, root_c2, epsilon, m.data(), v.data(), p.data()});
  }

 private:
  Blas blas_ = make_blas();
};

}  // namespace

std::unique_ptr<Passes> make_cuda_passes() { return std::make_unique<CudaPasses>(); }

}  // namespace two_digits
