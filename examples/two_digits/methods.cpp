#include "methods.hpp"

#include <algorithm>
#include <stdexcept>

namespace gs = gramstep;

namespace two_digits {
namespace {

template <class Options>
const Options& find(const std::vector<Named<Options>>& list, const std::string& name) {
  const auto found = std::ranges::find(list, name, &Named<Options>::name);
  if (found == list.end()) throw std::invalid_argument("no method is called '" + name + "'");
  return found->options;
}

}  // namespace

// Learning rates: the best mean accuracy on the validation digits over a coarse grid, with both
// aggregators; of rates within 0.2 points the smallest. README.md has the grid.
const std::vector<Named<gs::Rule>>& rules() {
  static const std::vector<Named<gs::Rule>> list{
      {"sgd", gs::SGD{.lr = 0.2}},
      {"momentum", gs::SGD{.lr = 0.1, .momentum = 0.9}},
      {"adam", gs::Adam{.lr = 1e-3}},
      {"adamw", gs::AdamW{.lr = 1e-3}},
  };
  return list;
}

const std::vector<Named<gs::Aggregator>>& aggregators() {
  static const std::vector<Named<gs::Aggregator>> list{
      {"sum", gs::Sum{}},
      {"pcgrad", gs::PCGrad{}},
  };
  return list;
}

const gs::Rule& rule_named(const std::string& name) { return find(rules(), name); }

const gs::Aggregator& aggregator_named(const std::string& name) {
  return find(aggregators(), name);
}

double lr_of(const gs::Rule& rule) {
  return std::visit([](const auto& r) { return r.lr; }, rule);
}

gs::Rule with_lr(gs::Rule rule, double lr) {
  std::visit([lr](auto& r) { r.lr = lr; }, rule);
  return rule;
}

gs::Aggregator with_seed(gs::Aggregator aggregator, std::uint64_t seed) {
  std::visit(
      [seed](auto& a) {
        if constexpr (requires { a.seed; }) a.seed = seed;
      },
      aggregator);
  return aggregator;
}

}  // namespace two_digits
