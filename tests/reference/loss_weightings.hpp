// Weightings by losses, naively: as the papers write them, one step after another.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "tests/reference/aggregation.hpp"

namespace gramstep::reference {

/// torch.optim.Adam or torch.optim.SGD over a vector, betas 0.9 and 0.999, epsilon 1e-8.
class Descent {
 public:
  Descent(bool adam, double lr, double weight_decay) : adam_(adam), lr_(lr), decay_(weight_decay) {}
  void step(const Vector& gradient, Vector& values);

 private:
  bool adam_;
  double lr_, decay_;
  std::vector<Vector> gradients_;  // all so far: the moments are summed anew in every step
};

/// The losses' combinations whose derivatives the weights are.
double geometric_mean(const Vector& losses);
double sum_of_logarithms(const Vector& losses);
double smooth_maximum(const Vector& losses, const Vector& lambda, const Vector& ideal, double mu);
double uncertainty_loss(const Vector& losses, const Vector& log_variances);
double scaled_loss(const Vector& losses, const Vector& log_scales);
/// FAMO's, of weights z that do not change with the losses.
double famo_loss(const Vector& losses, const Vector& at, const Vector& z, const Vector& minima);

/// The derivative of a function of the losses to each of them, by central differences.
template <class Function>
Vector derivative(const Function& function, const Vector& losses) {
  Vector result;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const double h = 1e-5 * losses[i];
    Vector more = losses, less = losses;
    more[i] += h;
    less[i] -= h;
    result.push_back((function(more) - function(less)) / (2 * h));
  }
  return result;
}

Vector softmax(const Vector& values);

/// A method with a memory: told the losses of each step and the gradients' norms, it gives weights.
class Weighting {
 public:
  virtual ~Weighting() = default;
  virtual Vector step(const Vector& losses, const Vector& norms) = 0;
};

class GeometricLoss : public Weighting {
 public:
  Vector step(const Vector& losses, const Vector& norms) override;
};

class LogarithmicLoss : public Weighting {
 public:
  Vector step(const Vector& losses, const Vector& norms) override;
};

class SmoothTchebycheff : public Weighting {
 public:
  SmoothTchebycheff(double mu, Vector lambda, Vector ideal)
      : mu_(mu), lambda_(std::move(lambda)), ideal_(std::move(ideal)) {}
  Vector step(const Vector& losses, const Vector& norms) override;

 private:
  double mu_;
  Vector lambda_, ideal_;
};

class DynamicAverage : public Weighting {
 public:
  DynamicAverage(double temperature, int period) : temperature_(temperature), period_(period) {}
  Vector step(const Vector& losses, const Vector& norms) override;

 private:
  double temperature_;
  int period_;
  Matrix history_;  // the losses of every step
};

/// Uncertainty weighting, or IMTL-L, whose s has the other sign and twice the loss.
class LearnedScale : public Weighting {
 public:
  LearnedScale(bool imtl, double initial, Descent descent)
      : imtl_(imtl), initial_(initial), descent_(std::move(descent)) {}
  Vector step(const Vector& losses, const Vector& norms) override;

 private:
  bool imtl_;
  double initial_;
  Descent descent_;
  Vector s_;
};

class Famo : public Weighting {
 public:
  Famo(double lr, double gamma, Vector minima) : descent_(true, lr, gamma), minima_(minima) {}
  Vector step(const Vector& losses, const Vector& norms) override;

 private:
  Descent descent_;
  Vector minima_, xi_, before_;
};

class GradientNorms : public Weighting {
 public:
  GradientNorms(double alpha, Descent descent) : alpha_(alpha), descent_(std::move(descent)) {}
  Vector step(const Vector& losses, const Vector& norms) override;

 private:
  double alpha_;
  Descent descent_;
  Vector weights_, first_;
};

}  // namespace gramstep::reference
