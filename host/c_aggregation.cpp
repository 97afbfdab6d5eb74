// The C ABI of the stages alone.
#include "host/c_guard.hpp"
#include "host/c_options.hpp"

namespace gs = gramstep;
using namespace gramstep::host::c;
using gs::host::expect_there;
using gs::host::extent;

struct gramstep_aggregation {
  gs::Aggregation aggregation;
};

namespace {

/// Rows of the type that the aggregation expects: C's pointers have none.
gs::Rows rows_of(const gramstep_aggregation& aggregation, const void* const* rows,
                 std::int32_t tasks, const char* what) {
  const std::size_t count = extent(tasks, what);
  if (count > 0) expect_there(rows, what);
  return {rows, static_cast<std::int64_t>(count), aggregation.aggregation.options().gradients};
}

/// Extents that the options imply: a C caller hands in pointers alone.
std::size_t pairs(const gramstep_aggregation& aggregation, bool batched) {
  const gs::AggregationOptions& options = aggregation.aggregation.options();
  const std::int64_t count = std::int64_t{options.tasks} * options.tasks;
  return static_cast<std::size_t>(batched ? options.batch * count : count);
}
std::size_t tasks(const gramstep_aggregation& aggregation, bool batched) {
  const gs::AggregationOptions& options = aggregation.aggregation.options();
  return static_cast<std::size_t>(batched ? options.batch * options.tasks : options.tasks);
}

}  // namespace

extern "C" {

gramstep_status gramstep_aggregation_options_init(gramstep_aggregation_options* options) {
  return guarded([&] {
    expect_there(options, "gramstep_aggregation_options_init: options");
    *options = {};
    options->struct_size = sizeof *options;
    options->batch = 1;
    options->tasks = 2;
  });
}

gramstep_status gramstep_aggregation_create(gramstep_aggregation** aggregation,
                                            const gramstep_aggregation_options* options) {
  return guarded([&] {
    expect_there(aggregation, "gramstep_aggregation_create: aggregation");
    expect_there(options, "gramstep_aggregation_create: options");
    *aggregation = new gramstep_aggregation{gs::Aggregation(gs::host::options_of(*options))};
  });
}

void gramstep_aggregation_destroy(gramstep_aggregation* aggregation) { delete aggregation; }

gramstep_status gramstep_aggregation_gram(gramstep_aggregation* aggregation,
                                          const void* const* rows, int32_t tasks, double* gram,
                                          void* stream) {
  return guarded([&] {
    expect_there(aggregation, "gramstep_aggregation_gram: aggregation");
    aggregation->aggregation.gram(
        rows_of(*aggregation, rows, tasks, "gramstep_aggregation_gram: rows"),
        {gram, pairs(*aggregation, false)}, as_stream(stream));
  });
}

gramstep_status gramstep_aggregation_weights(gramstep_aggregation* aggregation, const double* gram,
                                             double* weights, const float* losses,
                                             int64_t losses_size, void* stream) {
  return guarded([&] {
    expect_there(aggregation, "gramstep_aggregation_weights: aggregation");
    const std::size_t count = extent(losses_size, "gramstep_aggregation_weights: losses_size");
    if (count > 0) expect_there(losses, "gramstep_aggregation_weights: losses");
    aggregation->aggregation.weights({gram, pairs(*aggregation, true)},
                                     {weights, tasks(*aggregation, true)}, {losses, count},
                                     as_stream(stream));
  });
}

gramstep_status gramstep_aggregation_combine(gramstep_aggregation* aggregation,
                                             const void* const* rows, int32_t row_count,
                                             const double* weights, float* combined, void* stream) {
  return guarded([&] {
    expect_there(aggregation, "gramstep_aggregation_combine: aggregation");
    const std::int64_t size = aggregation->aggregation.options().size;
    aggregation->aggregation.combine(
        rows_of(*aggregation, rows, row_count, "gramstep_aggregation_combine: rows"),
        {weights, tasks(*aggregation, false)}, {combined, static_cast<std::size_t>(size)},
        as_stream(stream));
  });
}

gramstep_status gramstep_aggregation_solutions(const gramstep_aggregation* aggregation,
                                               int32_t* iterations, double* residuals,
                                               void* stream) {
  return guarded([&] {
    expect_there(aggregation, "gramstep_aggregation_solutions: aggregation");
    const auto found = aggregation->aggregation.solutions(as_stream(stream));
    for (std::size_t b = 0; b < found.size(); ++b) {
      if (iterations != nullptr) iterations[b] = found[b].iterations;
      if (residuals != nullptr) residuals[b] = found[b].residual;
    }
  });
}

gramstep_status gramstep_aggregation_steps(const gramstep_aggregation* aggregation, int64_t* steps,
                                           void* stream) {
  return guarded([&] {
    expect_there(aggregation, "gramstep_aggregation_steps: aggregation");
    expect_there(steps, "gramstep_aggregation_steps: steps");
    *steps = aggregation->aggregation.steps(as_stream(stream));
  });
}

gramstep_status gramstep_aggregation_set_steps(gramstep_aggregation* aggregation, int64_t steps,
                                               void* stream) {
  return guarded([&] {
    expect_there(aggregation, "gramstep_aggregation_set_steps: aggregation");
    aggregation->aggregation.set_steps(steps, as_stream(stream));
  });
}

gramstep_status gramstep_aggregation_plan_state(const gramstep_aggregation* aggregation,
                                                const char* name, double* values, int64_t size,
                                                int64_t* needed, void* stream) {
  return guarded([&] {
    expect_there(aggregation, "gramstep_aggregation_plan_state: aggregation");
    expect_there(name, "gramstep_aggregation_plan_state: name");
    put_state("gramstep_aggregation_plan_state",
              aggregation->aggregation.plan_state(name, as_stream(stream)), values, size, needed);
  });
}

gramstep_status gramstep_aggregation_set_plan_state(gramstep_aggregation* aggregation,
                                                    const char* name, const double* values,
                                                    int64_t size, void* stream) {
  return guarded([&] {
    expect_there(aggregation, "gramstep_aggregation_set_plan_state: aggregation");
    expect_there(name, "gramstep_aggregation_set_plan_state: name");
    const std::size_t count = extent(size, "gramstep_aggregation_set_plan_state: size");
    if (count > 0) expect_there(values, "gramstep_aggregation_set_plan_state: values");
    aggregation->aggregation.set_plan_state(name, {values, count}, as_stream(stream));
  });
}

}  // extern "C"
