#include "host/plan_state.hpp"

#include <algorithm>

#include "gramstep/error.hpp"

namespace gramstep::host {
namespace {

/// Where a piece lies in a projection's state.
struct Place {
  std::int64_t at, size;
};

Place find(const Setup& setup, std::string_view name) {
  std::int64_t at = 0;
  std::string names;
  for (const PlanState& piece : plan_states(setup)) {
    const std::int64_t size = piece.size(setup.tasks);
    if (piece.name == name) return {at, size};
    at += size;
    names += " " + std::string(piece.name);
  }
  throw InvalidArgument("plan_state: got \"" + std::string(name) +
                        "\", expected one of:" + (names.empty() ? " none" : names));
}

/// Where a projection's state that the next step reads begins in the plan's block.
double* state_of(const Setup& setup, const Backend& backend, std::vector<double>& block,
                 std::int64_t projection, Stream stream) {
  const std::int64_t buffer = kernels::current_buffer(backend.read_step(stream));
  return kernels::PlanMemory::in(block.data(), setup.shape).state +
         (buffer * setup.shape.projections + projection) * setup.shape.state;
}

}  // namespace

std::vector<PlanState> plan_states(const Setup& setup) {
  std::vector<PlanState> pieces(setup.traits.plan_states.begin(), setup.traits.plan_states.end());
  if (setup.smoothing > 0) pieces.push_back({"smoothed_weights", Extent::task});
  return pieces;
}

std::vector<double> read_plan_state(const Setup& setup, const Backend& backend,
                                    std::string_view name, Stream stream) {
  const Place place = find(setup, name);
  std::vector<double> block = backend.read_plan(stream), values;
  const double* first = state_of(setup, backend, block, 0, stream) + place.at;
  for (std::int64_t p = 0; p < setup.shape.projections; ++p) {
    const double* piece = first + p * setup.shape.state;
    values.insert(values.end(), piece, piece + place.size);
  }
  return values;
}

void write_plan_state(const Setup& setup, Backend& backend, std::string_view name,
                      std::span<const double> values, Stream stream) {
  const Place place = find(setup, name);
  const std::int64_t expected = place.size * setup.shape.projections;
  if (std::ssize(values) != expected) {
    throw InvalidArgument("set_plan_state(\"" + std::string(name) + "\"): got " +
                          std::to_string(values.size()) + " values, expected " +
                          std::to_string(expected) +
                          ": state of another number of tasks or projections?");
  }
  std::vector<double> block = backend.read_plan(stream);
  double* first = state_of(setup, backend, block, 0, stream) + place.at;
  for (std::int64_t p = 0; p < setup.shape.projections; ++p) {
    std::copy_n(values.data() + p * place.size, place.size, first + p * setup.shape.state);
  }
  backend.write_plan(block);
}

}  // namespace gramstep::host
