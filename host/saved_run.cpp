// Optimizer: a run by name, out and in.
#include <algorithm>
#include <map>

#include "host/implementation.hpp"
#include "host/plan_state.hpp"

namespace gramstep::inline v1 {
namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& got,
                         const std::string& expected) {
  throw InvalidArgument("Optimizer::import_run: " + what + ": got " + got + ", expected " +
                        expected);
}

std::string text_of(const Shape& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) {
    text += (text.size() == 1 ? "" : ", ") + std::to_string(size);
  }
  return text + "]";
}

/// Throws unless the map has these names and no others.
template <class Map, class Names>
void expect_names(const std::string& what, const Map& map, const Names& names) {
  for (const auto& name : names) {
    if (!map.contains(std::string(name))) refuse(what, "no " + std::string(name), "it");
  }
  for (const auto& [name, value] : map) {
    if (std::ranges::find(names, name) == std::ranges::end(names))
      refuse(what, name, "no such name");
  }
}

void expect_size(const std::string& what, std::int64_t got, std::int64_t expected) {
  if (got != expected) refuse(what, std::to_string(got) + " values", std::to_string(expected));
}

/// Copies part of a buffer out of it.
std::vector<float> part_of(const std::vector<float>& buffer, std::int64_t first,
                           std::int64_t size) {
  return {buffer.begin() + first, buffer.begin() + first + size};
}

std::vector<std::string_view> plan_names(const host::Setup& setup) {
  std::vector<std::string_view> names;
  for (const PlanState& piece : host::plan_states(setup)) names.push_back(piece.name);
  return names;
}

/// The whole of a backend's state buffer of that index, in fp32, which holds every type's numbers.
std::vector<float> read_buffer(const host::Setup& setup, const host::Backend& backend, int index) {
  std::vector<char> buffer(static_cast<std::size_t>(setup.state_bytes(index)));
  backend.read_state(index, buffer.data());
  return host::widened(setup.state_type(index), buffer.data(), setup.state_size(index));
}

/// Replaces it by numbers of its type.
void write_buffer(const host::Setup& setup, host::Backend& backend, int index,
                  const std::vector<float>& numbers) {
  std::vector<char> buffer(static_cast<std::size_t>(setup.state_bytes(index)));
  host::narrow(setup.state_type(index), numbers, buffer.data());
  backend.write_state(index, buffer.data());
}

/// Calls visit(segment name, part) for what the present rule keeps in a buffer, by name.
template <class Visit>
void for_parts(const Layout& layout, const host::Setup& setup, int buffer, const Visit& visit) {
  for (int s = 0; s < layout.segments(); ++s) {
    for (const std::string_view name : setup.state_names(s)) {
      const host::StatePart& part = *setup.places.part(s, name);
      if (part.buffer == buffer) visit(layout.segment(s).name, part);
    }
  }
}

/// Where task k's momentum, as of `steps` steps, begins in the buffer of all momenta.
std::int64_t momentum_at(const host::Setup& setup, std::int64_t steps, int task) {
  return ((steps & 1) * setup.tasks + task) * setup.momentum_stride();
}

/// Which part of the saved plan each projection's is: that of its segments, by name. Throws where they do
/// not have one between them that no other projection's have.
std::map<int, int> saved_projections(const Layout& layout, const host::Setup& setup,
                                     const SavedRun& run) {
  const int count = setup.shape.projections;
  std::map<int, int> saved, owner;
  for (int s = 0; s < layout.segments(); ++s) {
    const Segment segment = layout.segment(s);
    if (segment.task != shared_by_all) continue;
    const int own = setup.projection_of[static_cast<std::size_t>(s)];
    const int theirs = run.segments.at(segment.name).projection;
    if (theirs < 0 || theirs >= count || saved.try_emplace(own, theirs).first->second != theirs ||
        owner.try_emplace(theirs, own).first->second != own) {
      refuse("segment " + segment.name + ": projection", std::to_string(theirs),
             "that of the other segments of projection " + std::to_string(own) + " alone");
    }
  }
  saved.try_emplace(0, 0);  // of a model without shared segments
  return saved;
}

void check_segment(const host::Setup& setup, const Layout& layout, int s, const SavedRun& run) {
  const Segment segment = layout.segment(s);
  const std::string what = "segment " + segment.name;
  const SavedSegment& saved = run.segments.at(segment.name);
  if (saved.shape != segment.shape) refuse(what, text_of(saved.shape), text_of(segment.shape));
  host::validate_steps("Optimizer::import_run: " + what + ": steps", saved.steps, run.steps);
  expect_names(what + ": state", saved.state, setup.state_names(s));
  for (const auto& [name, values] : saved.state) {
    expect_size(what + ": state " + name, std::ssize(values), setup.places.part(s, name)->size());
  }
  expect_names(what + ": scalars", saved.scalars, host::segment_state_names(setup.rule));
  const bool has_momenta = setup.traits.momentum && segment.task == shared_by_all;
  expect_size(what + ": task_momentum", std::ssize(saved.task_momentum),
              has_momenta ? setup.tasks : 0);
  for (const auto& momentum : saved.task_momentum) {
    expect_size(what + ": task_momentum", std::ssize(momentum), segment.size);
  }
}

/// Throws unless the run is one of that layout and setup.
void check_run(const Layout& layout, const OptimizerOptions& options, const host::Setup& setup,
               const SavedRun& run) {
  host::validate_steps("Optimizer::import_run: steps", run.steps);
  host::expect_loss_scale("Optimizer::import_run: loss_scale", run.loss_scale, options);
  host::validate_steps("Optimizer::import_run: loss_scale_good_steps", run.loss_scale_good_steps);
  std::vector<std::string> names;
  for (int s = 0; s < layout.segments(); ++s) names.push_back(layout.segment(s).name);
  expect_names("segments", run.segments, names);
  for (int s = 0; s < layout.segments(); ++s) check_segment(setup, layout, s, run);
  expect_names("plan", run.plan, plan_names(setup));
  for (const PlanState& piece : host::plan_states(setup)) {
    expect_size("plan: " + std::string(piece.name),
                std::ssize(run.plan.at(std::string(piece.name))),
                piece.size(setup.tasks) * setup.shape.projections);
  }
  if (!run.plan.empty()) saved_projections(layout, setup, run);
}

}  // namespace

SavedRun Optimizer::export_run(Stream stream) const {
  const Implementation& self = checked("export_run");
  self.backend->check_stream(stream);
  const kernels::StepState step = self.backend->read_step(stream);
  const auto counted = self.backend->read_segments(stream);
  SavedRun run{.steps = step.steps,
               .loss_scale = step.loss_scale.value,
               .loss_scale_good_steps = step.loss_scale.good_steps,
               .segments = {},
               .plan = {}};
  const auto scalars = segment_state_names();
  const auto for_segments = [&](const auto& visit) {
    for (int s = 0; s < self.layout.segments(); ++s) {
      const Segment segment = self.layout.segment(s);
      visit(segment, counted[static_cast<std::size_t>(s)], run.segments[segment.name]);
    }
  };
  for_segments([&](const Segment& segment, const kernels::SegmentState& state, SavedSegment& to) {
    to.shape = segment.shape;
    to.steps = state.steps;
    to.projection = state.projection;
    for (std::size_t i = 0; i < scalars.size(); ++i) {
      to.scalars[std::string(scalars[i])] = state.kept[i];
    }
  });
  for (int b = 0; b < self.setup.states; ++b) {
    const auto buffer = read_buffer(self.setup, *self.backend, b);
    for_parts(self.layout, self.setup, b, [&](const std::string& segment, const auto& part) {
      run.segments[segment].state[std::string(part.name)] =
          part_of(buffer, part.offset, part.size());
    });
  }
  if (self.setup.traits.momentum) {
    const auto buffer = read_buffer(self.setup, *self.backend, self.setup.states);
    for_segments([&](const Segment& segment, const auto&, SavedSegment& to) {
      for (int k = 0; segment.task == shared_by_all && k < self.setup.tasks; ++k) {
        to.task_momentum.push_back(
            part_of(buffer, momentum_at(self.setup, step.steps, k) + segment.offset, segment.size));
      }
    });
  }
  for (const std::string_view name : plan_names(self.setup)) {
    run.plan[std::string(name)] = host::read_plan_state(self.setup, *self.backend, name, stream);
  }
  return run;
}

void Optimizer::import_run(const SavedRun& run, Stream stream) {
  Implementation& self = checked("import_run");
  check_run(self.layout, self.options, self.setup, run);
  self.backend->check_stream(stream);
  kernels::StepState step = self.backend->read_step(stream);
  auto counted = self.backend->read_segments(stream);
  step.steps = run.steps;
  kernels::set_loss_scale_of(step, run.loss_scale);
  step.loss_scale.good_steps = run.loss_scale_good_steps;
  const auto scalars = segment_state_names();
  const auto for_segments = [&](const auto& visit) {
    for (int s = 0; s < self.layout.segments(); ++s) {
      const Segment segment = self.layout.segment(s);
      visit(segment, counted[static_cast<std::size_t>(s)], run.segments.at(segment.name));
    }
  };
  for_segments([&](const Segment&, kernels::SegmentState& state, const SavedSegment& from) {
    state.steps = from.steps;
    for (std::size_t i = 0; i < scalars.size(); ++i) {
      state.kept[i] = from.scalars.at(std::string(scalars[i]));
    }
  });
  self.options.loss_scale = run.loss_scale;
  self.backend->write_step(step, counted);
  for (int b = 0; b < self.setup.states; ++b) {
    auto buffer = read_buffer(self.setup, *self.backend, b);
    for_parts(self.layout, self.setup, b, [&](const std::string& segment, const auto& part) {
      const auto& from = run.segments.at(segment).state.at(std::string(part.name));
      std::ranges::copy(from, buffer.begin() + part.offset);
    });
    write_buffer(self.setup, *self.backend, b, buffer);
  }
  if (self.setup.traits.momentum) {
    auto buffer = read_buffer(self.setup, *self.backend, self.setup.states);
    for_segments([&](const Segment& segment, const auto&, const SavedSegment& from) {
      for (std::size_t k = 0; k < from.task_momentum.size(); ++k) {
        const std::int64_t at = momentum_at(self.setup, run.steps, static_cast<int>(k));
        std::ranges::copy(from.task_momentum[k], buffer.begin() + at + segment.offset);
      }
    });
    write_buffer(self.setup, *self.backend, self.setup.states, buffer);
  }
  if (run.plan.empty()) return;
  const std::map<int, int> saved = saved_projections(self.layout, self.setup, run);
  for (const auto& [name, values] : run.plan) {
    const std::ptrdiff_t size = std::ssize(values) / self.setup.shape.projections;
    std::vector<double> own;
    for (const auto& [projection, theirs] : saved) {
      const auto part = values.begin() + theirs * size;
      own.insert(own.end(), part, part + size);
    }
    host::write_plan_state(self.setup, *self.backend, name, own, stream);
  }
}

}  // namespace gramstep::inline v1
