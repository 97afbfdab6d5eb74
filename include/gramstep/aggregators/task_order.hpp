// In which order a task meets the others: PCGrad's and GradVac's.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "gramstep/export.hpp"
#include "gramstep/philox.hpp"
#include "gramstep/solvers/pivot.hpp"

namespace gramstep::inline v1 {

/// In which order a task meets the others.
enum class TaskOrder {
  fresh,  ///< a random permutation for every task and every step, as in the papers and TorchJD
  fixed,  ///< by task index, as the authors' own PCGrad does, whose shuffle has no effect
};
/// The names of the values, in their order.
constexpr std::array<std::string_view, 2> names_of(TaskOrder) { return {"fresh", "fixed"}; }

/// Writes the order in which task `i` meets all K tasks, itself among them, into met [K]. A fresh
/// order depends on (seed, step, group, i) alone, on every device.
GRAMSTEP_BODY void write_task_order(TaskOrder order, std::uint64_t seed, int i, int tasks,
                                    std::int64_t step, std::int64_t group, unsigned char* met) {
  GRAMSTEP_ROLLED
  for (int j = 0; j < tasks; ++j) met[j] = static_cast<unsigned char>(j);
  if (order == TaskOrder::fixed) return;
  PhiloxWords random{};
  GRAMSTEP_ROLLED
  for (int j = tasks - 1; j > 0; --j) {  // Fisher and Yates, from the end
    const int draw = tasks - 1 - j;
    if (draw % 4 == 0) {
      // A task takes at most 16 blocks of four draws; the group stands above them.
      const auto block = static_cast<std::uint32_t>(draw / 4 + (group << 4));
      random =
          philox(seed, {{static_cast<std::uint32_t>(i), block, static_cast<std::uint32_t>(step),
                         static_cast<std::uint32_t>(step >> 32)}});
    }
    // Turned, not indexed: registers cannot be.
    const std::uint64_t drawn = random.word[0];
    random = {{random.word[1], random.word[2], random.word[3], 0}};
    const int other = static_cast<int>((drawn * static_cast<unsigned>(j + 1)) >> 32);
    const unsigned char swapped = met[j];
    met[j] = met[other];
    met[other] = swapped;
  }
}

}  // namespace gramstep::inline v1
