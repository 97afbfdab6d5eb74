#include "quadratic.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace gramstep::reference {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

std::vector<Index> members(unsigned set, Index tasks) {
  std::vector<Index> indices;
  for (Index i = 0; i < tasks; ++i) {
    if ((set >> i) & 1u) indices.push_back(i);
  }
  return indices;
}

std::vector<double> list(const VectorXd& v) { return {v.begin(), v.end()}; }

/// Calls use(set) for every set of tasks, the empty one first.
void for_all_sets(Index tasks, const std::function<void(const std::vector<Index>&)>& use) {
  for (unsigned set = 0; set < (1u << tasks); ++set) use(members(set, tasks));
}

/// The argument of the minimum of a convex function on [low, high].
double ternary(double low, double high, const std::function<double(double)>& f) {
  for (int i = 0; i < 120; ++i) {
    const double a = low + (high - low) / 3, b = high - (high - low) / 3;
    (f(a) < f(b) ? high : low) = f(a) < f(b) ? b : a;
  }
  return (low + high) / 2;
}

}  // namespace

std::vector<double> shortest_in_hull(const MatrixXd& gram) {
  VectorXd best;
  double least = std::numeric_limits<double>::infinity();
  for_all_sets(gram.rows(), [&](const std::vector<Index>& set) {
    if (set.empty()) return;
    const MatrixXd face = gram(set, set);
    const VectorXd along = face.ldlt().solve(VectorXd::Ones(face.rows()));
    VectorXd w = VectorXd::Zero(gram.rows());
    w(set) = along / along.sum();
    const double squared = w.dot(gram * w);
    if (w.minCoeff() >= 0 && squared < least) {
      least = squared;
      best = w;
    }
  });
  return list(best);
}

std::vector<double> above(const MatrixXd& h, const std::vector<double>& u) {
  const VectorXd bound = Eigen::Map<const VectorXd>(u.data(), h.rows());
  VectorXd best = bound;
  for_all_sets(h.rows(), [&](const std::vector<Index>& free) {
    if (free.empty()) return;
    const VectorXd slope = h * bound;
    VectorXd v = bound;
    v(free) -= MatrixXd(h(free, free)).ldlt().solve(VectorXd(slope(free)));
    if ((v - bound).minCoeff() >= 0 && v.dot(h * v) < best.dot(h * best)) best = v;
  });
  return list(best);
}

double best_worst_case(const MatrixXd& gram, double c) {
  const VectorXd b = VectorXd::Constant(gram.rows(), 1.0 / static_cast<double>(gram.rows()));
  const double radius = c * std::sqrt(b.dot(gram * b));
  const auto dual = [&](const VectorXd& w) {
    return w.dot(gram * b) + radius * std::sqrt(std::max(w.dot(gram * w), 0.0));
  };
  if (gram.rows() == 2) {
    const auto f = [&](double x) { return dual(Eigen::Vector2d(x, 1 - x)); };
    return f(ternary(0, 1, f));
  }
  const auto inner = [&](double x) {
    const auto f = [&](double y) { return dual(Eigen::Vector3d(x, y, 1 - x - y)); };
    return f(ternary(0, 1 - x, f));
  };
  return inner(ternary(0, 1, inner));
}

std::vector<double> fair_shares(const MatrixXd& gram, double alpha, int sweeps) {
  VectorXd w(gram.rows());
  for (Index i = 0; i < w.size(); ++i) w(i) = std::pow(gram(i, i), -alpha / (1 + alpha));
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    for (Index i = 0; i < w.size(); ++i) {
      const double others = gram.row(i).dot(w) - gram(i, i) * w(i);
      double low = -700, high = 700;  // of log w_i; what it is the zero of rises
      for (int halving = 0; halving < 100; ++halving) {
        const double middle = (low + high) / 2;
        const double excess = gram(i, i) * std::exp(middle) + others - std::exp(-middle / alpha);
        (excess > 0 ? high : low) = middle;
      }
      w(i) = std::exp((low + high) / 2);
    }
  }
  return list(w);
}

}  // namespace gramstep::reference
