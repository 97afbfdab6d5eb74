// The C ABI: exceptions become a status code and a message.
#include "gramstep/gramstep.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <string>

#include "gramstep/gramstep.hpp"
#include "host/c_guard.hpp"
#include "host/c_handles.hpp"
#include "host/c_options.hpp"

namespace gs = gramstep;
using namespace gramstep::host::c;
using gs::host::expect_struct;
using gs::host::expect_there;
using gs::host::extent;

extern "C" {

int gramstep_version(void) { return GRAMSTEP_C_VERSION_MAJOR * 1000 + GRAMSTEP_C_VERSION_MINOR; }

const char* gramstep_last_error(void) { return last_error().c_str(); }

const char* gramstep_status_name(gramstep_status status) {
  switch (status) {
    case GRAMSTEP_OK: return "ok";
    case GRAMSTEP_INVALID_ARGUMENT: return "invalid argument";
    case GRAMSTEP_INVALID_STATE: return "invalid state";
    case GRAMSTEP_DEVICE_UNAVAILABLE: return "device unavailable";
    case GRAMSTEP_OUT_OF_MEMORY: return "out of memory";
    case GRAMSTEP_CUDA_ERROR: return "CUDA error";
    case GRAMSTEP_NON_FINITE_GRADIENT: return "non-finite gradient";
    case GRAMSTEP_INTERNAL_ERROR: return "internal error";
  }
  return "unknown status";
}

int gramstep_cuda_devices(void) { return gs::cuda_devices(); }

const char* gramstep_cpu_isa(void) {
  try {
    return gs::cpu_isa().data();  // views of literals
  } catch (const gs::Error&) {
    return "none";
  }
}

gramstep_status gramstep_layout_create(gramstep_layout** layout) {
  return guarded([&] {
    expect_there(layout, "gramstep_layout_create: layout");
    *layout = new gramstep_layout{};
  });
}

void gramstep_layout_destroy(gramstep_layout* layout) { delete layout; }

gramstep_status gramstep_layout_add_group(gramstep_layout* layout, const char* name,
                                          const gramstep_group_options* options) {
  return guarded([&] {
    expect_there(layout, "gramstep_layout_add_group: layout");
    expect_there(name, "gramstep_layout_add_group: name");
    expect_there(options, "gramstep_layout_add_group: options");
    gs::GroupOptions group{.lr_scale = options->lr_scale, .weight_decay = {}, .maximize = {}};
    if (!std::isnan(options->weight_decay)) group.weight_decay = options->weight_decay;
    if (options->maximize >= 0) group.maximize = options->maximize != 0;
    group.elementwise = options->elementwise != 0;
    layout->layout.add_group(name, group);
  });
}

gramstep_status gramstep_layout_add(gramstep_layout* layout, const char* name, const int64_t* shape,
                                    int32_t dimensions, int32_t task, const char* group) {
  return guarded([&] {
    expect_there(layout, "gramstep_layout_add: layout");
    expect_there(name, "gramstep_layout_add: name");
    const std::size_t count = extent(dimensions, "gramstep_layout_add: dimensions");
    if (count > 0) expect_there(shape, "gramstep_layout_add: shape");
    gs::SegmentOptions options;
    options.task = task;
    if (group != nullptr) options.group = group;
    layout->layout.add(name, gs::Shape(shape, shape + count), options);
  });
}

gramstep_status gramstep_layout_sizes(const gramstep_layout* layout, int64_t* size,
                                      int64_t* shared_size, int64_t* heads_size) {
  return guarded([&] {
    expect_there(layout, "gramstep_layout_sizes: layout");
    put(size, layout->layout.size());
    put(shared_size, layout->layout.shared_size());
    put(heads_size, layout->layout.heads_size());
  });
}

gramstep_status gramstep_layout_segment(const gramstep_layout* layout, const char* name,
                                        int64_t* offset, int64_t* size) {
  return guarded([&] {
    expect_there(layout, "gramstep_layout_segment: layout");
    expect_there(name, "gramstep_layout_segment: name");
    const gs::Segment segment = layout->layout.segment(name);
    put(offset, segment.offset);
    put(size, segment.size);
  });
}

gramstep_status gramstep_options_init(gramstep_options* options) {
  return guarded([&] {
    expect_there(options, "gramstep_options_init: options");
    *options = gs::host::default_options();
  });
}

gramstep_status gramstep_optimizer_create(gramstep_optimizer** optimizer,
                                          const gramstep_layout* layout,
                                          const gramstep_options* options) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_optimizer_create: optimizer");
    expect_there(layout, "gramstep_optimizer_create: layout");
    expect_there(options, "gramstep_optimizer_create: options");
    *optimizer =
        new gramstep_optimizer{gs::Optimizer(layout->layout, gs::host::options_of(*options))};
  });
}

void gramstep_optimizer_destroy(gramstep_optimizer* optimizer) { delete optimizer; }

gramstep_status gramstep_set_active(gramstep_optimizer* optimizer, const char* segment,
                                    int32_t active, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_set_active: optimizer");
    expect_there(segment, "gramstep_set_active: segment");
    optimizer->optimizer.set_active(segment, active != 0, as_stream(stream));
  });
}

gramstep_status gramstep_optimizer_report(const gramstep_optimizer* optimizer,
                                          gramstep_report* report,
                                          const gramstep_report_arrays* arrays, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_optimizer_report: optimizer");
    if (arrays != nullptr) expect_struct(arrays, "gramstep_report_arrays");
    const gs::Report found = optimizer->optimizer.report(as_stream(stream));
    put(report, gramstep_report{.tasks = found.tasks,
                                .skipped = found.skipped,
                                .looked = found.looked,
                                .projections = found.projections,
                                .steps = found.steps,
                                .skipped_steps = found.skipped_steps,
                                .conflict_rate = found.conflict_rate,
                                .heads_norm = found.heads_norm,
                                .norm = found.norm,
                                .clipped_norm = found.clipped_norm,
                                .lr = found.lr,
                                .mean_steps = found.means.steps,
                                .mean_conflict_rate = found.means.conflict_rate,
                                .of_momenta = found.of_momenta,
                                .reserved = 0});
    if (arrays == nullptr) return;
    put_all(arrays->weights, found.weights);
    put_all(arrays->gram, found.gram);
    put_all(arrays->cosines, found.cosines);
    put_all(arrays->gradient_norms, found.gradient_norms);
    put_all(arrays->projection_norms, found.projection_norms);
    put_all(arrays->dots, found.dots);
    put_all(arrays->dot_cosines, found.dot_cosines);
    put_all(arrays->residuals, found.residuals);
    put_all(arrays->iterations, found.iterations);
    put_all(arrays->promises_kept, found.promises_kept);
    put_all(arrays->mean_weights, found.means.weights);
    put_all(arrays->mean_cosines, found.means.cosines);
    put_all(arrays->mean_promises_kept, found.means.promises_kept);
  });
}

const char* gramstep_promise(const gramstep_optimizer* optimizer) {
  if (optimizer == nullptr) return "";
  const std::string_view promise = optimizer->optimizer.promise();  // a literal
  return promise.empty() ? "" : promise.data();
}

gramstep_status gramstep_segment_steps(const gramstep_optimizer* optimizer, const char* segment,
                                       int64_t* steps, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_segment_steps: optimizer");
    expect_there(segment, "gramstep_segment_steps: segment");
    expect_there(steps, "gramstep_segment_steps: steps");
    const int index = optimizer->optimizer.layout().index(segment);
    *steps = optimizer->optimizer.segment_steps(as_stream(stream))[static_cast<std::size_t>(index)];
  });
}

gramstep_status gramstep_set_steps(gramstep_optimizer* optimizer, int64_t steps,
                                   const int64_t* segment_steps, int64_t segments, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_set_steps: optimizer");
    const std::size_t count = extent(segments, "gramstep_set_steps: segments");
    if (count > 0) expect_there(segment_steps, "gramstep_set_steps: segment_steps");
    optimizer->optimizer.set_steps(steps, {segment_steps, count}, as_stream(stream));
  });
}

int gramstep_state_count(const gramstep_optimizer* optimizer) {
  if (optimizer == nullptr) return -1;
  return static_cast<int>(optimizer->optimizer.state_names().size());
}

const char* gramstep_state_name(const gramstep_optimizer* optimizer, int index) {
  if (index < 0 || index >= gramstep_state_count(optimizer)) return nullptr;
  return optimizer->optimizer.state_names()[static_cast<std::size_t>(index)].data();
}

gramstep_status gramstep_state(gramstep_optimizer* optimizer, const char* name, float** data,
                               int64_t* size) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_state: optimizer");
    expect_there(name, "gramstep_state: name");
    const std::span<float> state = optimizer->optimizer.state(name);
    put(data, state.data());
    put(size, static_cast<int64_t>(state.size()));
  });
}

gramstep_status gramstep_state_of(gramstep_optimizer* optimizer, const char* name,
                                  const char* segment, float** data, int64_t* size) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_state_of: optimizer");
    expect_there(name, "gramstep_state_of: name");
    expect_there(segment, "gramstep_state_of: segment");
    const gs::TensorView<float> state = optimizer->optimizer.state(name, segment);
    put(data, state.data);
    put(size, state.size);
  });
}

gramstep_status gramstep_stored_state(gramstep_optimizer* optimizer, const char* name,
                                      const char* segment, void** data, int64_t* size,
                                      int32_t* dtype) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_stored_state: optimizer");
    expect_there(name, "gramstep_stored_state: name");
    gs::Optimizer& own = optimizer->optimizer;
    const gs::Buffer state =
        segment == nullptr ? own.stored_state(name) : own.stored_state(name, segment);
    put(data, state.data);
    put(size, state.size);
    put(dtype, static_cast<int32_t>(state.dtype));
  });
}

int gramstep_plan_state_count(const gramstep_optimizer* optimizer) {
  if (optimizer == nullptr) return -1;
  return static_cast<int>(optimizer->optimizer.plan_state_names().size());
}

const char* gramstep_plan_state_name(const gramstep_optimizer* optimizer, int index) {
  if (index < 0 || index >= gramstep_plan_state_count(optimizer)) return nullptr;
  return optimizer->optimizer.plan_state_names()[static_cast<std::size_t>(index)].data();
}

gramstep_status gramstep_plan_state(const gramstep_optimizer* optimizer, const char* name,
                                    double* values, int64_t size, int64_t* needed, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_plan_state: optimizer");
    expect_there(name, "gramstep_plan_state: name");
    put_state("gramstep_plan_state", optimizer->optimizer.plan_state(name, as_stream(stream)),
              values, size, needed);
  });
}

gramstep_status gramstep_set_plan_state(gramstep_optimizer* optimizer, const char* name,
                                        const double* values, int64_t size, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_set_plan_state: optimizer");
    expect_there(name, "gramstep_set_plan_state: name");
    const std::size_t count = extent(size, "gramstep_set_plan_state: size");
    if (count > 0) expect_there(values, "gramstep_set_plan_state: values");
    optimizer->optimizer.set_plan_state(name, {values, count}, as_stream(stream));
  });
}

gramstep_status gramstep_task_momentum(gramstep_optimizer* optimizer, int32_t task, float** data,
                                       int64_t* size, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_task_momentum: optimizer");
    const std::span<float> momentum = optimizer->optimizer.task_momentum(task, as_stream(stream));
    put(data, momentum.data());
    put(size, static_cast<int64_t>(momentum.size()));
  });
}

gramstep_status gramstep_copy_state(gramstep_optimizer* to, const gramstep_optimizer* from) {
  return guarded([&] {
    expect_there(to, "gramstep_copy_state: to");
    expect_there(from, "gramstep_copy_state: from");
    to->optimizer.copy_state(from->optimizer);
  });
}

}  // extern "C"
