// Launches of the gram stage.
#include "kernels/device_context.cuh"
#include "kernels/gram_bodies.hpp"
#include "kernels/launch.hpp"

namespace gramstep::kernels {

void launch_gram(const GramArguments& a, const Aggregator& aggregator, const Losses& losses,
                 Stream stream) {
  const std::int64_t blocks = std::int64_t{a.work.shared_spans} + a.work.head_spans;
  with_gram_body(a, OneOfT<Aggregator>(aggregator), losses, [&](const auto& body) {
    launch(body, blocks, stream, "launch of the gram stage");
  });
}

}  // namespace gramstep::kernels
