// Progress: a bar on stderr, with the time that is left.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace two_digits {

/// Draws itself over one line of a terminal; elsewhere it writes a line for every tenth.
class Progress {
 public:
  explicit Progress(std::int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Counts one step; `label` says of what.
  void advance(const std::string& label);

 private:
  using Clock = std::chrono::steady_clock;

  bool due(Clock::time_point now) const;

  std::int64_t total_;
  std::int64_t done_ = 0;
  std::int64_t tenths_shown_ = 0;
  bool terminal_;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point shown_ = begin_;
};

}  // namespace two_digits
