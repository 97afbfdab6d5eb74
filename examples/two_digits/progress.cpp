#include "progress.hpp"

#include <unistd.h>

#include <cstdio>

namespace two_digits {
namespace {

constexpr int bar_width = 32;
constexpr auto redraw = std::chrono::milliseconds(100);

}  // namespace

Progress::Progress(std::int64_t total) : total_(total), terminal_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (terminal_) std::fputc('\n', stderr);
}

void Progress::advance(const std::string& label) {
  ++done_;
  const auto now = Clock::now();
  if (!due(now)) return;
  shown_ = now;
  tenths_shown_ = done_ * 10 / total_;

  const double share = static_cast<double>(done_) / static_cast<double>(total_);
  const double elapsed = std::chrono::duration<double>(now - begin_).count();
  const int left = static_cast<int>(elapsed / share - elapsed + 0.5);
  const auto filled = static_cast<std::size_t>(share * bar_width);
  const std::string bar = std::string(filled, '#') + std::string(bar_width - filled, '.');
  std::fprintf(stderr, "%s[%s] %3d %%  %d:%02d left  %s%s", terminal_ ? "\r\033[K" : "",
               bar.c_str(), static_cast<int>(100 * share), left / 60, left % 60, label.c_str(),
               terminal_ ? "" : "\n");
  std::fflush(stderr);
}

bool Progress::due(Clock::time_point now) const {
  if (done_ == total_) return true;
  return terminal_ ? now - shown_ >= redraw : done_ * 10 / total_ > tenths_shown_;
}

}  // namespace two_digits
