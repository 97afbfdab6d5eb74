#include "gramstep/layout.hpp"

#include <algorithm>

#include "gramstep/error.hpp"
#include "gramstep/rules/common.hpp"

namespace gramstep::inline v1 {
namespace {

constexpr std::int64_t max_segment_size = std::int64_t{1} << 62;

std::string quoted(std::string_view name) { return std::string("\"").append(name).append("\""); }

std::int64_t product(const std::string& where, const Shape& shape) {
  std::int64_t size = 1;
  bool overflow = false;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) {
      throw InvalidArgument(where + ".shape: got a dimension of " + std::to_string(dimension) +
                            ", expected >= 0");
    }
    overflow = __builtin_mul_overflow(size, dimension, &size) || overflow;
  }
  // A zero anywhere makes an empty tensor, however large the product of the others.
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  if (overflow || size > max_segment_size) {
    throw InvalidArgument(where + ".shape: got more than 2^62 elements");
  }
  return size;
}

void check_group_options(const std::string& where, const GroupOptions& options) {
  expect_in(where + ".lr_scale", options.lr_scale, 0);
  if (options.weight_decay) expect_in(where + ".weight_decay", *options.weight_decay, 0);
}

std::int64_t padded(std::int64_t size) {
  return (size + segment_alignment - 1) / segment_alignment * segment_alignment;
}

}  // namespace

void Layout::add_group(std::string name, const GroupOptions& options) {
  const std::string where = "Layout::add_group(" + quoted(name) + ")";
  expect(!name.empty(), where, "the empty name is the default group's");
  expect(!group_of_.contains(name), where, "there is a group of that name");
  check_group_options(where, options);
  groups_.push_back(options);
  group_of_.emplace(std::move(name), static_cast<int>(groups_.size()) - 1);
}

void Layout::add(std::string name, Shape shape, const SegmentOptions& options) {
  const std::string where = "Layout::add(" + quoted(name) + ")";
  expect(!name.empty(), where, "a segment needs a name");
  expect(!segment_of_.contains(name), where, "there is a segment of that name");
  if (options.task < shared_by_all || options.task >= max_tasks) {
    throw InvalidArgument(where + ".task: got " + std::to_string(options.task) +
                          ", expected -1 (shared) or 0 to " + std::to_string(max_tasks - 1));
  }
  const std::int64_t size = product(where, shape);
  std::int64_t& part = options.task == shared_by_all ? shared_size_ : heads_size_;
  if (padded(size) > max_segment_size - this->size()) {
    throw InvalidArgument(where + ": the flat buffer would exceed 2^62 elements");
  }
  const int group = resolve_group(where, options);
  segments_.push_back({name, std::move(shape), part, size, options.task, group});
  segment_of_.emplace(std::move(name), segments() - 1);
  part += padded(size);
}

int Layout::resolve_group(const std::string& where, const SegmentOptions& options) {
  int group = 0;
  if (!options.group.empty()) {
    const auto found = group_of_.find(options.group);
    if (found == group_of_.end()) {
      throw InvalidArgument(where + ".group: got " + quoted(options.group) +
                            ", expected the name of a group made by add_group");
    }
    group = found->second;
  }
  if (!options.lr_scale && !options.weight_decay && !options.maximize && !options.elementwise) {
    return group;
  }
  GroupOptions own = groups_[static_cast<std::size_t>(group)];
  if (options.lr_scale) own.lr_scale = *options.lr_scale;
  if (options.weight_decay) own.weight_decay = options.weight_decay;
  if (options.maximize) own.maximize = options.maximize;
  if (options.elementwise) own.elementwise = *options.elementwise;
  check_group_options(where, own);
  // Segments that depart from a group alike share one, so that there are no more groups than kinds.
  const auto same = std::find(groups_.begin(), groups_.end(), own);
  const auto index = static_cast<int>(same - groups_.begin());
  if (same == groups_.end()) groups_.push_back(own);
  return index;
}

std::int64_t Layout::parameters() const {
  std::int64_t total = 0;
  for (const Segment& segment : segments_) total += segment.size;
  return total;
}

int Layout::tasks_named() const {
  int tasks = 0;
  for (const Segment& segment : segments_) tasks = std::max(tasks, segment.task + 1);
  return tasks;
}

Segment Layout::segment(int index) const {
  if (index < 0 || index >= segments()) {
    throw InvalidArgument("Layout::segment: got index " + std::to_string(index) +
                          ", expected 0 to " + std::to_string(segments() - 1));
  }
  Segment segment = segments_[static_cast<std::size_t>(index)];
  if (segment.task != shared_by_all) segment.offset += shared_size_;
  return segment;
}

int Layout::index(std::string_view name) const {
  const auto found = segment_of_.find(name);
  if (found == segment_of_.end()) {
    throw InvalidArgument("Layout: got the segment name " + quoted(name) +
                          ", expected one of the " + std::to_string(segments()) + " added");
  }
  return found->second;
}

bool Layout::contains(std::string_view name) const { return segment_of_.contains(name); }

bool operator==(const Layout& a, const Layout& b) {
  const auto same = [](const Segment& left, const Segment& right) {
    return left.name == right.name && left.shape == right.shape && left.offset == right.offset &&
           left.task == right.task;
  };
  return std::equal(a.segments_.begin(), a.segments_.end(), b.segments_.begin(), b.segments_.end(),
                    same);
}

}  // namespace gramstep::inline v1
