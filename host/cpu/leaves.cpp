// The leaves of one instruction set, which the build names GRAMSTEP_ISA and compiles this file for.
#include "host/cpu/leaves.hpp"
#include "host/cpu/factored_leaf.hpp"
#include "host/cpu/momentum_leaf.hpp"
#include "host/cpu/update_leaf.hpp"

namespace gramstep::host {

GramLeaf GRAMSTEP_OF_ISA(gram_leaf_);
ProductLeaf GRAMSTEP_OF_ISA(product_leaf_);
WeightsLeaf GRAMSTEP_OF_ISA(weights_leaf_);

namespace {

template <class Update>
constexpr Leaves::Update passes_of() {
  Leaves::Update passes;
  if constexpr (rules::Factored<Update>) {
    passes.tiles = tiles_leaf<Update>;
    passes.lines = lines_leaf<kernels::LinesBody<Update>>;
    passes.row_factors = lines_leaf<kernels::RowFactorsBody<Update>>;
  }
  if constexpr (rules::Measured<Update>) {
    passes.measure = measure_leaf<Update>;
    passes.settle = settle_leaf<Update>;
  }
  if constexpr (rules::Orthogonalized<Update>) passes.normalize = normalize_leaf<Update>;
  passes.apply = update_leaf<Update>;
  return passes;
}

template <class Updates, std::size_t... Which>
constexpr void fill_row(Leaves::Update (&row)[max_updates], std::index_sequence<Which...>) {
  static_assert(sizeof...(Which) <= max_updates);
  ((row[Which] = passes_of<std::tuple_element_t<Which, Updates>>()), ...);
}

template <std::size_t... Index>
constexpr Leaves make_leaves(std::index_sequence<Index...>) {
  Leaves leaves{momentum_leaf,
                GRAMSTEP_OF_ISA(gram_leaf_),
                GRAMSTEP_OF_ISA(weights_leaf_),
                {},
                combine_all,
                GRAMSTEP_OF_ISA(product_leaf_),
                accumulate_leaf};
  (fill_row<typename std::variant_alternative_t<Index, Rule>::Updates>(
       leaves.update[Index],
       std::make_index_sequence<
           std::tuple_size_v<typename std::variant_alternative_t<Index, Rule>::Updates>>{}),
   ...);
  return leaves;
}

}  // namespace

extern const Leaves GRAMSTEP_OF_ISA(leaves_);
constinit const Leaves GRAMSTEP_OF_ISA(leaves_) =
    make_leaves(std::make_index_sequence<std::variant_size_v<Rule>>{});

}  // namespace gramstep::host
