// The update stage's arguments, and how it combines K rows of gradients into the one that a rule descends along.
#pragma once

#include "gramstep/aggregators/aggregators.hpp"
#include "gramstep/aggregators/traits.hpp"
#include "kernels/context.hpp"
#include "kernels/one_of.hpp"
#include "kernels/step_data.hpp"

namespace gramstep::kernels {

/// The gradients that an update leaves at zero: those that came in, where it reads momenta of them.
struct Zeroed {
  void* rows[max_tasks];
  void* heads;
  DType dtype;
};

struct UpdateArguments {
  void* params;
  void* states[max_states];
  const void* rows[max_tasks];
  std::int64_t second_rows;  // elements from these rows to those that are read in odd steps
  const void* heads;
  Storage storage;
  Zeroed zeroed;
  WorkTable work;
  SegmentState* segments;
  std::int32_t segment_count;
  const StepPlan* plan;
  const float* weights;  // [P, K]: PlanMemory::applied
  double* measures;      // [chunk_count, rules::max_measures] sums, of a rule that needs them
  MatrixTable matrices;
  std::int32_t tasks;
  bool aligned;  // all pointers on 16 bytes
};

inline constexpr int update_threads = 256;

/// d = w_0 g_0 + w_1 g_1 + ..., in task order, each product and each sum rounded: the order of
/// operations that every backend keeps. Rows is K, or 0 for any K.
template <int Rows, int Width, class Type, class At>
GRAMSTEP_BODY void combine(Type type, const void* const* rows, const float* weights, int tasks,
                           const At& at, float (&d)[Width]) {
  float g[Width];
  load(type, rows[0], at, g);
  GRAMSTEP_UNROLL
  for (int c = 0; c < Width; ++c) d[c] = weights[0] * g[c];
  const int count = Rows > 0 ? Rows : tasks;
  GRAMSTEP_UNROLL_BY(4)  // four rows in flight
  for (int k = 1; k < count; ++k) {
    load(type, rows[k], at, g);
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) d[c] += weights[k] * g[c];
  }
}

/// The way of most aggregators: a weighted sum of Rows rows, or of any number where Rows is 0.
template <class RowType, int Rows>
struct WeightedSum {
  using Type = RowType;
  template <int Width, class At>
  GRAMSTEP_BODY void operator()(const UpdateArguments& a, const SegmentState& segment, const At& at,
                                float (&d)[Width]) const {
    const float* weights = a.weights + std::int64_t{segment.projection} * a.tasks;
    combine<Rows>(Type(a.storage.rows), a.rows, weights, a.tasks,
                  at + (a.plan->step & 1) * a.second_rows, d);
  }
};

/// Neighbouring elements of K rows.
template <class Type, class At>
struct NeighboursOf {
  Type type;
  const void* const* rows;
  At at;

  template <int Width>
  GRAMSTEP_BODY void load(int k, float (&g)[Width]) const {
    kernels::load(type, rows[k], at, g);
  }
};

/// The way of the aggregators that look at every element for themselves.
template <class RowType>
struct ByElement {
  using Type = RowType;
  OneOfT<Aggregator> aggregator;

  template <int Width, class At>
  GRAMSTEP_BODY void operator()(const UpdateArguments& a, const SegmentState&, const At& at,
                                float (&d)[Width]) const {
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) d[c] = 0.0f;
    aggregator.visit([&](const auto& held) {
      if constexpr (aggregators::Elementwise<std::decay_t<decltype(held)>>) {
        held.combine(NeighboursOf<Type, At>{Type(a.storage.rows), a.rows, at}, a.tasks,
                     a.plan->step, first_of(at), d);
      }
    });
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) d[c] *= a.plan->head_weight;
  }
};

/// Either way, of rows of any type: one instance of each body for all of them.
struct AnyCombination {
  using Type = AnyType;
  ByElement<AnyType> elements;
  bool by_element;

  template <int Width, class At>
  GRAMSTEP_BODY void operator()(const UpdateArguments& a, const SegmentState& segment, const At& at,
                                float (&d)[Width]) const {
    by_element ? elements(a, segment, at, d) : WeightedSum<AnyType, 0>{}(a, segment, at, d);
  }
};

/// The gradients of one segment: gradient(at, d) gives those of Width neighbouring elements.
template <class Combination>
struct GradientOf {
  const UpdateArguments& a;
  const Combination& combination;
  const SegmentState& segment;

  GRAMSTEP_BODY GradientOf(const UpdateArguments& arguments, const Combination& its_combination,
                           const SegmentState& its_segment, std::int64_t)
      : a(arguments), combination(its_combination), segment(its_segment) {}

  template <int Width, class At>
  GRAMSTEP_BODY void operator()(const At& at, float (&d)[Width]) const {
    if (first_of(at) >= a.work.shared_size) {
      combine<1>(typename Combination::Type(a.storage.heads), &a.heads, &a.plan->head_weight, 1,
                 at + -a.work.shared_size, d);
    } else {
      combination(a, segment, at, d);
    }
  }
};

/// The same of one row: which it is and its weight are known before a loop begins. A question inside it would have
/// every access wait for the one before: Adafactor's sums of a matrix had one of four on its way.
template <>
struct GradientOf<WeightedSum<Float32, 1>> {
  const void* row;
  std::int64_t shift;  // from an element's number to its place in the row
  float weight;

  /// Of the segment that element `begin` is of.
  GRAMSTEP_BODY GradientOf(const UpdateArguments& a, const WeightedSum<Float32, 1>&,
                           const SegmentState& segment, std::int64_t begin) {
    const bool head = begin >= a.work.shared_size;
    row = head ? a.heads : a.rows[0];
    shift = head ? -a.work.shared_size : (a.plan->step & 1) * a.second_rows;
    weight = head ? a.plan->head_weight : a.weights[segment.projection];
  }

  template <int Width, class At>
  GRAMSTEP_BODY void operator()(const At& at, float (&d)[Width]) const {
    combine<1>(Float32(DType::float32), &row, &weight, 1, at + shift, d);
  }
};

}  // namespace gramstep::kernels
