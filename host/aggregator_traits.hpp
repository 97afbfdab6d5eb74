// What the host needs to know of whichever aggregator it was given.
#pragma once

#include "gramstep/aggregators/aggregators.hpp"
#include "gramstep/aggregators/traits.hpp"

namespace gramstep::host {

/// The traits of an aggregator with its options, for K tasks.
struct AggregatorTraits {
  std::string_view name, promise;
  std::span<const PlanState> plan_states;
  std::int64_t scratch;  // doubles
  double tolerance;
  bool needs_losses, needs_positive_losses;
  bool momentum, elementwise;
};

inline AggregatorTraits traits_of(const Aggregator& aggregator, int tasks) {
  return std::visit(
      [tasks](const auto& held) {
        using A = std::decay_t<decltype(held)>;
        return AggregatorTraits{A::name,
                                aggregators::promise<A>(),
                                aggregators::plan_states<A>(),
                                A::scratch(tasks),
                                aggregators::tolerance<A>(),
                                aggregators::needs_losses(held),
                                aggregators::needs_positive_losses(held),
                                aggregators::WithMomentum<A>,
                                aggregators::Elementwise<A>};
      },
      aggregator);
}

}  // namespace gramstep::host
