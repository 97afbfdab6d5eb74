// Launches of the gram stage: K rounded up to one of four unrolled bodies, or tiled; momenta.
#include "kernels/device_context.cuh"
#include "kernels/gram_tiled.hpp"
#include "kernels/launch.hpp"

namespace gramstep::kernels {

void launch_gram(const GramArguments& a, const Aggregator& aggregator, const Losses& losses,
                 Stream stream) {
  const std::int64_t blocks = std::int64_t{a.work.shared_spans} + a.work.head_spans;
  const char* name = "launch of the gram stage";
  if (a.momenta.rows != nullptr) {
    const MomentumSource momenta{OneOfT<Aggregator>(aggregator), losses};
    return launch(GramTiledBody<MomentumSource>{a, momenta}, blocks, stream, name);
  }
  if (a.tasks == 1) return launch(GramBody<1>{a}, blocks, stream, name);
  if (a.tasks == 2) return launch(GramBody<2>{a}, blocks, stream, name);
  if (a.tasks <= 4) return launch(GramBody<4>{a}, blocks, stream, name);
  if (a.tasks <= 8) return launch(GramBody<8>{a}, blocks, stream, name);
  launch(GramTiledBody<GradientSource>{a, {}}, blocks, stream, name);
}

}  // namespace gramstep::kernels
