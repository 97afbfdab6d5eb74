// Launches of the update stage: a body for each of a rule's updates, for K = 1, K = 2 and any K, and for
// aggregators that combine element by element; for memory of other types than fp32 one for any K and any
// types.
#include "kernels/device_context.cuh"
#include "kernels/factored.hpp"
#include "kernels/launch.hpp"
#include "kernels/measure.hpp"
#include "kernels/normalize.hpp"

namespace gramstep::kernels {
namespace {

/// The passes of an update with one way of combining, in their order; those before the last are for rules
/// that need them.
template <class Update, class Combination>
void launch_passes(const UpdateArguments& a, const Combination& combination,
                   const Orthogonalization& orthogonalize, Stream stream) {
  const std::int64_t chunks = a.work.chunk_count;
  if constexpr (rules::Factored<Update>) {
    launch(TileBody<Update, Combination>{a, combination}, a.matrices.tile_count, stream,
           "launch of the sums by row and column");
    launch(LinesBody<Update>{a}, a.matrices.lines_count, stream,
           "launch of the rows' and columns' moments");
    launch(RowFactorsBody<Update>{a}, a.matrices.lines_count, stream,
           "launch of the rows' factors");
  }
  if constexpr (rules::Measured<Update>) {
    launch(MeasureBody<Update, Combination>{a, combination}, chunks, stream,
           "launch of the pass that measures");
    launch(SettleBody<Update>{a}, a.segment_count, stream, "launch of the norms' sums");
  }
  if constexpr (rules::Orthogonalized<Update>) {
    launch(NormalizeBody<Update>{a}, chunks, stream, "launch of the pass that normalizes");
    orthogonalize(static_cast<float*>(a.states[Update::orthogonalized]));
  }
  launch(UpdateBody<Update, Combination>{a, combination}, chunks, stream,
         "launch of the update stage");
}

template <class Update>
void launch_combined(const UpdateArguments& a, const Aggregator& aggregator,
                     const Orthogonalization& orthogonalize, Stream stream) {
  const auto launch_with = [&](const auto& combination) {
    launch_passes<Update>(a, combination, orthogonalize, stream);
  };
  const bool by_element = std::visit(
      [](const auto& held) { return aggregators::Elementwise<std::decay_t<decltype(held)>>; },
      aggregator);
  if (!a.storage.plain()) {
    return launch_with(AnyCombination{{OneOfT<Aggregator>(aggregator)}, by_element});
  }
  if (by_element) return launch_with(ByElement<Float32>{OneOfT<Aggregator>(aggregator)});
  if (a.tasks == 1) return launch_with(WeightedSum<Float32, 1>{});
  if (a.tasks == 2) return launch_with(WeightedSum<Float32, 2>{});
  launch_with(WeightedSum<Float32, 0>{});
}

}  // namespace

void launch_update(const UpdateArguments& a, const Aggregator& aggregator, const Rule& rule,
                   bool matrices, const Orthogonalization& orthogonalize, Stream stream) {
  std::visit(
      [&](const auto& held) {
        rules::with_update(held, matrices, [&](auto update) {
          launch_combined<decltype(update)>(a, aggregator, orthogonalize, stream);
        });
      },
      rule);
}

}  // namespace gramstep::kernels
