// The device's execution context, and the launch of a kernel body.
#pragma once

#include <cuda_pipeline_primitives.h>
#include <cuda_runtime.h>
#include <cub/warp/warp_reduce.cuh>

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>

#include "gramstep/error.hpp"
#include "gramstep/optimizer.hpp"
#include "kernels/context.hpp"
#include "kernels/storage.hpp"

namespace gramstep::kernels {

/// A CUDA thread, in the vocabulary of kernels/context.hpp. Has no size; every call is an instruction
/// or a collective of CUB.
struct DeviceContext {
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int threads() const { return static_cast<int>(blockDim.x); }
  __device__ std::int64_t block() const { return blockIdx.x; }
  __device__ std::int64_t blocks() const { return gridDim.x; }
  __device__ int lane() const { return thread() % 32; }
  __device__ int warp() const { return thread() / 32; }
  __device__ void sync() const { __syncthreads(); }
  __device__ void warp_sync() const { __syncwarp(); }

  __device__ void prefetch(const void* from) const {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(from)));
  }

  /// Past the first-level cache, in which what was there early could stay.
  __device__ std::uint64_t read_early(const void* from) const {
    return __ldcg(static_cast<const unsigned long long*>(from));
  }

  /// Past the registers, where the multiprocessor can.
  __device__ void copy_async(void* to, const void* from) const {
    __pipeline_memcpy_async(to, from, 16);
  }
  __device__ void commit_copies() const { __pipeline_commit(); }
  template <int Pending>
  __device__ void wait_for_copies() const {
    __pipeline_wait_prior(Pending);
  }

  __device__ std::uint32_t warp_max(std::uint32_t value) const {
#if __CUDA_ARCH__ >= 800
    return __reduce_max_sync(0xffffffff, value);
#else
    for (int lane = 16; lane > 0; lane /= 2) {
      const std::uint32_t other = __shfl_xor_sync(0xffffffff, value, lane);
      value = other > value ? other : value;
    }
    return value;
#endif
  }

  /// On tensor cores, which cut off what a sum's 24 bits do not hold; see gram_tensor.hpp.
  template <class Type>
  __device__ void multiply_add(float (&sums)[4], const std::uint32_t (&a)[4],
                               const std::uint32_t (&b)[2]) const {
#if __CUDA_ARCH__ >= 800
    if constexpr (std::is_same_v<Type, Bfloat16>) {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
          "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
          : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else if constexpr (std::is_same_v<Type, Float32>) {
      asm volatile(
          "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
          "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
          : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
          "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
          : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
#else
    const int row = lane() / 4 * 4, column = lane() % 4 * 8;  // the first lanes that have them
#pragma unroll 1
    for (int k = 0; k < 4; ++k) {
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t upper = from_lane(a[2 * half], row + k);
        const std::uint32_t lower = from_lane(a[2 * half + 1], row + k);
        const std::uint32_t left = from_lane(b[half], column + k);
        const std::uint32_t right = from_lane(b[half], column + 4 + k);
        add_products<Type>(upper, left, sums[0]);
        add_products<Type>(upper, right, sums[1]);
        add_products<Type>(lower, left, sums[2]);
        add_products<Type>(lower, right, sums[3]);
      }
    }
#endif
  }

  template <int Lanes = 32, class T>
  __device__ T warp_sum(T value) const {
    using Reduce = cub::WarpReduce<T, Lanes>;
    // Shuffles only: the storage has no content that warps could share.
    typename Reduce::TempStorage none;
    return Reduce(none).Sum(value);
  }

 private:
  __device__ static std::uint32_t from_lane(std::uint32_t value, int lane) {
    return __shfl_sync(0xffffffff, value, lane);
  }

  /// Adds the products of a word's numbers.
  template <class Type>
  __device__ static void add_products(std::uint32_t a, std::uint32_t b, float& sum) {
    if constexpr (std::is_same_v<Type, Float32>) {
      sum = fmaf(float_of(a), float_of(b), sum);
      return;
    } else {
      for (int bits = 0; bits < 32; bits += 16) {
        const auto of_a = static_cast<std::uint16_t>(a >> bits);
        const auto of_b = static_cast<std::uint16_t>(b >> bits);
        sum = fmaf(Type::widen(of_a), Type::widen(of_b), sum);
      }
    }
  }
};

/// Throws CudaError that names the call and CUDA's own words, unless status is success.
inline void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next, innocent call would report it again
  throw CudaError(std::string(call) + ": " + cudaGetErrorName(status) + ": " +
                  cudaGetErrorString(status));
}

/// How many blocks a multiprocessor has to have registers for: one, unless a body asks for more.
template <class Body>
constexpr int resident_blocks() {
  if constexpr (requires { Body::resident; }) {
    return Body::resident;
  } else {
    return 1;
  }
}

// Bodies are kernel parameters: their row pointers are indexed in constant memory.
//
// A grid begins while the last blocks of the one before it run, prefetches what that one leaves alone and works out
// what it can ahead; then it waits until all before it is done and seen. Only after that may the next begin: whatever
// was queued two launches ago is over when a body runs.
template <class Body>
__global__ void __launch_bounds__(Body::threads, resident_blocks<Body>())
    run_body(const __grid_constant__ Body body) {
  __shared__ typename Body::Shared shared;
  const DeviceContext x;
  if constexpr (requires { body.prefetch(x); }) body.prefetch(x);
  if constexpr (requires { body.ahead(x, shared); }) body.ahead(x, shared);
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
  cudaTriggerProgrammaticLaunchCompletion();
#endif
  body(x, shared);
}

/// Whether the current device lets a grid begin before the one ahead of it has ended.
inline bool can_begin_early() {
  int device = 0, major = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
        "cudaDeviceGetAttribute");
  return major >= 9;
}

/// Queues `blocks` blocks of a body, as many as a grid can have; bodies stride over the rest.
template <class Body>
void launch(const Body& body, std::int64_t blocks, Stream stream, const char* name) {
  if (blocks == 0) return;
  const auto grid = static_cast<unsigned>(std::min<std::int64_t>(blocks, 0x7fffffff));
  if constexpr (sizeof(typename Body::Shared) > 16 * 1024) {
    // What a driver sets aside by itself may hold one block, and leave room for it alone.
    check(cudaFuncSetAttribute(run_body<Body>, cudaFuncAttributePreferredSharedMemoryCarveout,
                               cudaSharedmemCarveoutMaxShared),
          name);
  }
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t how{};
  how.gridDim = grid;
  how.blockDim = Body::threads;
  how.stream = stream;
  how.attrs = &early;
  how.numAttrs = can_begin_early() ? 1 : 0;
  check(cudaLaunchKernelEx(&how, run_body<Body>, body), name);
}

}  // namespace gramstep::kernels
