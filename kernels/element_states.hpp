// Where an element's state is: beside the parameter's place in the flat buffer, in a buffer of the matrices
// alone, or one number for its row and one for its column.
#pragma once

#include "gramstep/rules/traits.hpp"
#include "kernels/context.hpp"
#include "kernels/step_data.hpp"
#include "kernels/storage.hpp"

namespace gramstep::kernels {

/// value / unit of a value below unit + chunk_elements: mostly 0, and never a division of 64 bits.
GRAMSTEP_BODY std::int64_t quotient(std::int64_t value, std::int64_t unit) {
  if (value < unit) return 0;
  if (unit >= chunk_elements) return 1;
  return static_cast<std::uint32_t>(value) / static_cast<std::uint32_t>(unit);
}

/// Where the row and the column of a matrix' element keep their state.
struct Position {
  std::int64_t row, column;
};

/// The positions of a chunk's elements.
struct Positions {
  std::int64_t row, column;  // of the chunk's first element: of all rows, and within its matrix
  std::int64_t row_in_matrix, matrix;
  std::int64_t rows, columns;  // of a matrix

  GRAMSTEP_BODY Positions(const SegmentPlace& place, std::int64_t begin)
      : rows(place.stack.rows), columns(place.stack.columns) {
    const std::int64_t element = begin - place.begin;
    row = element / columns;
    column = element - row * columns;
    matrix = row / rows;
    row_in_matrix = row - matrix * rows;
  }

  /// Of element i of the chunk.
  GRAMSTEP_BODY Position at(int i) const {
    const std::int64_t down = quotient(column + i, columns);
    const std::int64_t across = column + i - down * columns;
    const std::int64_t on = quotient(row_in_matrix + down, rows);
    return {row + down, (matrix + on) * columns + across};
  }
};

/// How a step's states are stored, and which step it is.
struct StateStorage {
  void* const* buffers;
  const Storage& storage;
  std::int64_t step;
};

/// The states of a chunk's elements, of an update of any kind.
template <class Update, class Type>
struct ElementStates {
  StateStorage at_home;

  GRAMSTEP_BODY ElementStates(const StateStorage& states, const MatrixTable&, const Chunk&)
      : at_home(states) {}
  template <int Width, int Count>
  GRAMSTEP_BODY void load(std::int64_t at, int, float (&state)[Count][Width]) const {
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) {
      if constexpr (std::is_same_v<Type, Float32>) {
        kernels::load(static_cast<const float*>(at_home.buffers[s]) + at, state[s]);
      } else {
        load_state(at_home.storage, s, at_home.buffers[s], at, state[s]);
      }
    }
  }
  template <int Width, int Count>
  GRAMSTEP_BODY void store(const float (&state)[Count][Width], std::int64_t at) const {
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) {
      if constexpr (std::is_same_v<Type, Float32>) {
        kernels::store(state[s], static_cast<float*>(at_home.buffers[s]) + at);
      } else if (!at_home.storage.in_blocks()) {
        store_rounded(at_home.storage, at_home.storage.states, at_home.step,
                      states_draw + static_cast<std::uint32_t>(s), state[s], at_home.buffers[s],
                      at);
      }
    }
  }
};

/// Encodes what a warp's threads have of a block's states, four neighbours each from `at` on, of which there
/// are `here`, maybe none. All lanes of a warp call.
template <class Update, class X>
GRAMSTEP_BODY void store_blocks(const X& x, const StateStorage& states,
                                const float (&state)[Update::states + 1][4], std::int64_t at,
                                int here) {
  GRAMSTEP_UNROLL
  for (int s = 0; s < Update::states; ++s) {
    std::uint32_t largest = 0;  // in bits, which have the order of magnitudes, and NaN above all
    GRAMSTEP_UNROLL
    for (int c = 0; c < 4; ++c) {
      const std::uint32_t magnitude = c < here ? bits_of(state[s][c]) & ~sign_bit : 0;
      largest = magnitude > largest ? magnitude : largest;
    }
    const float scale = float_of(x.warp_max(largest));
    if (here > 0 && x.lane() == 0) states.storage.scales[s][at / block8] = scale;
    std::uint8_t codes[4];
    GRAMSTEP_UNROLL
    for (int c = 0; c < 4; ++c) {
      codes[c] = encoded(states.storage.has_sign(s), state[s][c], scale);
    }
    auto* to = static_cast<std::uint8_t*>(states.buffers[s]) + at;
    if (here >= 4) {
      kernels::store(codes, to);
      continue;
    }
    GRAMSTEP_UNROLL
    for (int c = 0; c < 4; ++c) {
      if (c < here) to[c] = codes[c];
    }
  }
}

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
  template <int Width, int Count>
  GRAMSTEP_BODY void load(std::int64_t at, int, float (&state)[Count][Width]) const {
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) kernels::load(moved(s, at), state[s]);
  }
  template <int Width, int Count>
  GRAMSTEP_BODY void store(const float (&state)[Count][Width], std::int64_t at) const {
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) kernels::store(state[s], moved(s, at));
  }

 private:
  GRAMSTEP_BODY float* moved(int s, std::int64_t at) const {
    return static_cast<float*>(buffers[s]) + (at + segment_alignment * std::int64_t{moves[s]});
  }
};

/// The same of an update whose elements have what their row and their column keep.
template <rules::Factored Update, class Type>
  requires rules::ByKind<Update>
struct ElementStates<Update, Type> {
  const float* rows;
  const float* columns;
  Positions positions;

  GRAMSTEP_BODY ElementStates(const StateStorage& states, const MatrixTable& matrices,
                              const Chunk& chunk)
      : ElementStates(states.buffers, matrices.places[chunk.segment], chunk.begin) {}
  template <int Width, int Count>
  GRAMSTEP_BODY void load(std::int64_t, int i, float (&state)[Count][Width]) const {
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) {
      const Position position = positions.at(i + c);
      state[0][c] = rows[position.row];
      state[1][c] = columns[position.column];
    }
  }

 private:
  GRAMSTEP_BODY ElementStates(void* const* states, const SegmentPlace& place, std::int64_t begin)
      : rows(static_cast<const float*>(states[Update::row_factor]) +
             place.states[Update::row_factor]),
        columns(static_cast<const float*>(states[Update::column]) + place.states[Update::column]),
        positions(place, begin) {}
};

}  // namespace gramstep::kernels
