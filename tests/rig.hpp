// Rig: an optimizer on the CPU, with the memory it works on.
#pragma once

#include <algorithm>
#include <cmath>

#include "tests/support.hpp"

namespace gramstep::test {

/// Everything that a step may change, as bits.
struct Snapshot {
  std::vector<float> params;
  std::vector<std::vector<float>> states;  // segments only: padding is not state
  std::vector<std::int64_t> segment_steps;
  std::int64_t steps = 0;
  std::vector<double> gram, weights;
};

/// Parameters and gradients drawn at random, padding poisoned.
class Rig {
 public:
  /// `shift`: floats by which everything misses the alignment of vectors.
  Rig(Layout layout, const OptimizerOptions& options, int shift = 0, std::uint64_t seed = 1)
      : optimizer(layout, options),
        params(layout.size(), shift),
        heads(layout.heads_size(), shift),
        random(seed) {
    for (int k = 0; k < options.tasks; ++k) rows.emplace_back(layout.shared_size(), shift);
    for (const Floats& row : rows) row_pointers_.push_back(row.data());
    for (int s = 0; s < layout.segments(); ++s) {
      const TensorView<float> tensor = view(layout, params.data(), layout.segment(s).name);
      for (float& p : tensor.span()) p = static_cast<float>(random.uniform());
    }
    draw();
  }

  /// New gradients with values whose products fp32 sums exactly.
  void draw() {
    for_gradients([&](float& g) { g = random.exact(); });
  }
  /// New gradients in [-1, 1).
  void draw_uniform() {
    for_gradients([&](float& g) { g = static_cast<float>(random.uniform()); });
  }

  Gradients gradients() const {
    return {row_pointers_, optimizer.layout().shared_size(), heads.span(), losses};
  }
  void step() { optimizer.step(params.span(), gradients()); }
  void draw_and_step(int steps = 1) {
    for (int i = 0; i < steps; ++i) {
      draw();
      step();
    }
  }

  std::span<float> param(std::string_view segment) const {
    return view(optimizer.layout(), params.data(), segment).span();
  }
  /// The gradient of a shared segment by task, or of a head.
  std::span<float> gradient(std::string_view name, int task = 0) const {
    const Layout& layout = optimizer.layout();
    const Segment segment = layout.segment(name);
    float* at = segment.task == shared_by_all
                    ? rows[static_cast<std::size_t>(task)].data() + segment.offset
                    : heads.data() + (segment.offset - layout.shared_size());
    return {at, static_cast<std::size_t>(segment.size)};
  }

  Snapshot snapshot() {
    const Report report = optimizer.report();
    Snapshot shot{{params.span().begin(), params.span().end()},
                  {},
                  optimizer.segment_steps(),
                  report.steps,
                  report.gram,
                  report.weights};
    for (const std::string_view name : optimizer.state_names()) {
      std::vector<float>& state = shot.states.emplace_back();
      for (int s = 0; s < optimizer.layout().segments(); ++s) {
        const std::string segment = optimizer.layout().segment(s).name;
        if (!keeps(segment, name)) continue;
        const auto tensor = optimizer.state(name, segment);
        state.insert(state.end(), tensor.data, tensor.data + tensor.size);
      }
    }
    return shot;
  }

  /// Whether the rule keeps state of that name of a segment.
  bool keeps(std::string_view segment, std::string_view name) const {
    const auto names = optimizer.state_names(segment);
    return std::ranges::find(names, name) != names.end();
  }

  /// That no element between the segments of any buffer was written.
  void expect_padding_untouched() const {
    expect_poison_between(params.span(), 0);
    expect_poison_between(heads.span(), optimizer.layout().shared_size());
    for (const Floats& row : rows) expect_poison_between(row.span(), 0);
  }

  Optimizer optimizer;
  Floats params, heads;
  std::vector<Floats> rows;
  std::vector<float> losses;  // handed to every step
  Random random;

 private:
  template <class Function>
  void for_gradients(const Function& function) {
    for (int s = 0; s < optimizer.layout().segments(); ++s) {
      const Segment segment = optimizer.layout().segment(s);
      const int count = segment.task == shared_by_all ? static_cast<int>(rows.size()) : 1;
      for (int k = 0; k < count; ++k) {
        for (float& g : gradient(segment.name, k)) function(g);
      }
    }
  }

  void expect_poison_between(std::span<float> buffer, std::int64_t origin) const {
    std::vector<bool> used(buffer.size());
    for (int s = 0; s < optimizer.layout().segments(); ++s) {
      const Segment segment = optimizer.layout().segment(s);
      const std::int64_t first = segment.offset - origin;
      if (first < 0 || first + segment.size > std::ssize(buffer)) continue;
      for (std::int64_t i = first; i < first + segment.size; ++i) {
        used[static_cast<std::size_t>(i)] = true;
      }
    }
    for (std::size_t i = 0; i < buffer.size(); ++i) {
      if (used[i]) continue;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(buffer[i]), poison_bits) << "padding at " << i;
    }
  }

  std::vector<const float*> row_pointers_;
};

/// That two snapshots are the same bits; the state of what was seen is left out where `decided` is
/// false.
inline void expect_same(const Snapshot& a, const Snapshot& b, bool decided = true) {
  EXPECT_TRUE(same_bits(a.params, b.params)) << "params";
  ASSERT_EQ(a.states.size(), b.states.size());
  for (std::size_t s = 0; s < a.states.size(); ++s) {
    EXPECT_TRUE(same_bits(a.states[s], b.states[s])) << "state " << s;
  }
  EXPECT_EQ(a.segment_steps, b.segment_steps);
  EXPECT_EQ(a.steps, b.steps);
  if (!decided) return;
  EXPECT_TRUE(same_bits(a.gram, b.gram)) << "gram";
  EXPECT_TRUE(same_bits(a.weights, b.weights)) << "weights";
}

/// Shared segments of those sizes, three of them in groups of their own, and heads of the first and
/// the last task.
inline Layout mixed_layout(int tasks, std::span<const std::int64_t> sizes = edge_sizes) {
  Layout layout;
  layout.add_group("slow", {.lr_scale = 0.25, .weight_decay = 0.5, .maximize = {}});
  for (const std::int64_t size : sizes) {
    const std::string name = "shared" + std::to_string(size);
    if (size == 129) {
      layout.add(name, {3, 43}, {.group = "slow", .maximize = true});
    } else if (size == 4097) {
      layout.add(name, {size}, {.weight_decay = 0.0});
    } else {
      layout.add(name, {size});
    }
  }
  layout.add("scalar", {});
  layout.add("first_head", {10, 13}, {.task = 0});
  layout.add("last_head", {4097}, {.task = tasks - 1, .group = "slow"});
  layout.add("empty_head", {0, 5}, {.task = 0});
  return layout;
}

}  // namespace gramstep::test
