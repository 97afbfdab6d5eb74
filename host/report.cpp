#include "host/report.hpp"

#include <cmath>
#include <limits>

namespace gramstep::host {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// G_ij / (n_i n_j); 1 on the diagonal, 0 beside a zero row. Divided twice, because n_i n_j may leave
/// the range of double where the quotient does not.
void fill_cosines(Report& report) {
  const auto tasks = static_cast<std::size_t>(report.tasks);
  std::size_t conflicts = 0;
  for (std::size_t i = 0; i < tasks; ++i) {
    for (std::size_t j = 0; j < tasks; ++j) {
      const double ni = report.gradient_norms[i], nj = report.gradient_norms[j];
      double& cosine = report.cosines[i * tasks + j];
      cosine = ni == 0 || nj == 0 ? 0.0 : i == j ? 1.0 : report.gram[i * tasks + j] / ni / nj;
      conflicts += i < j && cosine < 0;
    }
  }
  const std::size_t pairs = tasks * (tasks - 1) / 2;
  report.conflict_rate =
      pairs == 0 ? 0.0 : static_cast<double>(conflicts) / static_cast<double>(pairs);
}

}  // namespace

Report make_report(const kernels::StepState& step, int tasks, bool looked) {
  const kernels::Findings& found = step.findings;
  const auto count = static_cast<std::size_t>(tasks);
  Report report;
  report.tasks = tasks;
  report.steps = step.steps;
  report.skipped_steps = step.skipped_steps;
  report.skipped = step.plan.skip != 0;
  report.lr = found.lr;
  report.weights.assign(found.weights, found.weights + count);
  report.gram.assign(found.gram, found.gram + count * count);
  report.cosines.assign(count * count, nan);
  report.gradient_norms.assign(count, nan);
  report.looked = looked && step.steps + step.skipped_steps > 0;
  report.heads_norm = std::sqrt(found.heads_squared);
  report.norm = found.norm;
  report.clipped_norm = found.norm * found.clip;
  if (report.looked) {
    for (std::size_t i = 0; i < count; ++i) {
      report.gradient_norms[i] = std::sqrt(found.gram[i * count + i]);
    }
    fill_cosines(report);
  }
  return report;
}

}  // namespace gramstep::host
