// The CUDA backend of a build without CUDA.
#include "gramstep/error.hpp"
#include "host/backend.hpp"

namespace gramstep::host {

std::unique_ptr<Backend> make_cuda_backend(const Setup&) {
  throw DeviceUnavailable(
      "Optimizer: device: got cuda, expected cpu: this build of gramstep has no CUDA backend");
}

bool is_device_memory(const void*) { return false; }

}  // namespace gramstep::host

namespace gramstep::inline v1 {

bool built_with_cuda() { return false; }
int cuda_devices() { return 0; }

}  // namespace gramstep::inline v1
