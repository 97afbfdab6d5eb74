// The gram stage, against reading the rows once and against OpenBLAS.
#include "bench/cases.hpp"
#include "bench/floors.hpp"

#if defined(GRAMSTEP_BENCH_OPENBLAS)
#include <cblas.h>
#endif

namespace gramstep::bench {
namespace {

constexpr std::int64_t most_for_ssyrk = std::int64_t{1} << 24;

void add_ssyrk([[maybe_unused]] std::vector<Contender>& contenders,
               [[maybe_unused]] const Rows& rows, [[maybe_unused]] std::int64_t bytes) {
#if defined(GRAMSTEP_BENCH_OPENBLAS)
  contenders.push_back({"ssyrk", always(bytes), [&rows, gram = std::vector<float>(4096)]() mutable {
    const int tasks = rows.tasks();
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasNoTrans, tasks, static_cast<int>(rows.size()), 1.0f,
                rows.row(0), static_cast<int>(rows.stride()), 0.0f, gram.data(), tasks);
  }});
#endif
}

void measure(benchmark::State& state, const Case& which, std::int64_t skew, const Budget& budget) {
  const Rows rows(which.tasks, make_layout(which.size, which.segments).size(), skew);
  Stages stages(which, rows);
  const std::int64_t bytes = 4 * which.tasks * which.size;
  std::vector<Contender> contenders{
      {"gram", always(bytes), [&] { stages.gram(); }},
      {"floor", always(bytes), [&] { read_arrays(rows.span(), which.size); }}};
  if (which.segments == 1 && which.size <= most_for_ssyrk) add_ssyrk(contenders, rows, bytes);
  compare(state, contenders, contenders.size() > 2 ? time_on_cpu_rested : time_on_cpu, budget);
}

void add(const Extent& extent, const Case& which, std::int64_t skew = Rows::row_skew) {
  const std::string name = which.name("gram") + (skew == 0 ? "/stride:power-of-two" : "");
  add_benchmark(name, which.size * (which.tasks + 1),
                [=](benchmark::State& state) { measure(state, which, skew, extent.budget()); });
}

}  // namespace

void register_gram(const Extent& extent) {
  // SGD: the rule without state.
  for (const int tasks : extent.tasks()) {
    for (const std::int64_t size : extent.sizes()) add(extent, {"SGD", tasks, size});
  }
  for (const int segments : {256, 4096}) {
    add(extent, {"SGD", 8, segments == 256 ? extent.large() : 1024 * segments, segments});
  }
  for (const int tasks : {8, 32}) add(extent, {"SGD", tasks, extent.large()}, 0);
}

}  // namespace gramstep::bench
