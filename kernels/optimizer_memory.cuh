// All device memory of an optimizer.
#pragma once

#include <memory>
#include <vector>

#include "host/backend.hpp"
#include "kernels/device_array.cuh"
#include "kernels/orthogonalizer.hpp"

namespace gramstep::kernels {

/// Made and freed with its device current.
struct OptimizerMemory {
  /// Bytes between state buffers, whose sizes are multiples of segment_alignment elements: all begin on 16.
  static constexpr std::int64_t state_apart = 0;

  explicit OptimizerMemory(const host::Setup& setup)
      : chunks(setup.work.chunks, "the chunk table"),
        spans(setup.work.spans, "the span table"),
        groups(setup.groups, "groups"),
        segments(setup.segments, "segments"),
        projection_spans(setup.work.projection_spans, "the projection table"),
        segment_chunks(setup.work.segment_chunks, "the segment table"),
        measures(std::ssize(setup.work.chunks) * rules::max_measures, "norms by segment"),
        step(std::vector{setup.initial}, "the step's state"),
        plan(setup.fresh_plan(), "the plan"),
        states(setup.state_offset(setup.states, state_apart), "the rule's state", home(setup)),
        places(setup.places.segments, "the places of segments' state"),
        tiles(setup.places.tiles, "the tiles of matrices"),
        lines(setup.places.lines, "the lines of matrices"),
        matrix_sums(setup.places.sums, "sums by row and column"),
        momenta(setup.momenta(), "momenta of the tasks", home(setup)),
        partials(setup.look ? setup.work.partials(setup.tasks) : 0, "partial Gram matrices"),
        scratch(setup.shape.projections * setup.scratch, "the plan's scratch") {
    if (!setup.places.batches.empty()) {
      orthogonalizer = std::make_unique<Orthogonalizer>(setup.places.batches);
    }
    if (setup.initial_state == 0) return;
    std::vector<char> initial;
    for (int s = 0; s < setup.states; ++s) {
      initial.resize(static_cast<std::size_t>(setup.state_offset(s, state_apart)));
      const std::vector<char> buffer = setup.initial_buffer(s);
      initial.insert(initial.end(), buffer.begin(), buffer.end());
    }
    initial.resize(static_cast<std::size_t>(setup.state_offset(setup.states, state_apart)));
    states.write(initial.data());
  }

  static Home home(const host::Setup& setup) {
    return setup.offload_state ? Home::host : Home::device;
  }

  DeviceArray<Chunk> chunks;
  DeviceArray<Span> spans;
  DeviceArray<GroupSettings> groups;
  DeviceArray<SegmentState> segments;
  DeviceArray<std::int32_t> projection_spans;
  DeviceArray<std::int32_t> segment_chunks;
  DeviceArray<double> measures;
  DeviceArray<StepState> step;
  DeviceArray<double> plan;
  DeviceArray<char> states;
  DeviceArray<SegmentPlace> places;
  DeviceArray<Tile> tiles;
  DeviceArray<Lines> lines;
  DeviceArray<float> matrix_sums;
  DeviceArray<float> momenta;
  DeviceArray<double> partials;
  DeviceArray<double> scratch;
  std::unique_ptr<Orthogonalizer> orthogonalizer;
};

}  // namespace gramstep::kernels
