#include "host/cpu/orthogonalizer.hpp"

#include <algorithm>
#include <utility>

#include "host/cpu/flush_to_zero.hpp"

namespace gramstep::host {
namespace {

/// Below this many elements a matrix' products are not worth a second thread.
constexpr std::int64_t parallel_elements = 10'000;

}  // namespace

Orthogonalizer::Orthogonalizer(const Places& places, const Leaves& leaves, int threads)
    : places_(places), leaves_(leaves), threads_(threads) {
  std::size_t largest = 0, square = 0;
  for (const MatrixBatch& batch : places.batches) {
    const auto side = static_cast<std::size_t>(std::min(batch.rows, batch.columns));
    largest = std::max(largest, static_cast<std::size_t>(batch.rows * batch.columns));
    square = std::max(square, side * side);
  }
  other_.resize(largest);
  gram_.resize(square);
  polynomial_.resize(square);
}

void Orthogonalizer::run(const NewtonSchulz& iteration, float* x,
                         const std::vector<kernels::SegmentState>& segments) {
  for (const MatrixBatch& batch : places_.batches) {
    float* matrix = x + batch.begin;
    for (const int s : batch.segments) {
      if (segments[static_cast<std::size_t>(s)].active) orthogonalize(iteration, batch, matrix);
      matrix += batch.stride;
    }
  }
}

void Orthogonalizer::orthogonalize(const NewtonSchulz& iteration, const MatrixBatch& batch,
                                   float* x) {
  // Stored by column, what the layout has as rows are columns.
  const std::int64_t rows = batch.columns, columns = batch.rows, side = std::min(rows, columns);
  const std::int64_t size = rows * columns;
  const bool wide = rows <= columns;
  const int threads = size < parallel_elements ? 1 : threads_;
  float *from = x, *to = other_.data();
  for (int step = 0; step < iteration.steps; ++step) {
    multiply({.a = from,
              .b = from,
              .c = nullptr,
              .out = gram_.data(),
              .rows = side,
              .inner = wide ? columns : rows,
              .columns = side,
              .alpha = 1,
              .beta = 0,
              .a_transposed = !wide,
              .b_transposed = wide},
             threads);
    multiply({.a = gram_.data(),
              .b = gram_.data(),
              .c = gram_.data(),
              .out = polynomial_.data(),
              .rows = side,
              .inner = side,
              .columns = side,
              .alpha = iteration.c,
              .beta = iteration.b,
              .a_transposed = false,
              .b_transposed = false},
             threads);
    multiply({.a = wide ? polynomial_.data() : from,
              .b = wide ? from : polynomial_.data(),
              .c = from,
              .out = to,
              .rows = rows,
              .inner = side,
              .columns = columns,
              .alpha = 1,
              .beta = iteration.a,
              .a_transposed = false,
              .b_transposed = false},
             threads);
    std::swap(from, to);
  }
  if (from != x) std::copy_n(from, size, x);
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
