// Where an element's state is: beside the parameter's place in the flat buffer, in a buffer of the matrices
// alone, or one number for its row and one for its column.
#pragma once

#include <type_traits>

#include "gramstep/rules/traits.hpp"
#include "kernels/context.hpp"
#include "kernels/step_data.hpp"
#include "kernels/storage.hpp"

namespace gramstep::kernels {

/// How often a count comes to a multiple of `unit` on its way through a chunk: by a product where a division would
/// be a third of what a kernel does for an element.
class Turns {
 public:
  Turns() = default;
  GRAMSTEP_BODY Turns(std::int64_t at_first, std::int64_t unit) {
    // Beyond a chunk's length only the first multiple counts.
    const std::int64_t length = unit < chunk_elements ? unit : chunk_elements,
                       left = unit - at_first;
    first_ = static_cast<std::uint32_t>(left < length ? length - left : 0);
    inverse_ = (1u << shift) / static_cast<std::uint32_t>(length) + 1;
  }

  /// From the chunk's first element to element i of it.
  GRAMSTEP_BODY int operator()(int i) const {
    const std::uint64_t count = first_ + static_cast<std::uint32_t>(i);
    return static_cast<int>(count * inverse_ >> shift);
  }

 private:
  // The inverse is too large by at most one: count / 2^shift of a turn, less than the 1 / unit that it lacks.
  static constexpr int shift = 26;
  static_assert(std::int64_t{2} * chunk_elements * chunk_elements < std::int64_t{1} << shift);
  std::uint32_t first_, inverse_;
};

/// Where the row and the column of a matrix' element keep their state; or how far from another's.
struct Position {
  std::int64_t row, column;
};

/// The positions of a chunk's elements.
class Positions {
 public:
  GRAMSTEP_BODY Positions(const SegmentPlace& place, std::int64_t begin)
      : columns_(place.stack.columns) {
    const std::int64_t element = begin - place.begin, rows = place.stack.rows;
    const std::int64_t row = element / columns_, matrix = row / rows;
    const std::int64_t column = element - row * columns_;
    first = {row, matrix * columns_ + column};
    rows_ = Turns(column, columns_);
    matrices_ = Turns(element - matrix * rows * columns_, rows * columns_);
  }

  Position first;  // of the chunk's first element

  /// How far from there element i of the chunk has its own.
  GRAMSTEP_BODY Position after(int i) const {
    const int down = rows_(i);
    return {down, i + (matrices_(i) - down) * columns_};
  }

  /// How many elements of the first row there are from the chunk's first on.
  GRAMSTEP_BODY std::int64_t first_row() const { return columns_ - first.column % columns_; }

  /// Whether four neighbours, the first at a multiple of four, are always of one row.
  GRAMSTEP_BODY bool keep_fours() const { return columns_ % 4 == 0; }

 private:
  std::int64_t columns_;   // of a matrix
  Turns rows_, matrices_;  // that end before an element
};

/// How a step's states are stored, and which step it is.
struct StateStorage {
  void* const* buffers;
  const Storage& storage;
  std::int64_t step;
};

/// The states of a chunk's elements, of an update of any kind, all fp32.
template <class Update, class Type>
struct ElementStates {
  void* const* buffers;

  GRAMSTEP_BODY ElementStates(const StateStorage& states, const MatrixTable&, const Chunk&)
      : buffers(states.buffers) {}
  template <int Width, int Count, class At>
  GRAMSTEP_BODY void load(const At& at, int, float (&state)[Count][Width]) const {
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) {
      kernels::load(static_cast<const float*>(buffers[s]), at, state[s]);
    }
  }
  template <int Width, int Count, class At>
  GRAMSTEP_BODY void store(const float (&state)[Count][Width], const At& at) const {
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) {
      kernels::store(state[s], static_cast<float*>(buffers[s]), at);
    }
  }
};

/// The same of any type, put back four neighbours at a time.
template <class Update>
  requires(!rules::ByKind<Update>)
struct ElementStates<Update, AnyType> {
  StateStorage states;

  GRAMSTEP_BODY ElementStates(const StateStorage& its_states, const MatrixTable&, const Chunk&)
      : states(its_states) {}
  template <int Count, class At>
  GRAMSTEP_BODY void load(const At& at, int, float (&state)[Count][4]) const {
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) {
      load_state(states.storage, s, states.buffers[s], at, state[s]);
    }
  }

  /// Of a thread's four there are `at.count`, maybe none; aligned, where they all are. All lanes of a warp call:
  /// together they have a block.
  template <class X>
  GRAMSTEP_BODY void put(const X& x, const float (&state)[Update::states + 1][4], const Few& at,
                         bool aligned) const {
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) {
      if (states.storage.in_blocks()) {
        encode(x, s, state[s], at);
      } else if (aligned && at.count >= 4) {
        round(s, state[s], at.first);
      } else {
        round(s, state[s], at);
      }
    }
  }

 private:
  template <class At>
  GRAMSTEP_BODY void round(int s, const float (&state)[4], const At& at) const {
    store_rounded(states.storage, states.storage.states, states.step,
                  states_draw + static_cast<std::uint32_t>(s), state, states.buffers[s], at);
  }

  template <class X>
  GRAMSTEP_BODY void encode(const X& x, int s, const float (&state)[4], const Few& where) const {
    const auto [at, here] = where;
    std::uint32_t largest = 0;  // in bits, which have the order of magnitudes, and NaN above all
    GRAMSTEP_UNROLL
    for (int c = 0; c < 4; ++c) {
      const std::uint32_t bits = c < here ? bits_of(state[c]) & ~sign_bit : 0;
      largest = bits > largest ? bits : largest;
    }
    const float magnitude = float_of(x.warp_max(largest));
    const bool has_sign = states.storage.has_sign(s);
    x.warp_sync();  // all lanes have read the scale that the first one replaces
    if (here > 0 && x.lane() == 0) {
      states.storage.scales[s][at / block8] = scale_of(has_sign, magnitude);
    }
    const float inverse = inverse_of(has_sign, magnitude);
    std::uint8_t codes[4];
    if (states.storage.rounding == Rounding::stochastic) {
      const PhiloxWords drawn = drawn_for(states.storage.seed, states.step,
                                          states_draw + static_cast<std::uint32_t>(s), at);
      GRAMSTEP_UNROLL
      for (int c = 0; c < 4; ++c) {
        const std::uint32_t random = random_bits(drawn, (at & 4) != 0 ? c + 4 : c);
        codes[c] = encoded(has_sign, state[c], inverse, random);
      }
    } else {
      GRAMSTEP_UNROLL
      for (int c = 0; c < 4; ++c) codes[c] = encoded(has_sign, state[c], inverse);
    }
    auto* to = static_cast<std::uint8_t*>(states.buffers[s]) + at;
    if (here >= 4) return kernels::store(codes, to);
    kernels::store(codes, to, Few{0, here});
  }
};

/// The same of a rule that treats matrices apart: fp32.
template <rules::ByKind Update, class Type>
struct ElementStates<Update, Type> {
  void* const* buffers;
  // From a parameter's place to its state's, in units of the alignment that both have. Of 64 bits from memory
  // nvcc does not see that all begins on 16 bytes, and stores 32 bits at a time.
  std::int32_t moves[Update::states];

  GRAMSTEP_BODY ElementStates(const StateStorage& states, const MatrixTable& matrices,
                              const Chunk& chunk)
      : buffers(states.buffers) {
    const SegmentPlace& place = matrices.places[chunk.segment];
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) {
      moves[s] = static_cast<std::int32_t>((place.states[s] - place.begin) / segment_alignment);
    }
  }
  template <int Width, int Count, class At>
  GRAMSTEP_BODY void load(const At& at, int, float (&state)[Count][Width]) const {
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) kernels::load(buffer(s), moved(s, at), state[s]);
  }
  template <int Width, int Count, class At>
  GRAMSTEP_BODY void store(const float (&state)[Count][Width], const At& at) const {
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) kernels::store(state[s], buffer(s), moved(s, at));
  }

 private:
  GRAMSTEP_BODY float* buffer(int s) const { return static_cast<float*>(buffers[s]); }
  template <class At>
  GRAMSTEP_BODY At moved(int s, const At& at) const {
    return at + segment_alignment * std::int64_t{moves[s]};
  }
};

/// The same of an update whose elements have what their row and their column keep.
template <rules::Factored Update, class Type>
  requires rules::ByKind<Update>
struct ElementStates<Update, Type> {
  Positions positions;
  const float* rows;  // of the chunk's first element
  const float* columns;

  GRAMSTEP_BODY ElementStates(const StateStorage& states, const MatrixTable& matrices,
                              const Chunk& chunk)
      : positions(matrices.places[chunk.segment], chunk.begin),
        rows(part(states, matrices.places[chunk.segment], Update::row_factors) +
             positions.first.row),
        columns(part(states, matrices.places[chunk.segment], Update::column_factors) +
                positions.first.column) {}
  template <int Width, int Count, class At>
  GRAMSTEP_BODY void load(const At& at, int i, float (&state)[Count][Width]) const {
    if constexpr (Width == 4 && std::is_same_v<At, std::int64_t>) {
      if (positions.keep_fours()) return load_four(positions.after(i), state[0], state[1]);
    }
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) {
      state[0][c] = state[1][c] = 0;
      if (c >= count_of<Width>(at)) continue;
      const Position position = positions.after(i + c);
      state[0][c] = rows[position.row];
      state[1][c] = columns[position.column];
    }
  }

 private:
  /// Of neighbours in one row.
  GRAMSTEP_BODY void load_four(const Position& position, float (&row)[4], float (&its)[4]) const {
    kernels::load(columns + position.column, its);
    const float of_row = rows[position.row];
    GRAMSTEP_UNROLL
    for (int c = 0; c < 4; ++c) row[c] = of_row;
  }

  GRAMSTEP_BODY static const float* part(const StateStorage& states, const SegmentPlace& place,
                                         int buffer) {
    return static_cast<const float*>(states.buffers[buffer]) + place.states[buffer];
  }
};

}  // namespace gramstep::kernels
