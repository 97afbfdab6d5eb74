// Checks of options and memory, with messages that name what is wrong, what was got and expected.
#include "host/validation.hpp"

#include <cmath>
#include <cstdint>
#include <functional>
#include <sstream>

#include "gramstep/error.hpp"

namespace gramstep::inline v1 {

void expect_in(std::string_view what, double value, double low, double high) {
  if (std::isfinite(value) && value >= low && value < high) return;
  std::ostringstream message;
  message << what << ": got " << value << ", expected a finite number";
  if (low > -infinity) message << " >= " << low;
  if (high < infinity) message << (low > -infinity ? " and < " : " < ") << high;
  throw InvalidArgument(message.str());
}

void expect(bool condition, std::string_view what, std::string_view why) {
  if (!condition) throw InvalidArgument(std::string(what) + ": " + std::string(why));
}

TaskValues::TaskValues(std::span<const double> values) {
  if (values.size() > static_cast<std::size_t>(max_tasks)) {
    throw InvalidArgument("TaskValues: got " + std::to_string(values.size()) +
                          " values, expected at most " + std::to_string(max_tasks));
  }
  for (const double value : values) values_[size_++] = value;
}

}  // namespace gramstep::inline v1

namespace gramstep::host {
namespace {

void expect_count(const std::string& what, std::int64_t got, std::int64_t expected,
                  const char* of) {
  if (got == expected) return;
  throw InvalidArgument(what + ": got " + std::to_string(got) + ", expected " +
                        std::to_string(expected) + " (" + of + ")");
}

void expect_within(const char* what, int got, int low, int high) {
  if (got >= low && got <= high) return;
  throw InvalidArgument(std::string(what) + ": got " + std::to_string(got) + ", expected " +
                        std::to_string(low) + " to " + std::to_string(high));
}

void expect_positive(const char* what, double value) {
  if (!(value > 0)) expect(false, what, "got " + std::to_string(value) + ", expected > 0");
  expect_in(what, value, 0);
}

/// There, and aligned to fp32, unless it is empty.
void expect_floats(const std::string& what, const float* data, std::int64_t size) {
  if (size == 0) return;
  if (data == nullptr) {
    throw InvalidArgument(what + ": got null, expected " + std::to_string(size) + " elements");
  }
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  if (address % alignof(float) != 0) {
    std::ostringstream message;
    message << what << ": got address 0x" << std::hex << address
            << ", expected a multiple of 4 bytes";
    throw InvalidArgument(message.str());
  }
}

/// Memory with a name for messages.
struct Region {
  std::string name;
  const float* data;
  std::int64_t size;

  bool overlaps(const Region& other) const {
    const std::less<const float*> before;
    return size > 0 && other.size > 0 && before(data, other.data + other.size) &&
           before(other.data, data + size);
  }
};

}  // namespace

std::string row_name(int k) {
  return std::string("Optimizer::step: gradients.rows[").append(std::to_string(k)).append("]");
}

void validate(const Layout& layout, const OptimizerOptions& options) {
  expect_within("OptimizerOptions.tasks", options.tasks, 1, max_tasks);
  if (layout.tasks_named() > options.tasks) {
    throw InvalidArgument("OptimizerOptions.tasks: got " + std::to_string(options.tasks) +
                          ", expected at least " + std::to_string(layout.tasks_named()) +
                          ", because the layout has a head of task " +
                          std::to_string(layout.tasks_named() - 1));
  }
  std::visit([](const auto& rule) { rule.validate(); }, options.rule);
  std::visit([&](const auto& aggregator) { aggregator.validate(options.tasks); },
             options.aggregator);
  if (options.clip_norm) expect_positive("OptimizerOptions.clip_norm", *options.clip_norm);
  expect_positive("OptimizerOptions.loss_scale", options.loss_scale);
  expect_within("OptimizerOptions.device.ordinal", options.device.ordinal, 0, 1023);
  expect_within("OptimizerOptions.device.threads", options.device.threads, 0, 1023);
}

void validate_sizes(const Layout& layout, int tasks, std::span<float> params,
                    const Gradients& gradients) {
  const std::string where = "Optimizer::step: ";
  expect_count(where + "params", std::ssize(params), layout.size(), "layout.size()");
  expect_count(where + "gradients.rows", std::ssize(gradients.rows), tasks, "tasks");
  expect_count(where + "gradients.row_size", gradients.row_size, layout.shared_size(),
               "layout.shared_size()");
  expect_count(where + "gradients.heads", std::ssize(gradients.heads), layout.heads_size(),
               "layout.heads_size()");
  expect_floats(where + "params", params.data(), std::ssize(params));
  expect_floats(where + "gradients.heads", gradients.heads.data(), std::ssize(gradients.heads));
  for (int k = 0; k < tasks; ++k) {
    expect_floats(row_name(k), gradients.rows[static_cast<std::size_t>(k)], gradients.row_size);
  }
}

void validate_overlap(const Layout& layout, int tasks, const StepMemory& memory,
                      std::span<float* const> states) {
  const Region params{"Optimizer::step: params", memory.params, layout.size()};
  std::vector<Region> written{params};
  for (const float* state : states) written.push_back({"state", state, layout.size()});
  std::vector<Region> read{{"Optimizer::step: gradients.heads", memory.heads, layout.heads_size()}};
  for (int k = 0; k < tasks; ++k) {
    read.push_back({row_name(k), memory.rows[k], layout.shared_size()});
  }
  for (std::size_t s = 1; s < written.size(); ++s) {
    expect(!params.overlaps(written[s]), params.name, "got memory of the optimizer's own state");
  }
  for (const Region& gradient : read) {
    for (const Region& target : written) {
      expect(!gradient.overlaps(target), gradient.name,
             "got memory that overlaps " + target.name + ", expected memory of its own");
    }
  }
}

}  // namespace gramstep::host
