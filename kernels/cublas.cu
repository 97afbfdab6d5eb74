#include "kernels/cublas.hpp"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <string>

#include "gramstep/error.hpp"

namespace gramstep::kernels {
namespace {

template <class Function>
void find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  if (function == nullptr) throw DeviceUnavailable(std::string("cuBLAS: got no ") + name);
}

Cublas load() {
  const std::string name = "libcublas.so." + std::to_string(CUDART_VERSION / 1000);
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw DeviceUnavailable("Optimizer: Muon on CUDA: got no " + name +
                            ", expected it where the system's loader looks, or loaded already");
  }
  Cublas cublas;
  find(library, "cublasCreate_v2", cublas.create);
  find(library, "cublasDestroy_v2", cublas.destroy);
  find(library, "cublasSetStream_v2", cublas.set_stream);
  find(library, "cublasSetWorkspace_v2", cublas.set_workspace);
  find(library, "cublasSgemmStridedBatched", cublas.multiply);
  return cublas;
}

}  // namespace

const Cublas& Cublas::get() {
  static const Cublas cublas = load();
  return cublas;
}

}  // namespace gramstep::kernels
