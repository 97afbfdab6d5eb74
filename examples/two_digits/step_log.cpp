#include "step_log.hpp"

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

namespace two_digits {
namespace {

using nlohmann::ordered_json;

/// A [K, K] matrix as a list of rows.
ordered_json rows_of(const std::vector<double>& matrix, int columns) {
  ordered_json rows = ordered_json::array();
  for (auto row = matrix.begin(); row != matrix.end(); row += columns) {
    rows.push_back(std::vector<double>(row, row + columns));
  }
  return rows;
}

/// The value, or null from an aggregator that promises nothing.
template <class T>
ordered_json if_promised(const gramstep::Report& report, T value) {
  return report.promise.empty() ? ordered_json() : ordered_json(value);
}

ordered_json means_of(const gramstep::Report& report) {
  const gramstep::RunningMeans& means = report.means;
  return {{"conflict_rate", means.conflict_rate},
          {"weights", means.weights},
          {"cosines", rows_of(means.cosines, report.tasks)},
          {"promise_kept", if_promised(report, means.promises_kept[0])}};
}

}  // namespace

StepLog::StepLog(const std::filesystem::path& path) : file_(path) {
  if (!file_) throw std::runtime_error(path.string() + ": cannot be written");
}

void StepLog::write(const Run& run, std::int64_t step, const std::array<float, tasks>& losses,
                    const gramstep::Report& report) {
  file_ << ordered_json{{"rule", run.rule},
                        {"aggregator", run.aggregator},
                        {"seed", run.seed},
                        {"step", step},
                        {"losses", losses},
                        {"cosines", rows_of(report.cosines, report.tasks)},
                        {"weights", report.weights},
                        {"norms", report.gradient_norms},
                        {"norm", report.norm},
                        {"dots", report.dots},
                        {"dot_cosines", report.dot_cosines},
                        {"conflict", report.conflict_rate > 0},
                        {"iterations", report.iterations[0]},
                        {"residual", report.residuals[0]},
                        {"promise_kept", if_promised(report, bool{report.promises_kept[0]})},
                        {"skipped", report.skipped},
                        {"means", means_of(report)}}
        << '\n';
  if (!file_) throw std::runtime_error("steps.jsonl: cannot be written, is the disk full?");
}

}  // namespace two_digits
