// What is visible outside the library, and what a kernel body is made of.
#pragma once

#if defined(_WIN32)
#error "gramstep builds on ELF platforms"
#endif

/// Marks a name as part of the shared library's interface; all else is hidden.
#define GRAMSTEP_EXPORT __attribute__((visibility("default")))

/// Marks a function that every execution compiles from one source: nvcc for the device, the host
/// compiler for the CPU backend and the tests. Always inlined on the host, because the CPU backend
/// compiles it once for every instruction set and the linker must never pick one of those for all.
#if defined(__CUDACC__)
#define GRAMSTEP_BODY __device__ __forceinline__
/// The same, for what many kernels share and none does in a loop.
#define GRAMSTEP_OUTLINED inline __device__ __noinline__
/// The same as GRAMSTEP_BODY, for what host code of a CUDA source calls as well.
#define GRAMSTEP_BOTH __host__ __device__ __forceinline__
#else
#define GRAMSTEP_BODY [[gnu::always_inline]] inline
#define GRAMSTEP_OUTLINED GRAMSTEP_BODY
#define GRAMSTEP_BOTH GRAMSTEP_BODY
#endif
