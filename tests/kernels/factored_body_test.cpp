// Second moments by row and by column under the fiber runner: where elements find theirs, sums of squares and
// what is made of them, in every way that rows and columns are dealt out.
#include "tests/kernels/stage_rig.hpp"

namespace gramstep::test {
namespace {

/// Every element of a chunk, against divisions.
TEST(Positions, AreThoseOfDivision) {
  const std::int64_t lengths[] = {1,    2,    3,    4,    5,    7,    12,   100,
                                  1023, 2048, 4095, 4096, 4097, 5000, 9001, std::int64_t{1} << 33};
  for (const std::int64_t rows : lengths) {
    for (const std::int64_t columns : lengths) {
      if (rows > 9001 && columns > 9001) continue;
      const kernels::SegmentPlace place{{3 * rows * columns, rows, columns}, 256, {}};
      const std::int64_t chunks = (place.stack.size + 4095) / kernels::chunk_elements;
      for (const std::int64_t chunk : {std::int64_t{0}, chunks / 3, chunks / 2, chunks - 1}) {
        const std::int64_t begin = chunk * kernels::chunk_elements;
        const kernels::Positions positions(place, 256 + begin);
        for (int i = 0; i < kernels::chunk_elements; ++i) {
          const std::int64_t row = (begin + i) / columns;
          const kernels::Position after = positions.after(i);
          ASSERT_EQ(positions.first.row + after.row, row) << rows << " x " << columns;
          ASSERT_EQ(positions.first.column + after.column,
                    row / rows * columns + (begin + i) % columns)
              << rows << " x " << columns << ", element " << begin + i;
        }
      }
    }
  }
}

/// Lines of one piece and of more than share them; rows in more turns of a block than one; columns in more
/// blocks than one; stacks.
Layout lines_layout() {
  Layout layout;
  layout.add("tall", {70000, 1});
  layout.add("wide", {3, 9001});
  layout.add("many", {600, 300});
  layout.add("stack", {2, 3, 130, 520});
  return layout;
}

/// A step of Adafactor by fibers, and by the CPU's loops.
StageRig decided() {
  StageRig rig(lines_layout(), {.rule = Adafactor{.lr = 0.1, .beta2_decay = -0.5}});
  for (auto& segment : rig.segments) segment.steps = 9;
  rig.step.steps = 9;
  rig.run_plan_on_cpu();
  return rig;
}

TEST(FactoredBodies, HaveTheBitsOfTheCpu) {
  StageRig cpu = decided();
  cpu.run_update_on_cpu();
  cpu.expect_padding_untouched();
  for (const std::int64_t blocks : {7, 2000}) {
    StageRig fibers = decided();
    fibers.run_update<Adafactor>({.order = simt::Order::random}, blocks);
    EXPECT_TRUE(same_bits(fibers.matrix_sums, cpu.matrix_sums));
    EXPECT_TRUE(same_bits(fibers.measures, cpu.measures));
    EXPECT_TRUE(same_bits(fibers.params.span(), cpu.params.span()));
    for (std::size_t s = 0; s < cpu.states.size(); ++s) {
      EXPECT_TRUE(same_bits(fibers.states[s].span(), cpu.states[s].span())) << "state " << s;
    }
  }
}

/// What lines keep and hand to their elements, against plain sums in double.
TEST(FactoredBodies, KeepMeansOfSquares) {
  const StageRig before = decided();
  StageRig rig = decided();
  rig.run_update_on_cpu();
  // 11 roundings of a sum, its mean's, and three on the way to what is kept; of a factor's half of these, those of
  // the mean over rows, and three of its own.
  constexpr double kept_bound = 15 * 0x1p-24, factor_bound = 20 * 0x1p-24;
  for (int s = 0; s < rig.layout.segments(); ++s) {
    const auto& stack = rig.setup.places.segments[static_cast<std::size_t>(s)].stack;
    const auto rows = static_cast<std::size_t>(stack.rows);
    const auto columns = static_cast<std::size_t>(stack.columns);
    const auto parts = rig.states_of(s), old = before.states_of(s);
    const std::span<float> g = rig.segment(rig.rows[0], s);
    const auto take =
        static_cast<double>(rig.segments[static_cast<std::size_t>(s)].get<AdafactorScalars>().take);
    for (std::size_t m = 0; m < g.size() / (rows * columns); ++m) {
      std::vector<double> of_row(rows), of_column(columns);
      double mean = 0;
      for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t j = 0; j < columns; ++j) {
          const auto each = static_cast<double>(g[(m * rows + i) * columns + j]);
          of_row[i] += each * each / static_cast<double>(columns);
          of_column[j] += each * each / static_cast<double>(rows);
        }
      }
      const auto expect_kept = [&](std::size_t buffer, std::size_t at, double squares) {
        const auto kept = static_cast<double>(old[buffer][at]);
        ASSERT_NEAR(static_cast<double>(parts[buffer][at]), kept + take * (squares - kept),
                    kept_bound * (kept + squares));
      };
      const auto expect_factor = [&](std::size_t buffer, std::size_t at, double second) {
        const double factor = 1 / std::sqrt(second);
        ASSERT_NEAR(static_cast<double>(parts[buffer][at]), factor, factor_bound * factor);
      };
      for (std::size_t j = 0; j < columns; ++j) {
        expect_kept(2, m * columns + j, of_column[j]);
        expect_factor(1, m * columns + j, static_cast<double>(parts[2][m * columns + j]));
      }
      for (std::size_t i = 0; i < rows; ++i) {
        expect_kept(3, m * rows + i, of_row[i]);
        mean += static_cast<double>(parts[3][m * rows + i]) / static_cast<double>(rows);
      }
      for (std::size_t i = 0; i < rows; ++i) {
        expect_factor(0, m * rows + i, static_cast<double>(parts[3][m * rows + i]) / mean);
      }
    }
  }
}

}  // namespace
}  // namespace gramstep::test
