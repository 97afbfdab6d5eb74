// What stands in for the CUDA sources where there is no CUDA compiler or no cuBLAS.
#include "backend.hpp"
#include "passes.hpp"

namespace two_digits {
namespace {

[[noreturn]] void throw_absent() {
  throw gramstep::DeviceUnavailable(
      "--device cuda: expected a build with CUDA and cuBLAS, got one without");
}

}  // namespace

std::unique_ptr<Backend<float>> make_cuda_backend() { throw_absent(); }

std::unique_ptr<Passes> make_cuda_passes() { throw_absent(); }

bool cuda_backend_usable() { return false; }

}  // namespace two_digits
