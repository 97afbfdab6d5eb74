// Checks of the memory of a call: types, sizes, alignment, devices, and what overlaps.
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <sstream>

#include "gramstep/error.hpp"
#include "host/validation.hpp"

namespace gramstep::host {
namespace {

constexpr ArgumentName params_name{"params"};
constexpr ArgumentName heads_name{"gradients.heads"};
constexpr ArgumentName copy_name{"outputs.copy"};
constexpr ArgumentName delta_name{"outputs.delta"};
constexpr ArgumentName row_name(int k) { return {"gradients.rows", k}; }

void expect_count(const ArgumentName& what, std::int64_t got, std::int64_t expected,
                  const char* of) {
  if (got == expected) return;
  throw InvalidArgument(what.text() + ": got " + std::to_string(got) + ", expected " +
                        std::to_string(expected) + " (" + of + ")");
}

/// Memory with a name for messages.
struct Region {
  ArgumentName name;
  ConstBuffer memory;

  bool overlaps(const Region& other) const {
    const std::less<const void*> before;
    return memory.size > 0 && other.memory.size > 0 && before(memory.data, other.end()) &&
           before(other.memory.data, end());
  }
  const void* end() const { return memory.from(memory.size).data; }
};

/// There, of that type and aligned to it, unless it is empty.
void expect_elements(const Region& region, DType dtype) {
  const ConstBuffer& memory = region.memory;
  if (memory.size == 0) return;
  if (memory.dtype != dtype) {
    throw InvalidArgument(region.name.text() + ": got " + std::string(name_of(memory.dtype)) +
                          ", expected " + std::string(name_of(dtype)) +
                          " (OptimizerOptions.precision)");
  }
  if (memory.data == nullptr) {
    throw InvalidArgument(region.name.text() + ": got null, expected " +
                          std::to_string(memory.size) + " elements");
  }
  const auto address = reinterpret_cast<std::uintptr_t>(memory.data);
  if (address % static_cast<std::uintptr_t>(size_of(dtype)) == 0) return;
  std::ostringstream message;
  message << region.name.text() << ": got address 0x" << std::hex << address << std::dec
          << ", expected a multiple of " << size_of(dtype) << " bytes";
  throw InvalidArgument(message.str());
}

void expect_type(const ArgumentName& name, DType dtype) {
  if (dtype == DType::float32 || dtype == DType::bfloat16 || dtype == DType::float16) return;
  throw InvalidArgument(name.text() + ": got " + std::string(name_of(dtype)) +
                        ", expected float32, bfloat16 or float16");
}

void expect_apart(const Region& gradient, const Region& written, const char* of) {
  if (!gradient.overlaps(written)) return;
  throw InvalidArgument(gradient.name.text() + ": got memory that overlaps " + of +
                        ", expected memory of its own");
}

}  // namespace

std::string ArgumentName::text() const {
  std::string text = std::string(call) + ": " + name;
  if (row >= 0) text.append("[").append(std::to_string(row)).append("]");
  return text;
}

void validate_sizes(const Layout& layout, const OptimizerOptions& options, const Buffer& params,
                    const Gradients& gradients) {
  const Precision& precision = options.precision;
  expect_count(params_name, params.size, layout.size(), "layout.size()");
  expect_count({"gradients.rows"}, gradients.rows.count, options.tasks, "tasks");
  expect_count({"gradients.row_size"}, gradients.row_size, layout.shared_size(),
               "layout.shared_size()");
  expect_count(heads_name, gradients.heads.size, layout.heads_size(), "layout.heads_size()");
  expect_elements({params_name, params}, precision.params);
  expect_elements({heads_name, gradients.heads}, precision.gradients);
  for (int k = 0; k < options.tasks; ++k) {
    const ConstBuffer row{gradients.rows[k], layout.shared_size(), gradients.rows.dtype};
    expect_elements({row_name(k), row}, precision.gradients);
  }
}

void validate_outputs(const Layout& layout, const OptimizerOptions& options,
                      const Outputs& outputs) {
  for (const auto& [name, buffer] :
       {std::pair{copy_name, outputs.copy}, std::pair{delta_name, outputs.delta}}) {
    if (buffer.size == 0) continue;
    expect_count(name, buffer.size, layout.size(), "layout.size()");
    expect_type(name, buffer.dtype);
    expect_elements({name, buffer}, buffer.dtype);
  }
  const ParamsState beside = beside_params(options.precision);
  if (outputs.delta.size == 0 || beside.name.empty()) return;
  throw InvalidArgument(delta_name.text() +
                        ": got a buffer, expected none, for parameters have a " +
                        std::string(beside.name));
}

kernels::Losses losses_of(const Setup& setup, std::span<const float> losses) {
  kernels::Losses result{};
  result.needed = setup.traits.needs_losses;
  result.needed_positive = setup.traits.needs_positive_losses;
  std::ranges::fill(result.values, std::numeric_limits<float>::quiet_NaN());
  if (losses.empty() && !result.needed) return result;
  if (std::ssize(losses) != setup.tasks) {
    throw InvalidArgument(
        "Optimizer::step: gradients.losses: got " + std::to_string(losses.size()) + ", expected " +
        std::to_string(setup.tasks) + " (tasks)" +
        (result.needed ? ", because " + std::string(setup.traits.name) + " needs the losses"
                       : std::string()));
  }
  expect_elements({{"gradients.losses"}, losses}, DType::float32);
  if (is_device_memory(losses.data())) {
    expect(setup.device.kind == Device::Kind::cuda, "Optimizer::step: gradients.losses",
           "got memory of a CUDA device, expected host memory for an optimizer on the CPU");
    result.at = losses.data();
    return result;
  }
  for (int k = 0; k < setup.tasks; ++k) {
    const float loss = result.values[k] = losses[static_cast<std::size_t>(k)];
    if (!result.needed || (std::isfinite(loss) && (loss > 0 || !result.needed_positive))) continue;
    std::ostringstream message;
    message << "Optimizer::step: gradients.losses[" << k << "]: got " << loss
            << ", expected a finite " << (result.needed_positive ? "number > 0" : "number")
            << " for " << setup.traits.name;
    throw InvalidArgument(message.str());
  }
  return result;
}

kernels::Scaling scaling_of(const Gradients& gradients, const Backend& backend) {
  for (const auto& [name, pointer] : {std::pair{"gradients.grad_scale", gradients.grad_scale},
                                      std::pair{"gradients.found_inf", gradients.found_inf}}) {
    if (pointer == nullptr) continue;
    expect_elements({{name}, ConstBuffer(pointer, 1, DType::float32)}, DType::float32);
    backend.check_memory({name}, pointer);
  }
  return {gradients.grad_scale, gradients.found_inf};
}

void validate_evaluation(const Layout& layout, DType dtype, const ConstBuffer& params,
                         const Buffer& out, const Backend& backend) {
  constexpr const char* call = "Optimizer::evaluation_params";
  const Region from{{"params", -1, call}, params};
  const Region to{{"out", -1, call}, out};
  for (const Region& each : {from, to}) {
    expect_count(each.name, each.memory.size, layout.size(), "layout.size()");
    expect_elements(each, dtype);
    if (each.memory.size > 0) backend.check_memory(each.name, each.memory.data);
  }
  if (params.data != out.data) expect_apart(to, from, "params");
}

void validate_accumulation(std::span<float> sum, const ConstBuffer& gradient,
                           const Backend& backend) {
  constexpr const char* call = "Optimizer::accumulate";
  const Region to{{"sum", -1, call}, sum};
  const Region from{{"gradient", -1, call}, gradient};
  expect_count(to.name, to.memory.size, gradient.size, "the gradient's");
  expect_type(from.name, gradient.dtype);
  expect_elements(to, DType::float32);
  expect_elements(from, gradient.dtype);
  for (const Region& each : {to, from}) {
    if (each.memory.size > 0) backend.check_memory(each.name, each.memory.data);
  }
  expect_apart(from, to, "sum");
}

void validate_overlap(const Layout& layout, const Precision& precision, const StepMemory& memory,
                      std::span<const Buffer> states) {
  const Region params{params_name, {memory.params, layout.size(), precision.params}};
  const auto expect_apart_from_state = [&](const Region& region) {
    for (const Buffer& state : states) {
      expect_apart(region, {{"state"}, state}, "the optimizer's state");
    }
  };
  const auto check_gradient = [&](const ArgumentName& name, const void* data, std::int64_t size) {
    const Region gradient{name, {data, size, precision.gradients}};
    expect_apart(gradient, params, "params");
    expect_apart(gradient, {copy_name, memory.outputs.copy}, "outputs.copy");
    expect_apart(gradient, {delta_name, memory.outputs.delta}, "outputs.delta");
    expect_apart_from_state(gradient);
  };
  expect_apart_from_state(params);
  const Region copy{copy_name, memory.outputs.copy}, delta{delta_name, memory.outputs.delta};
  for (const Region& output : {copy, delta}) {
    expect_apart(output, params, "params");
    expect_apart_from_state(output);
  }
  expect_apart(copy, delta, "outputs.delta");
  check_gradient(heads_name, memory.heads, layout.heads_size());
  for (int k = 0; k < memory.rows.count; ++k) {
    check_gradient(row_name(k), memory.rows[k], layout.shared_size());
  }
}

void validate_devices(const Layout& layout, const StepMemory& memory, const Backend& backend) {
  if (layout.size() > 0) backend.check_memory(params_name, memory.params);
  if (layout.heads_size() > 0) backend.check_memory(heads_name, memory.heads);
  for (int k = 0; k < memory.rows.count && layout.shared_size() > 0; ++k) {
    backend.check_memory(row_name(k), memory.rows[k]);
  }
  for (const auto& [name, buffer] :
       {std::pair{copy_name, memory.outputs.copy}, std::pair{delta_name, memory.outputs.delta}}) {
    if (buffer.size > 0) backend.check_memory(name, buffer.data);
  }
}

}  // namespace gramstep::host
