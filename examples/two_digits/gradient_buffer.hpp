// GradientBuffer: the task gradients of one step, as gramstep takes them.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <span>
#include <string_view>

#include <gramstep/gramstep.hpp>

#include "backend.hpp"
#include "pairs.hpp"

namespace two_digits {

/// One piece of memory,
///
///   [ row of task 0 | ... | row of task K-1 | heads ]
///
/// so that the last row and the heads after it are laid out as the flat buffer of the parameters,
/// and gramstep::view finds a head's gradient there.
template <class Real>
class GradientBuffer {
 public:
  GradientBuffer(Backend<Real>& backend, const gramstep::Layout& layout)
      : layout_(layout),
        memory_(backend.allocate(tasks * layout.shared_size() + layout.heads_size())) {
    for (std::size_t task = 0; task < tasks; ++task) rows_[task] = row(task);
  }

  /// Where a task's gradient of a segment goes: of the trunk, or of its own head.
  gramstep::TensorView<Real> view(std::size_t task, std::string_view segment) const {
    const bool shared = layout_.segment(segment).task == gramstep::shared_by_all;
    return gramstep::view(layout_, row(shared ? task : tasks - 1), segment);
  }

  /// What Optimizer::step takes; refers to this object and to the losses.
  gramstep::Gradients for_step(std::span<const float> losses = {}) const
      requires std::same_as<Real, float> {
    return {
        .rows = rows_,
        .row_size = layout_.shared_size(),
        .heads = memory_.span().subspan(tasks * static_cast<std::size_t>(layout_.shared_size())),
        .losses = losses};
  }

 private:
  Real* row(std::size_t task) const {
    return memory_.data() + static_cast<std::int64_t>(task) * layout_.shared_size();
  }

  gramstep::Layout layout_;
  Buffer<Real> memory_;
  std::array<const Real*, tasks> rows_{};
};

}  // namespace two_digits
