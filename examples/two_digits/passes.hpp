// Passes: what an optimizer written by hand is made of. Each is one pass over memory.
#pragma once

#include <memory>
#include <span>

#include <gramstep/gramstep.hpp>

namespace two_digits {

/// Elementwise passes and the dot product on one device, on its default stream. The spans of a call
/// are of one length.
class Passes {
 public:
  using In = std::span<const float>;
  using Out = std::span<float>;

  virtual ~Passes() = default;

  /// y = x.
  virtual void copy(In x, Out y) = 0;
  /// x *= a.
  virtual void scale(float a, Out x) = 0;
  /// y += a x.
  virtual void add(float a, In x, Out y) = 0;
  /// The sum of x y, which the host waits for.
  virtual double dot(In x, In y) = 0;
  /// m += (1 - beta1) (g - m), v = beta2 v + (1 - beta2) g^2.
  virtual void moments(float beta1, float beta2, In g, Out m, Out v) = 0;
  /// p -= step m / (sqrt(v) / root_c2 + epsilon).
  virtual void adam(float step, float root_c2, float epsilon, In m, In v, Out p) = 0;
};

/// The passes of a device. Throws gramstep::DeviceUnavailable where CUDA was not built.
std::unique_ptr<Passes> make_passes(const gramstep::Device& device);

/// The passes of CUDA device 0.
std::unique_ptr<Passes> make_cuda_passes();

}  // namespace two_digits
