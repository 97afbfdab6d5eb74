// One of every aggregator, with options that fit K tasks, for tests that hold for all of them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "gramstep/text.hpp"
#include "gramstep/aggregators/traits.hpp"
#include "gramstep/error.hpp"

namespace gramstep::test {

/// What does not go by default: options that an aggregator needs for K tasks. Nothing where K is too
/// few for it.
inline std::optional<Aggregator> made_for(std::string_view name, int tasks) {
  std::string text(name);
  if (name == "Constant") {
    text += "(values=[";
    for (int k = 0; k < tasks; ++k) text += (k == 0 ? "" : ", ") + std::to_string(0.5 * k - 1);
    text += "])";
  }
  const Aggregator aggregator = aggregator_of(text);
  try {
    std::visit([&](const auto& held) { held.validate(tasks); }, aggregator);
  } catch (const InvalidArgument&) {
    return std::nullopt;
  }
  return aggregator;
}

/// All of them that can be had for K tasks.
inline std::vector<Aggregator> every_aggregator(int tasks) {
  std::vector<Aggregator> all;
  for (const std::string_view name : aggregator_names()) {
    if (const auto made = made_for(name, tasks)) all.push_back(*made);
  }
  return all;
}

/// Whether it combines element by element.
inline bool elementwise(const Aggregator& aggregator) {
  return std::visit(
      [](const auto& held) { return aggregators::Elementwise<std::decay_t<decltype(held)>>; },
      aggregator);
}
/// Whether it keeps momenta.
inline bool with_momentum(const Aggregator& aggregator) {
  return std::visit(
      [](const auto& held) { return aggregators::WithMomentum<std::decay_t<decltype(held)>>; },
      aggregator);
}

/// The names as test parameters.
inline std::vector<std::string> every_name() {
  const auto names = aggregator_names();
  return {names.begin(), names.end()};
}

}  // namespace gramstep::test
