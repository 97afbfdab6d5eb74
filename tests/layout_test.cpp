// Layouts: where segments are, which group they are in, and what is refused.
#include <cmath>
#include <functional>

#include "gramstep/layout.hpp"
#include "gramstep/views.hpp"
#include "tests/support.hpp"

namespace gramstep::test {
namespace {

TEST(Layout, SegmentsStartAtMultiplesOf128) {
  Layout layout;
  layout.add("a", {1});
  layout.add("b", {128});
  layout.add("c", {3, 43});
  layout.add("d", {});
  EXPECT_EQ(layout.segment("a").offset, 0);
  EXPECT_EQ(layout.segment("b").offset, 128);
  EXPECT_EQ(layout.segment("c").offset, 256);
  EXPECT_EQ(layout.segment("c").size, 129);
  EXPECT_EQ(layout.segment("c").shape, (Shape{3, 43}));
  EXPECT_EQ(layout.segment("d").offset, 512);
  EXPECT_EQ(layout.segment("d").size, 1) << "a shape without dimensions is a scalar";
  EXPECT_EQ(layout.size(), 640);
  EXPECT_EQ(layout.parameters(), 1 + 128 + 129 + 1);
  EXPECT_EQ(layout.segments(), 4);
}

TEST(Layout, SharedSegmentsComeBeforeHeadsInTheOrderTheyWereAdded) {
  Layout layout;
  layout.add("head1", {5}, {.task = 1});
  layout.add("trunk1", {200});
  layout.add("head0", {129}, {.task = 0});
  EXPECT_EQ(layout.segment("head1").offset, 256);
  layout.add("trunk2", {1});
  EXPECT_EQ(layout.segment("trunk1").offset, 0);
  EXPECT_EQ(layout.segment("trunk2").offset, 256);
  EXPECT_EQ(layout.segment("head1").offset, 384) << "heads move while shared segments are added";
  EXPECT_EQ(layout.segment("head0").offset, 512);
  EXPECT_EQ(layout.shared_size(), 384);
  EXPECT_EQ(layout.heads_size(), 384);
  EXPECT_EQ(layout.size(), 768);
  EXPECT_EQ(layout.tasks_named(), 2);
  EXPECT_EQ(layout.segment("trunk1").task, shared_by_all);
  EXPECT_EQ(layout.segment("head1").task, 1);
}

TEST(Layout, AnEmptyLayoutIsALayout) {
  const Layout layout;
  EXPECT_EQ(layout.size(), 0);
  EXPECT_EQ(layout.segments(), 0);
  EXPECT_EQ(layout.tasks_named(), 0);
  EXPECT_EQ(layout.parameters(), 0);
  EXPECT_EQ(layout.groups(), std::vector<GroupOptions>{GroupOptions{}});
}

TEST(Layout, SegmentsWithoutElementsTakeNoRoom) {
  Layout layout;
  layout.add("none", {0});
  layout.add("none_of_many", {std::int64_t{1} << 40, 0, std::int64_t{1} << 40});
  layout.add("one", {1});
  EXPECT_EQ(layout.segment("none").size, 0);
  EXPECT_EQ(layout.segment("none_of_many").size, 0);
  EXPECT_EQ(layout.segment("one").offset, 0);
  EXPECT_EQ(layout.size(), 128);
}

TEST(Layout, SizesAre64Bit) {
  Layout layout;
  layout.add("beyond 32 bits", {65'536, 65'537});
  layout.add("beyond 40 bits", {std::int64_t{1} << 20, std::int64_t{1} << 21});
  layout.add("last", {7}, {.task = 63});
  EXPECT_EQ(layout.segment("beyond 32 bits").size, 65'536ll * 65'537);
  EXPECT_EQ(layout.segment("beyond 40 bits").offset, 65'536ll * 65'537);
  EXPECT_EQ(layout.shared_size(), 65'536ll * 65'537 + (std::int64_t{1} << 41));
  EXPECT_EQ(layout.segment("last").offset, layout.shared_size());
  EXPECT_EQ(layout.parameters(), layout.shared_size() + 7);
}

TEST(Layout, TakesUpTo2To62Elements) {
  Layout layout;
  layout.add("most", {std::int64_t{1} << 31, std::int64_t{1} << 31});
  EXPECT_EQ(layout.size(), std::int64_t{1} << 62);
  expect_error<InvalidArgument>([&] { layout.add("one more", {1}); }, {"one more", "2^62"});
  expect_error<InvalidArgument>([&] { layout.add("wide", {(std::int64_t{1} << 62) + 1}); },
                                {"wide", "2^62"});
  expect_error<InvalidArgument>(
      [&] {
        layout.add("overflow", {std::int64_t{1} << 40, std::int64_t{1} << 40});
      },
      {"overflow", "2^62"});
  EXPECT_EQ(layout.segments(), 1);
  EXPECT_EQ(layout.size(), std::int64_t{1} << 62);
}

TEST(Layout, FindsSegmentsByNameAndIndex) {
  Layout layout;
  layout.add("head", {1}, {.task = 0});
  layout.add("trunk", {1});
  EXPECT_EQ(layout.index("head"), 0);
  EXPECT_EQ(layout.index("trunk"), 1);
  EXPECT_EQ(layout.segment(0).name, "head");
  EXPECT_EQ(layout.segment(0).offset, 128);
  EXPECT_TRUE(layout.contains("trunk"));
  EXPECT_FALSE(layout.contains("Trunk"));
  expect_error<InvalidArgument>([&] { layout.index("tail"); }, {"tail", "got", "expected"});
  expect_error<InvalidArgument>([&] { layout.segment("tail"); }, {"tail", "got", "expected"});
  expect_error<InvalidArgument>([&] { layout.segment(2); }, {"2", "got", "expected"});
  expect_error<InvalidArgument>([&] { layout.segment(-1); }, {"-1", "got", "expected"});
}

TEST(Layout, ViewsAreOfAnyTypeAndTouchNoMemory) {
  Layout layout;
  layout.add("a", {3});
  layout.add("b", {2, 4});
  std::vector<short> buffer(static_cast<std::size_t>(layout.size()));
  const TensorView<short> b = view(layout, buffer.data(), "b");
  EXPECT_EQ(b.data, buffer.data() + 128);
  EXPECT_EQ(b.size, 8);
  EXPECT_EQ(b.shape, (Shape{2, 4}));
  EXPECT_EQ(b.span().size(), 8u);
  expect_error<InvalidArgument>([&] { view(layout, buffer.data(), "c"); }, {"\"c\""});
}

TEST(Layout, HeadsAreFoundInTheHeadsOwnBuffer) {
  Layout layout;
  layout.add("head", {5}, {.task = 0});
  layout.add("trunk", {300});
  layout.add("other", {2, 2}, {.task = 1});
  std::vector<float> heads(static_cast<std::size_t>(layout.heads_size()));
  EXPECT_EQ(head_view(layout, heads.data(), "head").data, heads.data());
  EXPECT_EQ(head_view(layout, heads.data(), "other").data, heads.data() + 128);
  EXPECT_EQ(head_view(layout, heads.data(), "other").shape, (Shape{2, 2}));
  expect_error<InvalidArgument>([&] { head_view(layout, heads.data(), "trunk"); },
                                {"trunk", "head"});
}

/// The resolved group of a segment.
GroupOptions group_of(const Layout& layout, std::string_view name) {
  return layout.groups()[static_cast<std::size_t>(layout.segment(name).group)];
}

TEST(Layout, GroupsAreResolved) {
  Layout layout;
  layout.add_group("slow", {.lr_scale = 0.1, .weight_decay = 0.5, .maximize = true});
  layout.add("plain", {1});
  layout.add("slow", {1}, {.group = "slow"});
  layout.add("slow without decay", {1}, {.group = "slow", .weight_decay = 0.0});
  layout.add("descending", {1}, {.group = "slow", .lr_scale = 2.0, .maximize = false});
  EXPECT_EQ(group_of(layout, "plain"), GroupOptions{});
  EXPECT_EQ(layout.segment("plain").group, 0);
  EXPECT_EQ(group_of(layout, "slow"),
            (GroupOptions{.lr_scale = 0.1, .weight_decay = 0.5, .maximize = true}));
  EXPECT_EQ(group_of(layout, "slow without decay"),
            (GroupOptions{.lr_scale = 0.1, .weight_decay = 0.0, .maximize = true}));
  EXPECT_EQ(group_of(layout, "descending"),
            (GroupOptions{.lr_scale = 2.0, .weight_decay = 0.5, .maximize = false}));
}

TEST(Layout, SegmentsThatDepartAlikeShareAGroup) {
  Layout layout;
  for (int s = 0; s < 100; ++s) {
    const std::string name = std::to_string(s);
    s % 2 == 0 ? layout.add(name, {1}, {.weight_decay = 0.0}) : layout.add(name, {1});
  }
  EXPECT_EQ(layout.groups().size(), 2u);
  EXPECT_EQ(layout.segment("0").group, layout.segment("98").group);
  EXPECT_EQ(layout.segment("99").group, 0);
}

TEST(Layout, EqualWhereSegmentsPlacesAndOwnersAre) {
  const auto make = [](std::int64_t size, int task) {
    Layout layout;
    layout.add("a", {size});
    layout.add("b", {2, 3}, {.task = task});
    return layout;
  };
  EXPECT_EQ(make(5, 0), make(5, 0));
  EXPECT_FALSE(make(5, 0) == make(6, 0)) << "another shape in the same room";
  EXPECT_FALSE(make(5, 0) == make(5, 1)) << "another owner";
  EXPECT_FALSE(make(5, 0) == make(5, shared_by_all));
  EXPECT_FALSE(make(5, 0) == Layout{});
  Layout longer = make(5, 0);
  longer.add("none", {0});
  EXPECT_FALSE(make(5, 0) == longer);
  EXPECT_FALSE(longer == make(5, 0));
  Layout renamed;
  renamed.add("A", {5});
  renamed.add("b", {2, 3}, {.task = 0});
  EXPECT_FALSE(make(5, 0) == renamed);
}

/// Runs a call that must be refused, and expects the layout to be as it was.
void expect_refused(const std::function<void(Layout&)>& call,
                    const std::vector<std::string>& words) {
  Layout layout;
  layout.add_group("group", {.lr_scale = 0.5});
  layout.add("a", {5});
  layout.add("b", {5}, {.task = 2, .group = "group"});
  const Layout before = layout;
  expect_error<InvalidArgument>([&] { call(layout); }, words);
  EXPECT_EQ(layout, before);
  EXPECT_EQ(layout.groups(), before.groups());
  EXPECT_EQ(layout.size(), before.size());
}

TEST(Layout, RefusesBadSegments) {
  expect_refused([](Layout& l) { l.add("", {1}); }, {"name"});
  expect_refused([](Layout& l) { l.add("a", {1}); }, {"\"a\"", "name"});
  expect_refused([](Layout& l) { l.add("c", {2, -3}); }, {"\"c\"", "shape", "-3", ">= 0"});
  expect_refused([](Layout& l) { l.add("c", {0, -1}); }, {"\"c\"", "shape", "-1", ">= 0"});
  expect_refused([](Layout& l) { l.add("c", {1}, {.task = -2}); },
                 {"\"c\"", "task", "got -2", "expected"});
  expect_refused([](Layout& l) { l.add("c", {1}, {.task = max_tasks}); },
                 {"\"c\"", "task", "got 64", "expected"});
  expect_refused([](Layout& l) { l.add("c", {1}, {.group = "no such"}); },
                 {"\"c\"", "group", "got \"no such\"", "expected"});
}

TEST(Layout, RefusesOptionsOutOfRange) {
  for (const double bad : {-1.0, std::nan(""), infinity}) {
    expect_refused([&](Layout& l) { l.add("c", {1}, {.lr_scale = bad}); },
                   {"\"c\"", "lr_scale", "got", "expected"});
    expect_refused([&](Layout& l) { l.add("c", {1}, {.weight_decay = bad}); },
                   {"\"c\"", "weight_decay", "got", "expected"});
    expect_refused([&](Layout& l) { l.add_group("g", {.lr_scale = bad}); },
                   {"\"g\"", "lr_scale", "got", "expected"});
    expect_refused([&](Layout& l) { l.add_group("g", {.weight_decay = bad}); },
                   {"\"g\"", "weight_decay", "got", "expected"});
  }
  expect_refused([](Layout& l) { l.add_group("", {}); }, {"name"});
  expect_refused([](Layout& l) { l.add_group("group", {}); }, {"\"group\"", "name"});
}

}  // namespace
}  // namespace gramstep::test
