// Layout: named tensors as segments of one flat buffer.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gramstep/export.hpp"

namespace gramstep::inline v1 {

/// Every segment starts at a multiple of this many elements, so that every start is aligned in every
/// dtype: 128 elements are 512 bytes of fp32 and 128 bytes of an 8-bit type.
inline constexpr std::int64_t segment_alignment = 128;

/// Most tasks a step can combine.
inline constexpr int max_tasks = 64;

/// The owner of a segment for which every task has a gradient.
inline constexpr int shared_by_all = -1;

/// Dimensions of a tensor; an empty list is a scalar, a zero makes a segment without elements.
using Shape = std::vector<std::int64_t>;

/// How a group of segments departs from the rule's options; what is left out is the rule's own.
struct GroupOptions {
  double lr_scale = 1.0;                    ///< factor on the rule's learning rate, finite and >= 0
  std::optional<double> weight_decay = {};  ///< replaces the rule's weight decay, finite and >= 0
  std::optional<bool> maximize = {};        ///< replaces the rule's maximize
  /// Whether rules that treat matrices apart, Muon and Adafactor, take none of its segments as one; such
  /// as an embedding's.
  bool elementwise = false;
  friend bool operator==(const GroupOptions&, const GroupOptions&) = default;
};

/// Where a segment belongs. `group` names a group made by Layout::add_group (empty: the default
/// group); the other fields depart from that group for this segment alone.
struct SegmentOptions {
  int task = shared_by_all;                 ///< the one task whose head this is, or shared_by_all
  std::string group = {};                   ///< name of a group, empty for the default group
  std::optional<double> lr_scale = {};      ///< replaces the group's factor
  std::optional<double> weight_decay = {};  ///< replaces the group's weight decay
  std::optional<bool> maximize = {};        ///< replaces the group's maximize
  std::optional<bool> elementwise = {};     ///< replaces the group's elementwise
};

/// A named tensor's place in the flat buffer.
struct Segment {
  std::string name;
  Shape shape;
  std::int64_t offset = 0;   ///< of the first element in the flat buffer, a multiple of 128
  std::int64_t size = 0;     ///< number of elements, the product of the shape
  int task = shared_by_all;  ///< owner
  int group = 0;             ///< index in Layout::groups()
};

/// Named segments of one flat buffer: first the shared part, then the heads.
///
///   [ shared segments, in the order they were added | head segments, in the order they were added ]
///
/// Every segment starts at a multiple of segment_alignment; the elements between a segment's end and
/// the next start are padding, which is never read into a result and never written. A task's gradient
/// row covers the shared part, [0, shared_size()); the heads' gradients are one buffer that covers
/// [shared_size(), size()). Offsets of heads move while shared segments are still being added.
///
/// Errors: every member that takes a name throws InvalidArgument for a name that is not there.
class GRAMSTEP_EXPORT Layout {
 public:
  /// Adds a named group of segments that share hyperparameters.
  /// Throws InvalidArgument for an empty or duplicate name, or an option out of range.
  void add_group(std::string name, const GroupOptions& options);

  /// Adds a tensor.
  /// Throws InvalidArgument for an empty or duplicate name, a negative dimension, a size beyond
  /// 2^62 elements, an unknown group, a task index below -1 or >= max_tasks, or an option out of range.
  void add(std::string name, Shape shape, const SegmentOptions& options = {});

  /// Elements of the flat buffer, padding included; a multiple of segment_alignment.
  std::int64_t size() const { return shared_size_ + heads_size_; }
  /// Elements of the shared part, which a gradient row covers.
  std::int64_t shared_size() const { return shared_size_; }
  /// Elements of the heads' part.
  std::int64_t heads_size() const { return heads_size_; }
  /// Elements of all segments, padding not included.
  std::int64_t parameters() const;
  /// Highest task index that owns a head, plus one; 0 where there are no heads.
  int tasks_named() const;

  /// Number of segments.
  int segments() const { return static_cast<int>(segments_.size()); }
  /// The segment of that index, in the order segments were added.
  Segment segment(int index) const;
  /// The segment of that name.
  Segment segment(std::string_view name) const { return segment(index(name)); }
  /// The index of the segment of that name.
  int index(std::string_view name) const;
  /// Whether there is a segment of that name.
  bool contains(std::string_view name) const;

  /// The distinct groups, the default group first, with every segment's departures resolved.
  const std::vector<GroupOptions>& groups() const { return groups_; }

  /// Whether both have the same segments, in the same places, with the same owners.
  friend GRAMSTEP_EXPORT bool operator==(const Layout& a, const Layout& b);

 private:
  int resolve_group(const std::string& where, const SegmentOptions& options);

  std::vector<Segment> segments_;                       // offsets within their part
  std::vector<GroupOptions> groups_{GroupOptions{}};    // index 0: the default group
  std::map<std::string, int, std::less<>> segment_of_;  // by name
  std::map<std::string, int, std::less<>> group_of_;    // by name
  std::int64_t shared_size_ = 0;
  std::int64_t heads_size_ = 0;
};

}  // namespace gramstep::inline v1
