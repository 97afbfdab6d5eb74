// What is defined by eigenvectors and pseudo-inverses, from the rows themselves, by Eigen's
// solvers.
#pragma once

#include <vector>

namespace gramstep::reference {

using Rows = std::vector<std::vector<double>>;

/// Eigenvalues in rising order of the symmetric matrix of K rows.
std::vector<double> eigenvalues(const Rows& symmetric);

/// The weights v, over their sum, by which the combination of the rows has the same projection onto
/// every row: of all v with U U^T D v = 1, U the unit rows and D their lengths, the one with the
/// smallest |D v|. Zero rows get 0.
std::vector<double> imtl_g(const Rows& rows);

/// ConFIG's combined gradient: the pseudo-inverse of the unit rows times p, as long as the sum of
/// the rows' projections onto it. Zero rows are left out.
std::vector<double> config(const Rows& rows, const std::vector<double>& preference);

/// Which of the singular values that are kept sets the scale.
enum class Scale { min, median, mean };

/// Aligned-MTL's combined gradient: sum_i b_i a_i with aligned rows a = s U V^T, from the singular
/// value decomposition U S V^T of the rows, without singular values whose squares are at most
/// `cutoff` times the largest square.
std::vector<double> aligned(const Rows& rows, const std::vector<double>& preference, Scale scale,
                            double cutoff);

/// The point of the simplex that is closest to v: the best of the projections onto the plane of
/// every set of weights that may be > 0. For few tasks.
std::vector<double> on_simplex(const std::vector<double>& v);

}  // namespace gramstep::reference
