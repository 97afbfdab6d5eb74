// NarrowRig: an optimizer on the CPU whose parameters and gradients may be of 16 bits.
#pragma once

#include <algorithm>
#include <vector>

#include "host/backend.hpp"
#include "tests/support.hpp"

namespace gramstep::test {

/// Numbers rounded to those that a type has.
inline std::vector<float> rounded_to(DType dtype, std::span<const float> numbers) {
  std::vector<float> room(numbers.size());
  host::narrow(dtype, numbers, room.data());
  return host::widened(dtype, room.data(), std::ssize(numbers));
}

/// Memory of any type, of which all is seen in fp32.
class NarrowMemory {
 public:
  NarrowMemory(DType dtype, std::int64_t size)
      : dtype_(dtype), room_(static_cast<std::size_t>(size)) {}

  void set(std::span<const float> numbers) { host::narrow(dtype_, numbers, room_.data()); }
  std::vector<float> numbers() const {
    return host::widened(dtype_, room_.data(), std::ssize(room_));
  }
  gramstep::Buffer buffer() { return {room_.data(), std::ssize(room_), dtype_}; }
  const void* data() const { return room_.data(); }
  std::int64_t size() const { return std::ssize(room_); }

 private:
  DType dtype_;
  std::vector<float> room_;  // as much as any type takes
};

/// Parameters, K rows and the heads' gradients, drawn at random.
class NarrowRig {
 public:
  NarrowRig(const Layout& layout, const OptimizerOptions& options, std::uint64_t seed = 1)
      : optimizer(layout, options),
        params(options.precision.params, layout.size()),
        heads(options.precision.gradients, layout.heads_size()),
        random_(seed) {
    for (int k = 0; k < options.tasks; ++k) {
      rows.emplace_back(options.precision.gradients, layout.shared_size());
    }
    for (const NarrowMemory& row : rows) pointers_.push_back(row.data());
    fill(params);
    draw();
  }

  void fill(NarrowMemory& memory) {
    std::vector<float> numbers(static_cast<std::size_t>(memory.size()));
    for (float& each : numbers) each = static_cast<float>(random_.uniform());
    memory.set(numbers);
  }
  /// New gradients.
  void draw() {
    for (NarrowMemory& row : rows) fill(row);
    fill(heads);
  }
  void step() {
    const DType dtype = optimizer.options().precision.gradients;
    optimizer.step(params.buffer(), {.rows = {pointers_.data(), std::ssize(pointers_), dtype},
                                     .row_size = optimizer.layout().shared_size(),
                                     .heads = heads.buffer()});
  }
  void draw_and_step(int steps = 1) {
    for (int i = 0; i < steps; ++i) {
      draw();
      step();
    }
  }
  /// State by name, in fp32.
  std::vector<float> state(std::string_view name) {
    const gramstep::Buffer state = optimizer.stored_state(name);
    return host::widened(state.dtype, state.data, state.size);
  }
  void set_state(std::string_view name, std::span<const float> numbers) {
    const gramstep::Buffer state = optimizer.stored_state(name);
    host::narrow(state.dtype, numbers, state.data);
  }

  Optimizer optimizer;
  NarrowMemory params;
  std::vector<NarrowMemory> rows;
  NarrowMemory heads;

 private:
  Random random_;
  std::vector<const void*> pointers_;
};

}  // namespace gramstep::test
