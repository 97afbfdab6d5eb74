// Aggregators, the classic way: by working on the gradients themselves, never on their Gram matrix.
#pragma once

#include <vector>

namespace gramstep::reference {

using Vector = std::vector<double>;
using Matrix = std::vector<Vector>;            // a list of rows
using Orders = std::vector<std::vector<int>>;  // [K][..]: whom each task meets, in turn

enum class Aggregation { sum, mean, constant, pcgrad, pcgrad_mean };

double dot(const Vector& a, const Vector& b);

/// G_ij = g_i . g_j
Matrix gram(const Matrix& rows);

/// What became of K gradients: their combination, and how much of each row is in it.
struct Combination {
  Vector combined;
  Vector weights;
};

/// sum_k weights_k g_k
Combination weighted(const Matrix& rows, const Vector& weights);

/// PCGrad as in the paper: each gradient is projected, as a vector, onto the normal plane of every
/// gradient it conflicts with, in turn; the projected gradients are summed or averaged. A task in
/// its own order is passed over.
Combination pcgrad(const Matrix& rows, const Orders& orders, bool mean);

/// Any of them; `constants` for constant, `orders` for PCGrad.
Combination combine(Aggregation aggregation, const Matrix& rows, const Vector& constants,
                    const Orders& orders);

/// The order of PCGrad's authors' own code: by index.
Orders orders_by_index(int tasks);

}  // namespace gramstep::reference
