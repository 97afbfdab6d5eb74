#include "host/report.hpp"

#include <cmath>
#include <limits>

namespace gramstep::host {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// a / b / c, or 0 where b or c is: b c may leave the range of double where the quotient does not.
double quotient(double a, double b, double c) { return b == 0 || c == 0 ? 0.0 : a / b / c; }

/// What follows from one projection's Gram matrix and weights. Returns the number of conflicts.
std::size_t fill_projection(Report& report, std::size_t projection) {
  const auto tasks = static_cast<std::size_t>(report.tasks);
  const double* gram = report.gram.data() + projection * tasks * tasks;
  const double* weights = report.weights.data() + projection * tasks;
  double* norms = report.gradient_norms.data() + projection * tasks;
  double* cosines = report.cosines.data() + projection * tasks * tasks;
  double* dots = report.dots.data() + projection * tasks;
  std::size_t conflicts = 0;
  double squared = 0;
  for (std::size_t i = 0; i < tasks; ++i) norms[i] = std::sqrt(gram[i * tasks + i]);
  for (std::size_t i = 0; i < tasks; ++i) {
    dots[i] = 0;
    for (std::size_t j = 0; j < tasks; ++j) {
      double& cosine = cosines[i * tasks + j];
      cosine = quotient(gram[i * tasks + j], norms[i], norms[j]);
      if (i == j && norms[i] != 0) cosine = 1.0;
      conflicts += i < j && cosine < 0;
      dots[i] += gram[i * tasks + j] * weights[j];
    }
    squared += weights[i] * dots[i];
  }
  // Rounding may leave a sum that cancels a little below zero. A NaN comes through.
  const double norm = std::sqrt(squared < 0 ? 0.0 : squared);
  report.projection_norms[projection] = norm;
  for (std::size_t i = 0; i < tasks; ++i) {
    report.dot_cosines[projection * tasks + i] = quotient(dots[i], norms[i], norm);
  }
  return conflicts;
}

void fill_what_was_seen(Report& report) {
  const auto projections = static_cast<std::size_t>(report.projections);
  const auto tasks = static_cast<std::size_t>(report.tasks);
  std::size_t conflicts = 0;
  for (std::size_t p = 0; p < projections; ++p) conflicts += fill_projection(report, p);
  const std::size_t pairs = projections * tasks * (tasks - 1) / 2;
  report.conflict_rate =
      pairs == 0 ? 0.0 : static_cast<double>(conflicts) / static_cast<double>(pairs);
}

/// sums / steps; NaN without steps.
std::vector<double> means_of(const double* sums, std::int64_t count, double steps) {
  std::vector<double> means(sums, sums + count);
  for (double& mean : means) mean = steps > 0 ? mean / steps : nan;
  return means;
}

}  // namespace

Report make_report(const Setup& setup, const kernels::StepState& step, std::vector<double> plan) {
  const kernels::Findings& found = step.findings;
  const auto memory = kernels::PlanMemory::in(plan.data(), setup.shape);
  const std::int64_t projections = setup.shape.projections;
  const std::int64_t rows = projections * setup.tasks, pairs = rows * setup.tasks;
  const auto unknown = [](std::int64_t count) {
    return std::vector<double>(static_cast<std::size_t>(count), nan);
  };

  Report report;
  report.tasks = setup.tasks;
  report.projections = setup.shape.projections;
  report.promise = setup.traits.promise;
  report.of_momenta = setup.traits.momentum;
  report.weights.assign(memory.weights, memory.weights + rows);
  report.gram.assign(memory.gram, memory.gram + pairs);
  report.cosines = unknown(pairs);
  report.gradient_norms = unknown(rows);
  report.projection_norms = unknown(projections);
  report.dots = unknown(rows);
  report.dot_cosines = unknown(rows);
  for (std::int64_t p = 0; p < projections; ++p) {
    report.iterations.push_back(memory.solutions[p].iterations);
    report.residuals.push_back(memory.solutions[p].residual);
    report.promises_kept.push_back(memory.solutions[p].residual <= setup.traits.tolerance);
  }
  report.steps = step.steps;
  report.skipped_steps = step.skipped_steps;
  report.skipped = step.plan.skip != 0;
  report.looked = setup.look && !std::isnan(found.lr);  // as it is before the first step
  report.lr = found.lr;
  report.heads_norm = std::sqrt(found.heads_squared);
  report.norm = found.norm;
  report.clipped_norm = found.norm * found.clip;
  if (report.looked) fill_what_was_seen(report);

  const double steps = step.totals.steps;
  report.means.steps = static_cast<std::int64_t>(steps);
  report.means.conflict_rate = steps > 0 ? step.totals.conflict_rate / steps : nan;
  report.means.weights = means_of(memory.weight_sums, rows, steps);
  report.means.cosines = means_of(memory.cosine_sums, pairs, steps);
  report.means.promises_kept = means_of(memory.kept_sums, projections, steps);
  return report;
}

}  // namespace gramstep::host
