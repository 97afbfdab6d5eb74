#include "host/cpu/orthogonalizer.hpp"

#include <algorithm>
#include <utility>

#include "host/cpu/flush_to_zero.hpp"

namespace gramstep::host {

Orthogonalizer::Orthogonalizer(const Places& places, const Leaves& leaves) : leaves_(leaves) {
  std::size_t largest = 0, square = 0;
  for (const int s : places.orthogonalized) {
    const MatrixStack& stack = places.segments[static_cast<std::size_t>(s)].stack;
    const auto side = static_cast<std::size_t>(std::min(stack.rows, stack.columns));
    largest = std::max(largest, static_cast<std::size_t>(stack.size));
    square = std::max(square, side * side);
  }
  other_.resize(largest);
  gram_.resize(square);
  polynomial_.resize(square);
}

void Orthogonalizer::run(const NewtonSchulz& iteration, float scale, const MatrixStack& stack, float* x,
                         int threads) {
  // Stored by column, what the layout has as rows of `columns` elements are columns.
  const std::int64_t rows = stack.columns, columns = stack.rows, side = std::min(rows, columns);
  const bool wide = rows <= columns;
  // The last step has to end in x.
  float* from = iteration.steps % 2 == 0 ? x : other_.data();
  float* to = iteration.steps % 2 == 0 ? other_.data() : x;
  std::transform(x, x + stack.size, from, [=](float each) { return scale * each; });
  for (int step = 0; step < iteration.steps; ++step) {
    multiply({.a = from, .b = from, .c = nullptr, .out = gram_.data(), .rows = side,
              .inner = wide ? columns : rows, .columns = side, .alpha = 1, .beta = 0,
              .a_transposed = !wide, .b_transposed = wide},
             threads);
    multiply({.a = gram_.data(), .b = gram_.data(), .c = gram_.data(), .out = polynomial_.data(),
              .rows = side, .inner = side, .columns = side, .alpha = iteration.c,
              .beta = iteration.b, .a_transposed = false, .b_transposed = false},
             threads);
    multiply({.a = wide ? polynomial_.data() : from, .b = wide ? from : polynomial_.data(),
              .c = from, .out = to, .rows = rows, .inner = side, .columns = columns, .alpha = 1,
              .beta = iteration.a, .a_transposed = false, .b_transposed = false},
             threads);
    std::swap(from, to);
  }
}

void Orthogonalizer::multiply(const Product& product, int threads) const {
#pragma omp parallel num_threads(threads)
  {
    const FlushToZero flush;
#pragma omp for
    for (std::int64_t first = 0; first < product.columns; first += product_columns) {
      leaves_.product(product, first, std::min(first + product_columns, product.columns));
    }
  }
}

}  // namespace gramstep::host
