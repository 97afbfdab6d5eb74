// OpenBLAS, where it was found, beside the library's own loops.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <thread>

#if defined(GRAMSTEP_BENCH_OPENBLAS)
#include <cblas.h>
#endif

namespace gramstep::bench {

/// Waits until the threads of one library, which spin for a while when their work is done, have
/// gone to sleep; then wakes OpenMP's.
inline void let_threads_rest() {
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
#pragma omp parallel
  benchmark::ClobberMemory();
}

}  // namespace gramstep::bench
