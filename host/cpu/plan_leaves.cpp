// The aggregators' solves for one instruction set, which the build names GRAMSTEP_ISA and compiles this
// file for: their loops over rows are worth vectorising from K = 16 on.
#include "host/cpu/leaves.hpp"
#include "host/cpu/vector.hpp"

namespace gramstep::host {
WeightsLeaf GRAMSTEP_OF_ISA(weights_leaf_);
void GRAMSTEP_OF_ISA(weights_leaf_)(const kernels::PlanArguments& a,
                                    const kernels::OneOfT<Aggregator>& aggregator,
                                    std::int64_t projection) {
  kernels::PlanSums room;
  aggregator.visit([&](const auto& held) {
    using A = std::decay_t<decltype(held)>;
    kernels::ProjectionPlan<A>{a, held, projection, *a.state, nullptr, nullptr}(LeafThread{}, room);
  });
}

}  // namespace gramstep::host
