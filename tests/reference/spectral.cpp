#include "tests/reference/spectral.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <eigen3/Eigen/Dense>

namespace gramstep::reference {
namespace {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;

/// Singular values below this, of rows of length 1, are rounding.
constexpr double rounding = 1e-10;

Matrix matrix_of(const Rows& rows) {
  Matrix matrix(static_cast<Eigen::Index>(rows.size()),
                static_cast<Eigen::Index>(rows.front().size()));
  for (Eigen::Index i = 0; i < matrix.rows(); ++i) {
    for (Eigen::Index j = 0; j < matrix.cols(); ++j) {
      matrix(i, j) = rows[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
    }
  }
  return matrix;
}

std::vector<double> list_of(const Vector& vector) { return {vector.begin(), vector.end()}; }

/// The rows over their lengths, zero rows as they are.
Matrix unit_rows(const Matrix& rows) {
  Matrix units = rows;
  for (Eigen::Index i = 0; i < rows.rows(); ++i) {
    if (rows.row(i).norm() > 0) units.row(i) /= rows.row(i).norm();
  }
  return units;
}

Vector pseudo_solve(const Matrix& matrix, const Vector& right) {
  Eigen::CompleteOrthogonalDecomposition<Matrix> decomposition;
  decomposition.setThreshold(rounding);
  decomposition.compute(matrix);
  return decomposition.solve(right);
}

}  // namespace

std::vector<double> eigenvalues(const Rows& symmetric) {
  return list_of(Eigen::SelfAdjointEigenSolver<Matrix>(matrix_of(symmetric)).eigenvalues());
}

std::vector<double> imtl_g(const Rows& rows) {
  const Matrix matrix = matrix_of(rows);
  const Matrix units = unit_rows(matrix);
  Vector right = Vector::Ones(matrix.rows());
  for (Eigen::Index i = 0; i < matrix.rows(); ++i) {
    if (units.row(i).norm() == 0) right[i] = 0;
  }
  // (U U^T)^+ 1 = (U^T)^+ U^+ 1
  Vector v = pseudo_solve(units.transpose(), pseudo_solve(units, right));
  for (Eigen::Index i = 0; i < matrix.rows(); ++i) {
    v[i] = right[i] == 0 ? 0 : v[i] / matrix.row(i).norm();
  }
  return list_of(v / v.sum());
}

std::vector<double> config(const Rows& rows, const std::vector<double>& preference) {
  const Matrix matrix = matrix_of(rows);
  Vector right = Eigen::Map<const Vector>(preference.data(), matrix.rows());
  for (Eigen::Index i = 0; i < matrix.rows(); ++i) {
    if (matrix.row(i).norm() == 0) right[i] = 0;
  }
  const Vector direction = pseudo_solve(unit_rows(matrix), right).normalized();
  return list_of((matrix * direction).sum() * direction);
}

std::vector<double> aligned(const Rows& rows, const std::vector<double>& preference, Scale scale,
                            double cutoff) {
  const Matrix matrix = matrix_of(rows);
  const Eigen::JacobiSVD<Matrix> svd(matrix, Eigen::ComputeThinU | Eigen::ComputeThinV);
  const Vector& singular = svd.singularValues();  // from the largest down
  Eigen::Index kept = 0;
  while (kept < singular.size() &&
         singular[kept] * singular[kept] > cutoff * singular[0] * singular[0]) {
    ++kept;
  }
  double length = singular[kept - 1];
  if (scale == Scale::median) length = singular[kept - 1 - (kept - 1) / 2];
  if (scale == Scale::mean) {
    length = std::sqrt(singular.head(kept).squaredNorm() / static_cast<double>(kept));
  }
  const Vector b = Eigen::Map<const Vector>(preference.data(), matrix.rows());
  const Vector along = svd.matrixU().leftCols(kept).transpose() * b;
  return list_of(length * (svd.matrixV().leftCols(kept) * along));
}

std::vector<double> on_simplex(const std::vector<double>& v) {
  const std::size_t tasks = v.size();
  std::vector<double> best;
  double closest = HUGE_VAL;
  for (std::size_t set = 1; set < std::size_t{1} << tasks; ++set) {
    double sum = 0;
    int count = 0;
    for (std::size_t i = 0; i < tasks; ++i) {
      if (set >> i & 1) sum += v[i], ++count;
    }
    std::vector<double> point(tasks, 0.0);
    double distance = 0, lowest = 0;
    for (std::size_t i = 0; i < tasks; ++i) {
      if (set >> i & 1) point[i] = v[i] - (sum - 1) / count;
      lowest = std::min(lowest, point[i]);
      distance += (point[i] - v[i]) * (point[i] - v[i]);
    }
    if (lowest >= 0 && distance < closest) closest = distance, best = point;
  }
  return best;
}

}  // namespace gramstep::reference
