// Results: what the runs of each method have in common, as a table and as summary.json.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "comparison.hpp"
#include "options.hpp"
#include "statistics.hpp"
#include "trainer.hpp"

namespace two_digits {

/// The runs of one method, summarised over seeds.
struct MethodResult {
  std::string rule;
  double lr = 0;
  std::string aggregator;
  std::size_t seeds = 0;
  std::array<Spread, tasks> accuracy{};
  Spread conflict_rate{};
  bool on_momenta = false;
  std::array<Spread, tasks> weights{};
  std::optional<double> promise_kept{};            ///< mean share of the steps
  double step_us = 0;                              ///< mean over seeds of the median step time
  std::optional<double> fused_us{}, unfused_us{};  ///< of the steps done both ways, see StepTimes
};

/// Summarises runs, one entry a method, in the order in which the methods came.
std::vector<MethodResult> summarise(std::span<const RunResult> runs);

void print_table(std::ostream& out, std::span<const MethodResult> methods);

/// Prints a paragraph for each.
void print_findings(std::ostream& out, std::span<const Finding> findings);

/// Writes options, machine, searches, all runs, their summary and what follows from them as JSON.
void write_summary(const std::filesystem::path& path, const Options& options,
                   const gramstep::Device& device, const Results& results);

/// Writes images and labels as JSON, for the report to show.
void write_samples(const std::filesystem::path& path, const Pairs& samples);

}  // namespace two_digits
