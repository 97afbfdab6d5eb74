// Results: what the runs of each method have in common, as a table and as summary.json.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "options.hpp"
#include "trainer.hpp"

namespace two_digits {

/// Mean and sample standard deviation over seeds; the deviation of one value is 0.
struct Spread {
  double mean = 0;
  double deviation = 0;
};

/// The runs of one method, summarised.
struct MethodResult {
  std::string rule;
  std::string aggregator;
  std::array<Spread, tasks> accuracy{};
  Spread conflict_rate{};
  double fused_us = 0;  ///< mean over seeds of the median step time
  std::optional<double> unfused_us{};
};

Spread spread_of(std::span<const double> values);

/// Summarises runs, one entry a method, in the order in which the methods came.
std::vector<MethodResult> summarise(std::span<const RunResult> runs);

void print_table(std::ostream& out, std::span<const MethodResult> methods);

/// Writes options, machine, all runs and their summary as JSON.
void write_summary(const std::filesystem::path& path, const Options& options,
                   const gramstep::Device& device, std::span<const RunResult> runs);

/// Writes images and labels as JSON, for the report to show.
void write_samples(const std::filesystem::path& path, const Pairs& samples);

}  // namespace two_digits
