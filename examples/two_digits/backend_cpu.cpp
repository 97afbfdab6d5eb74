#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "backend.hpp"

namespace two_digits {
namespace {

template <class Real>
using RowMajor = Eigen::Matrix<Real, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class Real>
Eigen::Map<RowMajor<Real>> map(Matrix<Real> m) {
  return {m.data, m.rows, m.cols};
}

template <class Real>
Eigen::Map<const RowMajor<Real>> map(Matrix<const Real> m) {
  return {m.data, m.rows, m.cols};
}

template <class Real>
class CpuBackend final : public Backend<Real> {
 public:
  explicit CpuBackend(int threads) : threads_(threads) { Eigen::setNbThreads(threads_); }

  gramstep::Device device() const override { return gramstep::cpu(threads_); }

  Buffer<Real> allocate(std::int64_t size) override {
    const auto count = static_cast<std::size_t>(size);
    constexpr std::align_val_t cache_line{64};
    auto* memory = static_cast<Real*>(operator new[](count * sizeof(Real), cache_line));
    std::fill_n(memory, count, Real{0});
    return {{memory, [](Real* p) { operator delete[](p, cache_line); }}, size};
  }

  void upload(std::span<const Real> host, Real* to) override { std::ranges::copy(host, to); }

  void download(const Real* from, std::span<Real> host) override {
    std::copy_n(from, host.size(), host.begin());
  }

  void wait() override {}

  void linear(Matrix<const Real> x, Matrix<const Real> w, const Real* bias,
              Matrix<Real> y) override {
    map(y).noalias() = map(x) * map(w).transpose();
    map(y).rowwise() += map(Matrix<const Real>{bias, 1, y.cols}).row(0);
  }

  void linear_weights(Matrix<const Real> x, Matrix<const Real> dy, Matrix<Real> dw,
                      Real* dbias) override {
    map(dw).noalias() = map(dy).transpose() * map(x);
    map(Matrix<Real>{dbias, 1, dy.cols}) = map(dy).colwise().sum();
  }

  void linear_inputs(Matrix<const Real> dy, Matrix<const Real> w, Matrix<Real> dx) override {
    map(dx).noalias() = map(dy) * map(w);
  }

  void relu(Matrix<Real> y) override { map(y) = map(y).cwiseMax(Real{0}); }

  void relu_inputs(Matrix<const Real> y, Matrix<Real> dy) override {
    map(dy).array() *= (map(y).array() > Real{0}).template cast<Real>();
  }

  void cross_entropy(Matrix<const Real> logits, std::span<const int> host_labels, Real scale,
                     Real* loss, Matrix<Real> dlogits) override {
    double sum = 0;
    for (Eigen::Index i = 0; i < logits.rows; ++i) {
      const auto label = host_labels[static_cast<std::size_t>(i)];
      const auto from = map(logits).row(i);
      auto to = map(dlogits).row(i);
      const Real largest = from.maxCoeff();
      to = (from.array() - largest).exp();
      const Real total = to.sum();
      sum += std::log(total) - (from(label) - largest);
      to *= scale / (total * static_cast<Real>(logits.rows));
      to(label) -= scale / static_cast<Real>(logits.rows);
    }
    *loss = static_cast<Real>(sum / static_cast<double>(logits.rows));
  }

 private:
  int threads_;
};

}  // namespace

template <class Real>
std::unique_ptr<Backend<Real>> make_cpu_backend(int threads) {
  return std::make_unique<CpuBackend<Real>>(threads);
}

template std::unique_ptr<Backend<float>> make_cpu_backend<float>(int threads);
template std::unique_ptr<Backend<double>> make_cpu_backend<double>(int threads);

}  // namespace two_digits
