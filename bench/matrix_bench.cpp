// Muon's step of one matrix, against its products by OpenBLAS.
#include <cmath>

#include "bench/cpu_cases.hpp"
#include "bench/openblas.hpp"

namespace gramstep::bench {
namespace {

/// The products of Newton and Schulz' iteration on a square matrix, all as large as it is.
void add_sgemm([[maybe_unused]] std::vector<Contender>& contenders,
               [[maybe_unused]] std::int64_t size) {
#if defined(GRAMSTEP_BENCH_OPENBLAS)
  const auto side = static_cast<int>(std::sqrt(size));
  const auto sgemm = [side, a = std::vector<float>(size, 1.0f),
                      c = std::vector<float>(size)]() mutable {
    for (int i = 0; i < 3 * Muon{}.ns_steps; ++i) {
      cblas_sgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, side, side, side, 1.0f, a.data(), side,
                  a.data(), side, 0.0f, c.data(), side);
    }
  };
  contenders.push_back({"sgemm", sgemm, contenders.front().bytes});
  for (Contender& each : contenders) each.prepare = let_threads_rest;
#endif
}

void measure(benchmark::State& state, const Case& which, const Extent& extent) {
  const Layout layout = which.layout();
  const Rows rows(1, layout.size());
  Floats params(layout.size());
  fill_uniform(params.span(), 0);
  Stages stages(which, cpu(), params.data(), rows.pointers().data());
  std::vector<Contender> contenders{{"update", [&] { stages.update(); }, always(36 * which.size)}};
  add_sgemm(contenders, which.size);
  compare(state, contenders, time_on_cpu, extent.budget());
}

}  // namespace

void register_matrices(const Extent& extent) {
  const std::vector<std::int64_t> sides =
      extent.quick ? std::vector<std::int64_t>{64} : std::vector<std::int64_t>{256, 1024};
  for (const std::int64_t side : sides) {
    const Case which{.rule = "Muon", .size = side * side, .matrix = true};
    add_cpu_benchmark(which.name("update/Muon"), 8 * which.size,
                      [=](benchmark::State& state) { measure(state, which, extent); });
  }
}

}  // namespace gramstep::bench
