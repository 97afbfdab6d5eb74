// Element: what an aggregator that looks at every element for itself is handed.
#pragma once

#include <cstdint>

#include "gramstep/export.hpp"

namespace gramstep::inline v1 {

/// One element of K gradient rows.
struct ElementOf {
  const float* const* rows;  ///< [K], on the device that runs the update
  std::int64_t at;           ///< index in a row

  /// The element of task k.
  GRAMSTEP_BODY float operator()(int k) const { return rows[k][at]; }
};

}  // namespace gramstep::inline v1
