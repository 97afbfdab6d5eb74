// The gram stage, against reading the rows once and against OpenBLAS.
#include "bench/cpu_cases.hpp"
#include "bench/floors.hpp"
#include "bench/openblas.hpp"

namespace gramstep::bench {
namespace {

void add_ssyrk([[maybe_unused]] std::vector<Contender>& contenders,
               [[maybe_unused]] const Rows& rows) {
#if defined(GRAMSTEP_BENCH_OPENBLAS)
  const auto ssyrk = [&rows, gram = std::vector<float>(max_tasks * max_tasks)]() mutable {
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasNoTrans, rows.tasks(),
                static_cast<int>(rows.size()), 1.0f, rows.row(0), static_cast<int>(rows.stride()),
                0.0f, gram.data(), max_tasks);
  };
  contenders.push_back({"ssyrk", ssyrk, contenders.front().bytes});
  for (Contender& each : contenders) each.prepare = let_threads_rest;
#endif
}

void measure(benchmark::State& state, const Case& which, std::int64_t padding,
             const Extent& extent) {
  const Layout layout = which.layout();
  const Rows rows(which.tasks, layout.size(), padding);
  const Floats params(layout.size());
  Stages stages(which, cpu(), params.data(), rows.pointers().data());
  const auto bytes = always(4 * which.tasks * which.size);
  std::vector<Contender> contenders{
      {"gram", [&] { stages.gram(); }, bytes},
      {"floor", [&] { read_arrays(rows.pointers(), which.size); }, bytes}};
  // Elsewhere the pauses that it asks for would only cool the caches.
  if (which.segments == 1 && which.size == extent.large()) add_ssyrk(contenders, rows);
  compare(state, contenders, time_on_cpu, extent.budget());
}

void add(const Extent& extent, Case which, std::int64_t padding = Rows::padding) {
  which.rule = "SGD";  // whose state takes no memory
  add_cpu_benchmark(which.name("gram") + (padding == 0 ? "/unpadded" : ""),
                    which.size * (which.tasks + 1),
                    [=](benchmark::State& state) { measure(state, which, padding, extent); });
}

}  // namespace

void register_gram(const Extent& extent) {
  for (const int tasks : extent.tasks()) {
    for (const std::int64_t size : extent.sizes()) add(extent, {.tasks = tasks, .size = size});
  }
  for (const Case& which : extent.segmented(8)) add(extent, which);
  for (const int tasks : {8, 32}) add(extent, {.tasks = tasks, .size = extent.large()}, 0);
}

}  // namespace gramstep::bench
