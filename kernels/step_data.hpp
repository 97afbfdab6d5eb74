// What the three stages hand to each other, in memory of the device that runs them.
#pragma once

#include <cstdint>
#include <cstring>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/export.hpp"
#include "gramstep/layout.hpp"
#include "gramstep/optimizer.hpp"
#include "kernels/context.hpp"
#include "kernels/one_of.hpp"
#include "kernels/storage.hpp"

namespace gramstep::kernels {

/// A run of elements of one segment, [begin, begin + count) of the flat buffer: the unit of work.
/// Chunks never contain padding, so no stage can touch it. Their length depends on the layout alone.
struct Chunk {
  std::int64_t begin;
  std::int32_t count;  // 1 to chunk_elements
  std::int32_t segment;
};

/// 16 KiB of fp32: a combined gradient of this length stays in a core's L1, and 256 threads of a GPU
/// block read it in four accesses of 16 bytes each.
inline constexpr int chunk_elements = 4096;

/// Of a small layout: one access each, so that there are blocks for more of a GPU.
inline constexpr int least_chunk_elements = 1024;

/// Consecutive chunks [first, last) of one projection, whose products are summed into one partial of
/// its Gram matrix. Spans depend on the layout alone, so the sum of the partials does not depend on who
/// computed them.
struct Span {
  std::int32_t first;
  std::int32_t last;
};

/// Most pairs of tasks, i <= j.
inline constexpr int max_pairs = max_tasks * (max_tasks + 1) / 2;

/// Number of pairs i <= j of that many tasks.
GRAMSTEP_BOTH constexpr int pairs_of(int tasks) { return tasks * (tasks + 1) / 2; }

/// Where pair (i, j), i <= j, stands in the upper triangle by rows.
GRAMSTEP_BOTH constexpr int pair_index(int i, int j, int tasks) {
  return i * tasks - i * (i + 1) / 2 + j;
}

/// Most elements of a span. A bound on the number of terms in one fp32 accumulator, and with
/// preferred_spans a compromise between few partials to sum and enough blocks to fill a GPU.
inline constexpr std::int64_t max_span_elements = std::int64_t{1} << 16;
inline constexpr std::int64_t preferred_spans = 1024;

/// The work of a layout: chunks by offset, shared ones first; spans of the shared part, projection by
/// projection, then of the heads' part. A projection is a part of the model that has a Gram matrix and
/// weights of its own: all of it, a group or a segment.
struct WorkTable {
  const Chunk* chunks;
  const Span* spans;
  const std::int32_t* projection_spans;  // [projections + 1]: where each one's spans begin
  const std::int32_t* segment_chunks;    // [segments, 2]: first and end of each one's chunks
  std::int32_t chunk_count;
  std::int32_t shared_spans;
  std::int32_t head_spans;
  std::int32_t projections;  // P, at least 1
  std::int64_t shared_size;  // chunks that begin at or beyond it belong to heads
};

/// Where the state of a segment is, whose rule treats matrices apart.
struct SegmentPlace {
  MatrixStack stack;
  std::int64_t begin;               // in the flat buffer
  std::int64_t states[max_states];  // where its part of each state buffer begins
};

/// Most rows and columns of a matrix whose squares one block adds up: eight rows and sixteen columns a
/// thread, in registers.
inline constexpr int tile_height = 64;
inline constexpr int tile_width = 512;

/// A piece of a matrix, and where the sums of its first row and of its first column go: neighbouring lines'
/// sums lie side by side, those of a line's pieces as far apart as the matrix has such lines.
struct Tile {
  std::int64_t begin;  // its first element, in the flat buffer
  std::int64_t row_sums;
  std::int64_t column_sums;
  std::int32_t rows;
  std::int32_t columns;
  std::int32_t segment;
};

/// Threads of a block that brings lines up to date: so many lines, or fewer, each line's pieces dealt out to some.
inline constexpr int block_lines = 256;

/// How many threads share the pieces of a line: a power of two.
GRAMSTEP_BOTH constexpr int ways_of(int pieces) {
  int ways = 1;
  while (ways < 8 && ways < pieces) ways *= 2;
  return ways;
}

/// Most parts that the rows of a matrix come in: a block of that many threads adds up what these keep.
inline constexpr int max_row_parts = 256;

/// Rows or columns of one matrix that a block brings up to date.
struct Lines {
  std::int64_t first;  // row or column state, from where the segment's begins
  std::int64_t sums;   // of the first line
  std::int64_t parts;  // of rows: where the sums of what they keep begin, one a part of the matrix
  std::int64_t count;
  std::int32_t part;  // which of them these rows are
  std::int32_t part_count;
  std::int32_t pieces;  // sums to add up for each line
  std::int32_t segment;
  std::int32_t columns;  // whether they are columns
};

/// The work of a rule that treats matrices apart.
struct MatrixTable {
  const SegmentPlace* places;  // [segments]
  const Tile* tiles;
  const Lines* lines;
  float* sums;  // what tiles add up, and parts of rows
  std::int64_t tile_count;
  std::int64_t lines_count;
};

/// A group's hyperparameters; what it leaves to the rule is resolved in every step, for the rule's may
/// be set between steps.
struct GroupSettings {
  double lr_scale;
  double weight_decay;    // NaN: the rule's
  std::int32_t maximize;  // 0 or 1; -1: the rule's
};

/// Update::Scalars of any update, trivially copyable. In words: nvcc copies bytes byte by byte.
struct AnyScalars {
  std::uint32_t words[10];

  template <class Scalars>
  GRAMSTEP_BODY void put(const Scalars& value) {
    static_assert(sizeof(Scalars) <= sizeof(words));
    std::uint32_t copy[sizeof(words) / sizeof(words[0])] = {};
    memcpy(copy, &value, sizeof(Scalars));
    GRAMSTEP_UNROLL
    for (std::size_t i = 0; i < sizeof(words) / sizeof(words[0]); ++i) words[i] = copy[i];
  }
  template <class Scalars>
  GRAMSTEP_BODY Scalars get() const {
    std::uint32_t copy[(sizeof(Scalars) + sizeof(words[0]) - 1) / sizeof(words[0])];
    GRAMSTEP_UNROLL
    for (std::size_t i = 0; i < sizeof(copy) / sizeof(copy[0]); ++i) copy[i] = words[i];
    Scalars value;
    memcpy(&value, copy, sizeof(Scalars));
    return value;
  }
};

/// A segment in this step. The plan writes it, the other stages read it.
struct SegmentState {
  std::int64_t steps;  // taken by this segment so far
  std::int32_t group;
  std::int32_t active;                     // whether it has a gradient
  float sign;                              // -1 to maximize
  std::int32_t projection;                 // of a shared segment
  std::int32_t matrix;                     // whether its rule takes it as matrices
  double kept[rules::max_segment_states];  // the rule's segment_state_names
  AnyScalars scalars;

  template <class Scalars>
  GRAMSTEP_BODY void put(const Scalars& value) {
    scalars.put(value);
  }
  template <class Scalars>
  GRAMSTEP_BODY Scalars get() const {
    return scalars.template get<Scalars>();
  }
};

/// What the caller may change between steps: it lies with the step's state, so that a captured graph
/// follows it.
struct Controls {
  OneOfT<Rule> rule;
  OneOfT<Schedule> schedule;
  Warmup warmup;
  double clip_norm = infinity;  // infinity: no clip
};

/// The factor on the gradients, and how it grows and shrinks.
struct LossScale {
  double value;
  DynamicLossScale dynamic;
  std::int64_t good_steps;  // since it last changed
  float published;          // the value, for whoever multiplies losses on the device
  bool adapts;
};

/// What the update stage needs to know of the step, beside the tasks' weights.
struct StepPlan {
  float head_weight;  // clip coefficient / loss scale
  std::int32_t skip;  // leave everything as it is
  std::int64_t step;  // which step this is, 1 for the first
};

/// What the report needs to know of the step, beside the plan's arrays; gradients unscaled.
struct Findings {
  double heads_squared;
  double norm;
  double clip;  // coefficient
  double lr;
};

/// Sums over the steps that had a gram stage and were taken, for running means.
struct Totals {
  double steps;
  double conflict_rate;
};

/// All that outlives a step, apart from the rule's state and the plan's arrays.
struct StepState {
  Controls controls;
  LossScale loss_scale;
  std::int64_t steps;          // taken
  std::int64_t skipped_steps;  // seen and not taken
  StepPlan plan;
  Findings findings;
  Totals totals;
};

/// Sets the loss scale; one that adapts begins to count anew.
GRAMSTEP_BOTH void set_loss_scale_of(StepState& state, double loss_scale) {
  state.loss_scale.value = loss_scale;
  state.loss_scale.published = static_cast<float>(loss_scale);
  state.loss_scale.good_steps = 0;
}

/// Which of two buffers holds what the last step left; the other one is written by the next. A step
/// that is skipped is not counted, and what it wrote is never looked at.
GRAMSTEP_BOTH int current_buffer(const StepState& state) {
  return static_cast<int>(state.steps & 1);
}

}  // namespace gramstep::kernels
