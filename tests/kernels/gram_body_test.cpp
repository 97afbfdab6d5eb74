// The gram stage's bodies under the fiber runner, and the CPU's loops, against sums in double.
#include "tests/kernels/stage_rig.hpp"

namespace gramstep::test {
namespace {

/// What G and the sum of the magnitudes of its terms are, in double.
struct Exact {
  std::vector<double> sums, magnitudes;  // by pair, then of the heads
};

Exact exact_gram(const StageRig& rig) {
  const int tasks = rig.setup.tasks, pairs = kernels::pairs_of(tasks);
  Exact exact{std::vector<double>(static_cast<std::size_t>(pairs) + 1),
              std::vector<double>(static_cast<std::size_t>(pairs) + 1)};
  const auto add = [&](int at, std::span<const float> a, std::span<const float> b) {
    for (std::size_t e = 0; e < a.size(); ++e) {
      const double product = static_cast<double>(a[e]) * static_cast<double>(b[e]);
      exact.sums[static_cast<std::size_t>(at)] += product;
      exact.magnitudes[static_cast<std::size_t>(at)] += std::fabs(product);
    }
  };
  for (int s = 0; s < rig.layout.segments(); ++s) {
    if (!rig.segments[static_cast<std::size_t>(s)].active) continue;
    if (rig.is_head(s)) {
      const auto head = rig.segment(rig.heads, s, rig.layout.shared_size());
      add(pairs, head, head);
      continue;
    }
    for (int i = 0; i < tasks; ++i) {
      for (int j = i; j < tasks; ++j) {
        add(kernels::pair_index(i, j, tasks), rig.segment(rig.rows[static_cast<std::size_t>(i)], s),
            rig.segment(rig.rows[static_cast<std::size_t>(j)], s));
      }
    }
  }
  return exact;
}

/// The sums of the partials that a gram stage left.
std::vector<double> summed(const StageRig& rig) {
  const auto pairs = static_cast<std::size_t>(kernels::pairs_of(rig.setup.tasks));
  const auto shared = static_cast<std::size_t>(rig.setup.work.shared_spans) * pairs;
  std::vector<double> sums(pairs + 1);
  for (std::size_t e = 0; e < shared; ++e) sums[e % pairs] += rig.partials[e];
  for (std::size_t e = shared; e < rig.partials.size(); ++e) sums[pairs] += rig.partials[e];
  return sums;
}

/// fp32 sums of n terms, each product rounded or fused: |error| <= (n + 1) u sum |a b| to first order,
/// u = 2^-24; one term more covers the second order and what double rounds.
void expect_within_bound(const std::vector<double>& got, const Exact& exact, int terms) {
  const double bound = (terms + 2) * 0x1p-24;
  for (std::size_t e = 0; e < got.size(); ++e) {
    EXPECT_LE(std::fabs(got[e] - exact.sums[e]), bound * exact.magnitudes[e]) << "pair " << e;
  }
}

/// Most terms in an fp32 sum: a thread's share of a span, a warp's turns on tensor cores, a lane's share on a CPU.
constexpr int sweeps = kernels::max_span_elements / (4 * kernels::gram_threads);
constexpr int body_terms = 5 * sweeps;  // four elements a sweep, and one beyond the last vector
constexpr int turn_terms = 100;         // the error of a turn's own
constexpr int tensor_terms =
    turn_terms + kernels::GramTensorBody<kernels::GradientSource<kernels::Float32>, 16>::most_sums;
constexpr int cpu_terms = host::gram_block / host::gram_lanes;

struct GramCase {
  int tasks;
  DType dtype = DType::float32;

  int terms() const { return tasks <= 8 ? body_terms : tensor_terms; }
  bool takes_long() const { return tasks > 32; }
  Layout layout() const {
    return takes_long() ? awkward_layout(tasks, few_edge_sizes) : awkward_layout(tasks);
  }
  friend std::ostream& operator<<(std::ostream& out, const GramCase& each) {
    return out << each.tasks << " of " << name_of(each.dtype);
  }
};

/// Random rows of that type, one of whose segments has no gradient; all chunks in one span, or as they are.
struct GramRig : StageRig {
  GramRig(const GramCase& which, int shift, bool one_span)
      : StageRig(which.layout(),
                 {.tasks = which.tasks, .clip_norm = 1.0, .precision = {.gradients = which.dtype}},
                 shift) {
    segments[which.takes_long() ? 3 : 6].active = 0;
    if (which.dtype != DType::float32) {
      for (const Floats& row : rows) round_to(which.dtype, row.span());
      round_to(which.dtype, heads.span());
    }
    if (!one_span) return;
    std::vector<kernels::Span>& spans = setup.work.spans;
    const auto end = spans.begin() + setup.work.shared_spans;
    spans.front().last = std::prev(end)->last;
    spans.erase(spans.begin() + 1, end);
    setup.work.shared_spans = 1;
    partials.resize(static_cast<std::size_t>(setup.work.partials(setup.tasks)));
  }
};

class GramBodyTest : public ::testing::TestWithParam<GramCase> {};

TEST_P(GramBodyTest, IsWithinItsBoundInEveryOrderAndAlignment) {
  for (const int shift : {0, 1, 4, 8}) {
    GramRig rig(GetParam(), shift, shift == 8);
    const Exact exact = exact_gram(rig);
    std::vector<double> first;
    // All orders once; the rest of the grid is about places, and many rows take long.
    const bool all_orders = shift == 0 && !GetParam().takes_long();
    for (const simt::Launch& order : every_order) {
      if (!all_orders && order.order != simt::Order::reverse) continue;
      std::fill(rig.partials.begin(), rig.partials.end(), std::nan(""));
      rig.run_gram(order);
      if (first.empty()) first = rig.partials;
      EXPECT_TRUE(same_bits(rig.partials, first));
    }
    expect_within_bound(summed(rig), exact, GetParam().terms());
    rig.run_gram_on_cpu();
    expect_within_bound(summed(rig), exact, cpu_terms);
  }
}

// Rows counted up by the unrolled bodies, and where tiles end.
INSTANTIATE_TEST_SUITE_P(Tasks, GramBodyTest,
                         ::testing::Values(GramCase{1}, GramCase{2}, GramCase{3}, GramCase{5},
                                           GramCase{8}, GramCase{9}, GramCase{16}, GramCase{17},
                                           GramCase{32}, GramCase{33}, GramCase{64}));
INSTANTIATE_TEST_SUITE_P(
    Narrow, GramBodyTest,
    ::testing::Values(GramCase{9, DType::bfloat16}, GramCase{16, DType::bfloat16},
                      GramCase{17, DType::float16}, GramCase{32, DType::bfloat16},
                      GramCase{33, DType::bfloat16}, GramCase{64, DType::float16}));

TEST(GramBody, OfNothingIsNothing) {
  Layout layout;
  layout.add("empty", {0, 7});
  StageRig rig(layout, {.tasks = 2});
  EXPECT_EQ(rig.spans(), 0);
  EXPECT_EQ(rig.partials.size(), 0u);
  rig.run_gram({});
}

TEST(GramBody, ThousandsOfTinySegmentsDoNotPileUpInOneThread) {
  Layout layout;
  for (int i = 0; i < 3'000; ++i) layout.add("tensor" + std::to_string(i), {1});
  const host::Work work(layout, host::projections(layout, Projection::model));
  for (const kernels::Span& span : work.spans) EXPECT_LE(span.last - span.first, sweeps);
}

TEST(GramBody, SpansCoverEveryChunkOnceAndKeepToTheirBound) {
  for (const std::int64_t size : {1, 4'096, 100'000, 40'000'000}) {
    Layout layout;
    for (int i = 0; i < 40; ++i) layout.add("tensor" + std::to_string(i), {size / 40 + i});
    SegmentOptions head;
    head.task = 0;
    layout.add("head", {size}, head);
    const host::Work work(layout, host::projections(layout, Projection::model));
    std::int32_t next = 0;
    for (const kernels::Span& span : work.spans) {
      EXPECT_EQ(span.first, next);
      EXPECT_LT(span.first, span.last);
      std::int64_t elements = 0;
      for (std::int32_t c = span.first; c < span.last; ++c) {
        elements += work.chunks[static_cast<std::size_t>(c)].count;
      }
      EXPECT_LE(elements, kernels::max_span_elements);
      next = span.last;
    }
    EXPECT_EQ(next, static_cast<std::int32_t>(work.chunks.size()));
  }
}

}  // namespace
}  // namespace gramstep::test
