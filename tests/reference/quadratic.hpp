// Quadratic programs and bargaining problems of a few tasks, by searching.
#pragma once

#include <Eigen/Dense>
#include <vector>

namespace gramstep::reference {

/// argmin w^T G w over the simplex: the best of the stationary points of all faces. For few tasks,
/// and faces whose Gram matrix is regular.
std::vector<double> shortest_in_hull(const Eigen::MatrixXd& gram);

/// argmin v^T H v subject to v >= u, H positive definite: the best feasible point of those that are
/// stationary where some set of bounds holds with equality. For few tasks.
std::vector<double> above(const Eigen::MatrixXd& h, const std::vector<double>& u);

/// max over |d - g_0| <= c |g_0| of min_i g_i . d, g_0 the mean row, for two or three rows: the
/// minimum of the dual over the simplex by nested ternary search, precise to rounding.
double best_worst_case(const Eigen::MatrixXd& gram, double c);

/// w > 0 with (G w)_i = w_i^(-1/alpha), by coordinate descent with bisection, `sweeps` times.
std::vector<double> fair_shares(const Eigen::MatrixXd& gram, double alpha, int sweeps);

}  // namespace gramstep::reference
