// StepLog: one JSON line a step.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include <gramstep/gramstep.hpp>

#include "pairs.hpp"

namespace two_digits {

/// Which run: a method and a seed.
struct Run {
  std::string rule;
  std::string aggregator;
  std::uint64_t seed = 0;
};

/// Writes steps.jsonl.
class StepLog {
 public:
  /// Opens the file, replacing one that is there. Throws std::runtime_error where it cannot.
  explicit StepLog(const std::filesystem::path& path);

  /// Writes what step `step` of a run saw and decided; losses are as before the step.
  void write(const Run& run, std::int64_t step, const std::array<float, tasks>& losses,
             const gramstep::Report& report);

 private:
  std::ofstream file_;
};

}  // namespace two_digits
