#include <algorithm>
#include <cmath>
#include <cstdint>

#include "passes.hpp"

namespace two_digits {
namespace {

class CpuPasses final : public Passes {
 public:
  explicit CpuPasses(int threads) : threads_(threads) {}

  void copy(In x, Out y) override {
    each(x, [=](std::size_t i) { y[i] = x[i]; });
  }

  void scale(float a, Out x) override {
    each(x, [=](std::size_t i) { x[i] *= a; });
  }

  void add(float a, In x, Out y) override {
    each(x, [=](std::size_t i) { y[i] += a * x[i]; });
  }

  double dot(In x, In y) override {
    constexpr std::int64_t block = 1024;  // floats add up within a block, doubles across blocks
    const auto size = static_cast<std::int64_t>(x.size());
    const float *a = x.data(), *b = y.data();
    double total = 0;
#pragma omp parallel for num_threads(threads_) reduction(+ : total) schedule(static)
    for (std::int64_t begin = 0; begin < size; begin += block) {
      const std::int64_t end = std::min(begin + block, size);
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = begin; i < end; ++i) sum += a[i] * b[i];
      total += static_cast<double>(sum);
    }
    return total;
  }

  void moments(float beta1, float beta2, In g, Out m, Out v) override {
    each(g, [=](std::size_t i) {
      m[i] += (1 - beta1) * (g[i] - m[i]);
      v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
    });
  }

  void adam(float step, float root_c2, float epsilon, In m, In v, Out p) override {
    each(m, [=](std::size_t i) { p[i] -= step * m[i] / (std::sqrt(v[i]) / root_c2 + epsilon); });
  }

 private:
  template <class Function>
  void each(In like, Function function) const {
    const std::size_t size = like.size();
#pragma omp parallel for simd num_threads(threads_) schedule(static)
    for (std::size_t i = 0; i < size; ++i) function(i);
  }

  int threads_;
};

}  // namespace

std::unique_ptr<Passes> make_passes(const gramstep::Device& device) {
  if (device.kind == gramstep::Device::Kind::cuda) return make_cuda_passes();
  return std::make_unique<CpuPasses>(device.threads);
}

}  // namespace two_digits
