#include "tests/reference/loss_weightings.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace gramstep::reference {
namespace {

double total(const Vector& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

double mean(const Vector& values) { return total(values) / static_cast<double>(values.size()); }

/// (1 - beta) sum over steps s of beta^(steps - s) term_s, without its bias.
template <class Term>
double average(const std::vector<Vector>& gradients, double beta, const Term& term) {
  double sum = 0, share = 1 - beta, shares = 0;
  for (auto g = gradients.rbegin(); g != gradients.rend(); ++g) {
    sum += share * term(*g);
    shares += share;
    share *= beta;
  }
  return sum / shares;  // the shares add up to 1 - beta^steps
}

}  // namespace

void Descent::step(const Vector& gradient, Vector& values) {
  Vector full = gradient;
  for (std::size_t i = 0; i < full.size(); ++i) full[i] += decay_ * values[i];
  gradients_.push_back(full);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double m = average(gradients_, 0.9, [i](const Vector& g) { return g[i]; });
    const double v = average(gradients_, 0.999, [i](const Vector& g) { return g[i] * g[i]; });
    values[i] -= lr_ * (adam_ ? m / (std::sqrt(v) + 1e-8) : full[i]);
  }
}

double geometric_mean(const Vector& losses) {
  double product = 1;
  for (const double l : losses) product *= std::pow(l, 1.0 / static_cast<double>(losses.size()));
  return product;
}

double sum_of_logarithms(const Vector& losses) {
  double sum = 0;
  for (const double l : losses) sum += std::log(l);
  return sum;
}

double smooth_maximum(const Vector& losses, const Vector& lambda, const Vector& ideal, double mu) {
  double sum = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    sum += std::exp(lambda[i] * (losses[i] - ideal[i]) / mu);
  }
  return mu * std::log(sum);
}

double uncertainty_loss(const Vector& losses, const Vector& log_variances) {
  double sum = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    sum += std::exp(-log_variances[i]) * losses[i] / 2 + log_variances[i] / 2;
  }
  return sum;
}

double scaled_loss(const Vector& losses, const Vector& log_scales) {
  double sum = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    sum += std::exp(log_scales[i]) * losses[i] - log_scales[i];
  }
  return sum;
}

double famo_loss(const Vector& losses, const Vector& at, const Vector& z, const Vector& minima) {
  double scale = 0, sum = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    scale += z[i] / (at[i] - minima[i] + 1e-8);
    sum += z[i] * std::log(losses[i] - minima[i] + 1e-8);
  }
  return sum / scale;
}

Vector softmax(const Vector& values) {
  Vector result;
  for (const double a : values) {
    double others = 0;
    for (const double b : values) others += std::exp(b - a);
    result.push_back(1 / others);
  }
  return result;
}

Vector GeometricLoss::step(const Vector& losses, const Vector&) {
  Vector w;
  for (const double l : losses) {
    w.push_back(geometric_mean(losses) / static_cast<double>(losses.size()) / l);
  }
  return w;
}

Vector LogarithmicLoss::step(const Vector& losses, const Vector&) {
  Vector w;
  for (const double l : losses) w.push_back(1 / l);
  return w;
}

Vector SmoothTchebycheff::step(const Vector& losses, const Vector&) {
  Vector heights;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    heights.push_back(lambda_[i] * (losses[i] - ideal_[i]) / mu_);
  }
  Vector w = softmax(heights);
  for (std::size_t i = 0; i < losses.size(); ++i) w[i] *= lambda_[i];
  return w;
}

Vector DynamicAverage::step(const Vector& losses, const Vector&) {
  const std::size_t period = static_cast<std::size_t>(period_), now = history_.size() / period;
  Vector ratios(losses.size(), 1.0);
  if (now >= 2) {
    for (std::size_t i = 0; i < losses.size(); ++i) {
      double last = 0, before = 0;
      for (std::size_t s = 0; s < period; ++s) {
        last += history_[(now - 1) * period + s][i];
        before += history_[(now - 2) * period + s][i];
      }
      ratios[i] = last / before;
    }
  }
  history_.push_back(losses);
  for (double& r : ratios) r /= temperature_;
  Vector w = softmax(ratios);
  for (double& value : w) value *= static_cast<double>(losses.size());
  return w;
}

Vector LearnedScale::step(const Vector& losses, const Vector&) {
  s_.resize(losses.size(), initial_);
  Vector w, gradient;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    w.push_back(imtl_ ? std::exp(s_[i]) : std::exp(-s_[i]) / 2);
    gradient.push_back(imtl_ ? std::exp(s_[i]) * losses[i] - 1
                             : 0.5 - std::exp(-s_[i]) * losses[i] / 2);
  }
  descent_.step(gradient, s_);
  return w;
}

Vector Famo::step(const Vector& losses, const Vector&) {
  Vector d;
  for (std::size_t i = 0; i < losses.size(); ++i) d.push_back(losses[i] - minima_[i] + 1e-8);
  if (before_.empty()) {
    xi_.assign(losses.size(), 0.0);
  } else {
    // The softmax's Jacobian, row by row, times the improvement.
    const Vector z = softmax(xi_);
    Vector gradient(losses.size(), 0.0);
    for (std::size_t i = 0; i < losses.size(); ++i) {
      for (std::size_t j = 0; j < losses.size(); ++j) {
        gradient[i] += (i == j ? z[i] * (1 - z[i]) : -z[i] * z[j]) * std::log(before_[j] / d[j]);
      }
    }
    descent_.step(gradient, xi_);
  }
  before_ = d;
  Vector w = softmax(xi_);
  for (std::size_t i = 0; i < losses.size(); ++i) w[i] /= d[i];
  const double sum = total(w);
  for (double& value : w) value /= sum;
  return w;
}

Vector GradientNorms::step(const Vector& losses, const Vector& norms) {
  if (first_.empty()) {
    first_ = losses;
    weights_.assign(losses.size(), 1.0);
  }
  const Vector used = weights_;
  Vector lengths, progress, gradient;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    lengths.push_back(used[i] * norms[i]);
    progress.push_back(losses[i] / first_[i]);
  }
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const double target = mean(lengths) * std::pow(progress[i] / mean(progress), alpha_);
    const bool there = std::abs(lengths[i] - target) <= 1e-12 * target;
    const double sign = there ? 0 : lengths[i] > target ? 1 : -1;
    gradient.push_back(mean(norms) == 0 ? 0 : sign * norms[i] / mean(norms));
  }
  descent_.step(gradient, weights_);
  for (std::size_t i = 0; i < losses.size(); ++i) {
    weights_[i] = std::max(weights_[i], used[i] / 2);
  }
  const double sum = total(weights_);
  for (double& w : weights_) w *= static_cast<double>(losses.size()) / sum;
  return used;
}

}  // namespace gramstep::reference
