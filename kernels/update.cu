// Launches of the update stage: a body for each of a rule's updates, for K = 1, K = 2 and any K, and for
// aggregators that combine element by element.
#include "kernels/device_context.cuh"
#include "kernels/launch.hpp"

namespace gramstep::kernels {
namespace {

template <class Update>
void launch_combined(const UpdateArguments& a, const Aggregator& aggregator, Stream stream) {
  const auto launch_with = [&](const auto& combination) {
    using Combination = std::decay_t<decltype(combination)>;
    const std::int64_t chunks = a.work.chunk_count;
    if constexpr (rules::Measured<Update>) {
      launch(MeasureBody<Update, Combination>{a, combination}, chunks, stream,
             "launch of the pass that measures");
      launch(SettleBody<Update>{a}, a.segment_count, stream, "launch of the norms' sums");
    }
    launch(UpdateBody<Update, Combination>{a, combination}, chunks, stream,
           "launch of the update stage");
  };
  const bool by_element = std::visit(
      [](const auto& held) { return aggregators::Elementwise<std::decay_t<decltype(held)>>; },
      aggregator);
  if (by_element) return launch_with(ByElement{OneOfT<Aggregator>(aggregator)});
  if (a.tasks == 1) return launch_with(WeightedSum<1>{});
  if (a.tasks == 2) return launch_with(WeightedSum<2>{});
  launch_with(WeightedSum<0>{});
}

}  // namespace

void launch_update(const UpdateArguments& a, const Aggregator& aggregator, const Rule& rule,
                   Stream stream) {
  std::visit(
      [&](const auto& held) {
        rules::with_update(held, [&](auto update) {
          launch_combined<decltype(update)>(a, aggregator, stream);
        });
      },
      rule);
}

}  // namespace gramstep::kernels
