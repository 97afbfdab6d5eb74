// Adafactor and Muon, as torch.optim computes them; Muon's products in Number, where torch rounds to bf16.
#pragma once

#include <algorithm>
#include <cmath>

#include "tests/reference/adam_family.hpp"
#include "tests/reference/layerwise.hpp"

namespace gramstep::reference {

inline double mean(const std::vector<double>& x) {
  double sum = 0;
  for (const double each : x) sum += each;
  return sum / static_cast<double>(x.size());
}

/// Added up in double, then rounded.
inline Bounded mean(const std::vector<Bounded>& x) {
  double sum = 0, error = 0;
  for (const Bounded& each : x) {
    sum += each.value;
    error += each.error;
  }
  const double count = static_cast<double>(x.size());
  return rounded(sum / count, error / count);
}

/// Shazeer and Stern 2018; a stack of matrices keeps the means of its rows' and columns' squares.
template <class Number>
class AdafactorStep {
 public:
  AdafactorStep(const RuleOptions& options, RuleState<Number>& its_state)
      : o(options), state(its_state), take(std::pow(static_cast<double>(state.t), o.beta2_decay)) {}

  void operator()(const std::vector<Number>& g, std::vector<Number>& params) {
    const auto size = static_cast<double>(params.size());
    if (params.empty()) return;
    const std::vector<Number> roots = state.rank >= 2 ? factored(g) : elementwise(g);
    std::vector<Number> u;
    for (std::size_t i = 0; i < g.size(); ++i) {
      u.push_back(g[i] * (Number(1) / larger(roots[i], Number(o.epsilon))));
    }
    const double rho = std::min(o.lr, 1 / std::sqrt(static_cast<double>(state.t)));
    const Number rms_p = norm(params) / Number(std::sqrt(size));
    const Number rms_u = norm(u) / Number(std::sqrt(size));
    const Number step =
        Number(rho) * larger(rms_p, Number(o.epsilon2)) / larger(Number(1), rms_u / Number(o.d));
    for (std::size_t i = 0; i < g.size(); ++i) {
      params[i] = Number(1 - o.lr * o.weight_decay) * params[i] - step * u[i];
    }
  }

 private:
  /// Roots of second moments.
  std::vector<Number> elementwise(const std::vector<Number>& g) {
    using std::sqrt;
    auto& v = state["variance"];
    std::vector<Number> roots;
    for (std::size_t i = 0; i < g.size(); ++i) {
      v[i] = lerp(v[i], g[i] * g[i], Number(take));
      roots.push_back(sqrt(v[i]));
    }
    return roots;
  }

  /// Toward the mean of these squares.
  void move(Number& kept, const std::vector<Number>& g) {
    kept = lerp(kept, squared_norm(g) / Number(static_cast<double>(g.size())), Number(take));
  }

  std::vector<Number> factored(const std::vector<Number>& g) {
    using std::sqrt;
    const std::size_t rows = state.rows, columns = state.columns, matrix = rows * columns;
    auto& row_var = state.buffer("row_var", g.size() / columns);
    auto& col_var = state.buffer("col_var", g.size() / rows);
    std::vector<Number> roots(g.size());
    for (std::size_t m = 0; m < g.size() / matrix; ++m) {
      const auto at = [&](std::size_t i, std::size_t j) { return m * matrix + i * columns + j; };
      std::vector<Number> kept;
      for (std::size_t i = 0; i < rows; ++i) {
        const auto row = g.begin() + static_cast<std::ptrdiff_t>(at(i, 0));
        move(row_var[m * rows + i], {row, row + static_cast<std::ptrdiff_t>(columns)});
        kept.push_back(row_var[m * rows + i]);
      }
      for (std::size_t j = 0; j < columns; ++j) {
        std::vector<Number> column;
        for (std::size_t i = 0; i < rows; ++i) column.push_back(g[at(i, j)]);
        move(col_var[m * columns + j], column);
      }
      const Number most = larger(mean(kept), Number(o.epsilon));
      for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t j = 0; j < columns; ++j) {
          // Of each factor one over its root is rounded, not of the product: that is a rounding more.
          roots[at(i, j)] = Number(1) * (sqrt(kept[i] / most) * sqrt(col_var[m * columns + j]));
        }
      }
    }
    return roots;
  }

  const RuleOptions& o;
  RuleState<Number>& state;
  const double take;
};

/// [rows, columns], row by row.
template <class Number>
struct Dense {
  std::size_t rows, columns;
  std::vector<Number> elements;
  const Number& at(std::size_t i, std::size_t j) const { return elements[i * columns + j]; }
};

inline double dot_of(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
  return sum;
}

/// In any order, with fma or without: Higham, section 3.1.
inline Bounded dot_of(const std::vector<Bounded>& a, const std::vector<Bounded>& b) {
  double value = 0, error = 0, size = 0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    const double x = std::abs(a[k].value), y = std::abs(b[k].value);
    value += a[k].value * b[k].value;
    error += x * b[k].error + a[k].error * y + a[k].error * b[k].error;
    size += (x + a[k].error) * (y + b[k].error);
  }
  const double roundings = static_cast<double>(a.size());
  return {value, error + roundings * fp32_unit * size + roundings * fp32_flush};
}

template <class Number>
Dense<Number> product(const Dense<Number>& a, const Dense<Number>& b) {
  Dense<Number> result{a.rows, b.columns, {}};
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < b.columns; ++j) {
      std::vector<Number> row, column;
      for (std::size_t k = 0; k < a.columns; ++k) {
        row.push_back(a.at(i, k));
        column.push_back(b.at(k, j));
      }
      result.elements.push_back(dot_of(row, column));
    }
  }
  return result;
}

template <class Number>
Dense<Number> transposed(const Dense<Number>& a) {
  Dense<Number> result{a.columns, a.rows, {}};
  for (std::size_t j = 0; j < a.columns; ++j) {
    for (std::size_t i = 0; i < a.rows; ++i) result.elements.push_back(a.at(i, j));
  }
  return result;
}

/// x a + y b
template <class Number>
Dense<Number> sum(double x, const Dense<Number>& a, double y, const Dense<Number>& b) {
  Dense<Number> result = a;
  for (std::size_t i = 0; i < a.elements.size(); ++i) {
    result.elements[i] = Number(x) * a.elements[i] + Number(y) * b.elements[i];
  }
  return result;
}

/// Newton and Schulz' iteration as Jordan et al. 2024 have it.
template <class Number>
Dense<Number> orthogonalized(const RuleOptions& o, Dense<Number> x) {
  const bool tall = x.rows > x.columns;
  if (tall) x = transposed(x);
  for (int i = 0; i < o.ns_steps; ++i) {
    const Dense<Number> gram = product(x, transposed(x));
    const Dense<Number> polynomial = sum(o.ns_b, gram, o.ns_c, product(gram, gram));
    x = sum(o.ns_a, x, 1, product(polynomial, x));
  }
  return tall ? transposed(x) : x;
}

template <class Number>
void muon(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
          RuleState<Number>& state) {
  if (state.rank != 2 || params.empty()) {
    RuleOptions rest = o;
    rest.method = Method::adamw;
    rest.lr *= o.rest_lr_scale;
    return adam(rest, gradient, params, state);
  }
  auto& buffer = state["momentum_buffer"];
  Dense<Number> x{state.rows, state.columns, {}};
  for (std::size_t i = 0; i < params.size(); ++i) {
    buffer[i] = lerp(buffer[i], gradient[i], Number(1 - o.momentum));
    x.elements.push_back(o.nesterov ? lerp(gradient[i], buffer[i], Number(o.momentum)) : buffer[i]);
  }
  const Number scale = Number(1) / larger(norm(x.elements), Number(o.ns_epsilon));
  for (Number& each : x.elements) each = scale * each;
  x = orthogonalized(o, x);
  const double rows = static_cast<double>(state.rows), columns = static_cast<double>(state.columns);
  const double factor = o.match_rms_adamw ? 0.2 * std::sqrt(std::max(rows, columns))
                                          : std::sqrt(std::max(1.0, rows / columns));
  for (std::size_t i = 0; i < params.size(); ++i) {
    params[i] = params[i] - Number(o.lr * o.weight_decay) * params[i];
    params[i] = params[i] - Number(o.lr) * Number(factor) * x.elements[i];
  }
}

}  // namespace gramstep::reference
