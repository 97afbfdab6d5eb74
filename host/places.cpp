#include "host/places.hpp"

#include <algorithm>
#include <functional>
#include <mutex>
#include <numeric>
#include <set>
#include <string>

namespace gramstep::host {
namespace {

std::int64_t rounded_up(std::int64_t size) {
  return (size + segment_alignment - 1) / segment_alignment * segment_alignment;
}

std::int64_t pieces(std::int64_t count, std::int64_t most) { return (count + most - 1) / most; }

/// A segment's shape with one number a row or a column of its matrices.
Shape shape_of(const Segment& segment, Per per) {
  Shape shape = segment.shape;
  if (per == Per::row) shape.back() = 1;
  if (per == Per::column) shape[shape.size() - 2] = 1;
  return shape;
}

bool is_matrix(const Rule& rule, const Layout& layout, const Segment& segment) {
  if (segment.size == 0 || layout.groups()[static_cast<std::size_t>(segment.group)].elementwise) {
    return false;
  }
  return std::visit(
      [&](const auto& held) {
        if constexpr (rules::TreatsMatricesApart<std::decay_t<decltype(held)>>) {
          return held.is_matrix(static_cast<int>(segment.shape.size()));
        }
        return false;
      },
      rule);
}

bool treats_all_alike(const Rule& rule) {
  return std::visit(
      [](const auto& held) { return !rules::TreatsMatricesApart<std::decay_t<decltype(held)>>; },
      rule);
}

/// Calls visit(Update{}) for the update of a segment.
template <class Visit>
void with_update(const Rule& rule, bool matrix, const Visit& visit) {
  std::visit([&](const auto& held) { rules::with_update(held, matrix, visit); }, rule);
}

template <class Update>
constexpr auto pieces_of = rules::pieces_of<Update>();

/// The lines of one kind that a matrix has: `first` of its rows or columns, whose sums begin at `sums`.
void append_lines(kernels::Lines lines, std::int64_t all, Places& to) {
  std::int64_t most = kernels::block_lines / kernels::ways_of(lines.pieces);
  if (lines.columns == 0) {
    // Whole turns of a block, and no more parts than another block adds up.
    most *= pieces(all, most * kernels::max_row_parts);
    lines.part_count = static_cast<std::int32_t>(pieces(all, most));
    lines.parts = to.sums;
    to.sums += lines.part_count;
  }
  for (std::int64_t at = 0; at < all; at += most) {
    lines.count = std::min(most, all - at);
    to.lines.push_back(lines);
    lines.first += lines.count;
    lines.sums += lines.count;
    ++lines.part;
  }
}

/// The tiles of a segment's matrices and the lines they add up to.
void append_work(const kernels::SegmentPlace& place, std::int32_t segment, Places& to) {
  using kernels::tile_width, kernels::tile_height;
  const auto [size, rows, columns] = place.stack;
  const std::int64_t across = pieces(columns, tile_width), down = pieces(rows, tile_height);
  for (std::int64_t m = 0; m < size / (rows * columns); ++m) {
    const std::int64_t row_sums = to.sums, column_sums = row_sums + rows * across;
    to.sums = column_sums + columns * down;
    for (std::int64_t i = 0; i < down; ++i) {
      for (std::int64_t j = 0; j < across; ++j) {
        const std::int64_t row = i * tile_height, column = j * tile_width;
        to.tiles.push_back(
            {.begin = place.begin + (m * rows + row) * columns + column,
             .row_sums = row_sums + j * rows + row,
             .column_sums = column_sums + i * columns + column,
             .rows = static_cast<std::int32_t>(std::min<std::int64_t>(tile_height, rows - row)),
             .columns =
                 static_cast<std::int32_t>(std::min<std::int64_t>(tile_width, columns - column)),
             .segment = segment});
      }
    }
    const auto as_lines = [&](std::int64_t first, std::int64_t sums, std::int64_t count, int kind) {
      return kernels::Lines{.first = first,
                            .sums = sums,
                            .parts = 0,
                            .count = 0,
                            .part = 0,
                            .part_count = 0,
                            .pieces = static_cast<std::int32_t>(count),
                            .segment = segment,
                            .columns = kind};
    };
    append_lines(as_lines(m * rows, row_sums, across, 0), rows, to);
    append_lines(as_lines(m * columns, column_sums, down, 1), columns, to);
  }
}

/// The name of a state's scales: as long as the program, as a state's own.
std::string_view scale_name(std::string_view name) {
  static std::mutex mutex;
  static std::set<std::string> names;
  const std::lock_guard lock(mutex);
  return *names.insert(std::string(name) + "_scale").first;
}

}  // namespace

std::int64_t StatePart::size() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

Places::Places(const Layout& layout, const OptimizerOptions& options)
    : whole(treats_all_alike(options.rule)), rule_buffers(state_buffers(options.rule)) {
  const Rule& rule = options.rule;
  parts.resize(static_cast<std::size_t>(layout.segments()));
  segments.resize(parts.size());
  sizes.resize(static_cast<std::size_t>(rule_buffers));
  types.assign(sizes.size(), options.precision.states);
  std::vector<int> by_offset(parts.size());
  std::iota(by_offset.begin(), by_offset.end(), 0);
  std::ranges::stable_sort(by_offset, {}, [&](int s) { return layout.segment(s).offset; });
  for (const int s : by_offset) {
    const Segment segment = layout.segment(s);
    kernels::SegmentPlace& at = segments[static_cast<std::size_t>(s)];
    at = {{segment.size, 0, 0}, segment.offset, {}};
    if (is_matrix(rule, layout, segment)) {
      at.stack.rows = segment.shape[segment.shape.size() - 2];
      at.stack.columns = segment.shape.back();
    }
    place(rule, s, segment);
  }
  place_batches();
  const ParamsState beside = beside_params(options.precision);
  if (!beside.name.empty()) params_buffer = add_params_state(layout, beside.name, beside.type);
  if (options.ema_decay) ema_buffer = add_params_state(layout, "ema", DType::float32);
  if (options.precision.states != DType::dynamic8) return;
  scale_buffers = buffers();
  for (const std::string_view name : state_names(rule)) {
    add_params_state(layout, scale_name(name), DType::float32, kernels::block8);
  }
}

/// Adds a buffer that is laid out as the parameters, with a number for every block of them.
int Places::add_params_state(const Layout& layout, std::string_view name, DType type,
                             std::int64_t block) {
  const int buffer = buffers();
  params_states.push_back(name);
  sizes.push_back(layout.size() / block);
  types.push_back(type);
  for (std::size_t s = 0; s < parts.size(); ++s) {
    const Segment segment = layout.segment(static_cast<int>(s));
    const Shape shape = block == 1 ? segment.shape : Shape{pieces(segment.size, block)};
    parts[s].push_back({name, buffer, segment.offset / block, shape});
  }
  return buffer;
}

int Places::params_state(std::string_view name) const {
  const auto found = std::ranges::find(params_states, name);
  if (found == params_states.end()) return -1;
  return rule_buffers + static_cast<int>(found - params_states.begin());
}

/// Gives a segment its part of each buffer; of what is made orthogonal, its part of a batch.
void Places::place(const Rule& rule, int segment, const Segment& its) {
  kernels::SegmentPlace& at = segments[static_cast<std::size_t>(segment)];
  const bool matrix = at.stack.rows > 0;
  kinds[matrix] = true;
  with_update(rule, matrix, [&](auto update) {
    using Update = decltype(update);
    for (std::size_t b = 0; b < pieces_of<Update>.size(); ++b) {
      if constexpr (rules::Orthogonalized<Update>) {
        if (b == Update::orthogonalized) continue;
      }
      const StatePiece& piece = pieces_of<Update>[b];
      const StatePart part{piece.name, static_cast<int>(b), sizes[b], shape_of(its, piece.per)};
      at.states[b] = part.offset;
      sizes[b] += rounded_up(part.size());
      if (!part.name.empty()) parts[static_cast<std::size_t>(segment)].push_back(part);
    }
    if constexpr (rules::Factored<Update>) append_work(at, segment, *this);
    if constexpr (rules::Orthogonalized<Update>) {
      orthogonalized = Update::orthogonalized;
      const MatrixStack& stack = at.stack;
      auto batch = std::ranges::find_if(batches, [&](const MatrixBatch& each) {
        return each.rows == stack.rows && each.columns == stack.columns;
      });
      if (batch == batches.end()) {
        batch = batches.insert(batch, {stack.rows, stack.columns, 0, rounded_up(stack.size), {}});
      }
      batch->segments.push_back(segment);
    }
  });
}

void Places::place_batches() {
  for (MatrixBatch& batch : batches) {
    std::int64_t& size = sizes[orthogonalized];
    batch.begin = size;
    for (const int s : batch.segments) {
      segments[static_cast<std::size_t>(s)].states[orthogonalized] = size;
      size += batch.stride;
    }
  }
}

const StatePart* Places::part(int segment, std::string_view name) const {
  const auto& of_segment = parts[static_cast<std::size_t>(segment)];
  const auto found = std::ranges::find(of_segment, name, &StatePart::name);
  return found == of_segment.end() ? nullptr : &*found;
}

std::span<const StatePiece> state_pieces(const Rule& rule, bool matrix) {
  std::span<const StatePiece> pieces;
  with_update(rule, matrix, [&](auto update) { pieces = pieces_of<decltype(update)>; });
  return pieces;
}

NewtonSchulz newton_schulz(const Rule& rule) {
  return std::visit([](const auto& held) { return rules::newton_schulz(held); }, rule);
}

std::uint32_t never_negative(const Rule& rule) {
  std::uint32_t bits = 0;
  const std::span<const StatePiece> all = state_pieces(rule, false);
  for (std::size_t s = 0; s < all.size(); ++s) {
    if (rules::never_negative(all[s].name)) bits |= std::uint32_t{1} << s;
  }
  return bits;
}

ParamsState beside_params(const Precision& precision) {
  if (precision.master == Master::float32) return {"master", DType::float32};
  if (precision.master == Master::remainder) return {"remainder", DType::int16};
  if (precision.rounding == Rounding::kahan) return {"compensation", precision.params};
  return {};
}

int state_buffers(const Rule& rule) {
  return static_cast<int>(
      std::max(state_pieces(rule, true).size(), state_pieces(rule, false).size()));
}

std::vector<std::string_view> state_names(const Rule& rule) {
  std::vector<std::string_view> names;
  for (const bool matrix : {true, false}) {
    for (const StatePiece& piece : state_pieces(rule, matrix)) {
      const bool known = std::ranges::find(names, piece.name) != names.end();
      if (!piece.name.empty() && !known) names.push_back(piece.name);
    }
  }
  return names;
}

std::span<const std::string_view> segment_state_names(const Rule& rule) {
  return std::visit(
      [](const auto& held) { return rules::segment_state_names<std::decay_t<decltype(held)>>(); },
      rule);
}

}  // namespace gramstep::host
