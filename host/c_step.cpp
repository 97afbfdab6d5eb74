// The C ABI: steps.
#include "host/c_guard.hpp"
#include "host/c_handles.hpp"
#include "host/c_options.hpp"

namespace gs = gramstep;
using namespace gramstep::host::c;
using gs::host::dtype_of_c;
using gs::host::expect_struct;
using gs::host::expect_there;
using gs::host::extent;

namespace {

/// A step that writes these outputs. C's pointers have no type but what the options say.
void take_step(gramstep_optimizer* optimizer, void* params, std::int64_t params_size,
               const gramstep_gradients* gradients, const gs::Outputs& outputs, void* stream) {
  expect_there(gradients, "gramstep_step: gradients");
  expect_struct(gradients, "gramstep_gradients");
  const gramstep_gradients& from = *gradients;
  const std::size_t losses = extent(from.losses_size, "gramstep_step: losses_size");
  extent(params_size, "gramstep_step: params_size");
  extent(from.heads_size, "gramstep_step: heads_size");
  if (extent(from.tasks, "gramstep_step: tasks") > 0)
    expect_there(from.rows, "gramstep_step: rows");
  if (losses > 0) expect_there(from.losses, "gramstep_step: losses");
  const gs::Precision& precision = optimizer->optimizer.options().precision;
  optimizer->optimizer.step(
      {params, params_size, precision.params},
      gs::Gradients{.rows = {from.rows, from.tasks, precision.gradients},
                    .row_size = from.row_size,
                    .heads = {from.heads, from.heads_size, precision.gradients},
                    .losses = {from.losses, losses},
                    .grad_scale = from.grad_scale,
                    .found_inf = from.found_inf},
      outputs, as_stream(stream));
}

}  // namespace

extern "C" {

gramstep_status gramstep_step(gramstep_optimizer* optimizer, void* params, int64_t params_size,
                              const gramstep_gradients* gradients, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_step: optimizer");
    take_step(optimizer, params, params_size, gradients, {}, stream);
  });
}

gramstep_status gramstep_step_with_outputs(gramstep_optimizer* optimizer, void* params,
                                           int64_t params_size, const gramstep_gradients* gradients,
                                           const gramstep_outputs* outputs, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_step_with_outputs: optimizer");
    expect_there(outputs, "gramstep_step_with_outputs: outputs");
    expect_struct(outputs, "gramstep_outputs");
    const auto output = [&](const char* what, void* data, int32_t dtype) {
      return gs::Buffer{data, data == nullptr ? 0 : params_size, dtype_of_c(what, dtype)};
    };
    take_step(
        optimizer, params, params_size, gradients,
        {.copy = output("gramstep_outputs.copy_dtype", outputs->copy, outputs->copy_dtype),
         .delta = output("gramstep_outputs.delta_dtype", outputs->delta, outputs->delta_dtype)},
        stream);
  });
}

gramstep_status gramstep_accumulate(gramstep_optimizer* optimizer, float* sum, const void* gradient,
                                    int64_t size, int32_t dtype, double scale, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_accumulate: optimizer");
    const std::size_t count = extent(size, "gramstep_accumulate: size");
    optimizer->optimizer.accumulate(
        {sum, count}, {gradient, size, dtype_of_c("gramstep_accumulate: dtype", dtype)}, scale,
        as_stream(stream));
  });
}

}  // extern "C"
