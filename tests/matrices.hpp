// A layout of matrices of all kinds, for the rules that treat them apart.
#pragma once

#include "tests/support.hpp"

namespace gramstep::test {

/// A matrix of more than one tile and more than one chunk, a stack, one row, one column, and what is none.
inline Layout matrix_layout() {
  Layout layout;
  layout.add("large", {70, 601});
  layout.add("aligned", {65, 516});
  layout.add("stack", {2, 3, 5, 7});
  layout.add("row", {1, 130});
  layout.add("column", {130, 1});
  layout.add("none", {0, 5});
  layout.add("vector", {131});
  layout.add("scalar", {});
  layout.add("head", {9, 33}, {.task = 0});
  return layout;
}

inline std::vector<float> copy_of(std::span<const float> values) {
  return {values.begin(), values.end()};
}

}  // namespace gramstep::test
