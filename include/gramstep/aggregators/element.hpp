// Elements: what an aggregator that looks at every element for itself is handed.
#pragma once

#include <cstdint>

#include "gramstep/export.hpp"

namespace gramstep::inline v1 {

/// Neighbouring elements of K gradient rows, on no alignment but a float's.
struct ElementsOf {
  const float* const* rows;  ///< [K], on the device that runs the update
  std::int64_t at;           ///< index of the first in a row

  /// Reads Width elements of task k.
  template <int Width>
  GRAMSTEP_BODY void load(int k, float (&g)[Width]) const {
    for (int c = 0; c < Width; ++c) g[c] = rows[k][at + c];
  }
};

}  // namespace gramstep::inline v1
