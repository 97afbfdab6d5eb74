// Launches of the gram stage.
#include "kernels/device_context.cuh"
#include "kernels/fold.hpp"
#include "kernels/gram_bodies.hpp"
#include "kernels/launch.hpp"

namespace gramstep::kernels {

void launch_gram(const GramArguments& a, const Aggregator& aggregator, const Losses& losses,
                 Stream stream) {
  const std::int64_t blocks = std::int64_t{a.work.shared_spans} + a.work.head_spans;
  with_gram_body(a, OneOfT<Aggregator>(aggregator), losses, [&](const auto& body) {
    launch(body, blocks, stream, "launch of the gram stage");
  });
  const std::int32_t fold = fold_of(a.work, a.tasks);
  if (fold == 1) return;
  const FoldBody body{a.partials, a.work.shared_spans, pairs_of(a.tasks), fold};
  launch(body, body.blocks(), stream, "launch of the sums of partials");
}

}  // namespace gramstep::kernels
