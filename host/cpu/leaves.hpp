// The CPU backend's inner loops: compiled once for every instruction set, chosen at run time.
#pragma once

#include <cstdint>
#include <string_view>
#include <tuple>
#include <variant>

#include "gramstep/rules/rules.hpp"
#include "kernels/alone.hpp"
#include "kernels/gram.hpp"
#include "kernels/plan.hpp"
#include "kernels/update.hpp"

// NAME of the instruction set that the build compiles a leaf's source for.
#define GRAMSTEP_JOIN_OF(a, b) a##b
#define GRAMSTEP_JOIN(a, b) GRAMSTEP_JOIN_OF(a, b)
#define GRAMSTEP_OF_ISA(name) GRAMSTEP_JOIN(name, GRAMSTEP_ISA)

namespace gramstep::host {

/// Columns whose products are summed in fp32, gram_block / gram_lanes to a lane, before they are
/// widened.
inline constexpr int gram_block = 1024;

/// Lanes that sum separately, on every instruction set, so that all of them give the same bits.
inline constexpr int gram_lanes = 16;

/// Most ways a rule's options can select its update.
inline constexpr int max_updates = 4;

/// Scratch of a thread's gram stage, [pairs_of(K), gram_lanes] each.
struct GramSums {
  float* fp32;    // of one block
  double* lanes;  // of a span
};

/// Partials of spans [first, last).
using GramLeaf = void(const kernels::GramArguments& a, std::int64_t first, std::int64_t last,
                      const GramSums& sums);

/// Gram matrix and weights of one projection: the first part of the plan.
using WeightsLeaf = void(const kernels::PlanArguments& a,
                         const kernels::OneOfT<Aggregator>& aggregator, std::int64_t projection);

/// A product of matrices that are stored by column: out = alpha a b + beta c, a [rows, inner], b [inner,
/// columns]; c null for none, out apart from all of them.
struct Product {
  const float* a;
  const float* b;
  const float* c;
  float* out;
  std::int64_t rows, inner, columns;
  float alpha, beta;
  bool a_transposed, b_transposed;  // as they are stored
};

/// Columns of a product that are worked out together; its bits do not depend on who does.
inline constexpr std::int64_t product_columns = 128;

/// Columns [first, last) of a product, at most product_columns.
using ProductLeaf = void(const Product& product, std::int64_t first, std::int64_t last);

/// The loops of one instruction set. They run on the calling thread, in its floating-point mode.
struct Leaves {
  /// Brings the momenta of one span up to date.
  void (*momentum)(const kernels::GramArguments& a, const kernels::MomentumFactors& factors,
                   std::int64_t span);

  GramLeaf* gram;
  WeightsLeaf* weights;

  /// The passes of one update of one rule, in their order, those that it has: over items [first, last) of
  /// one kind. by_element: the aggregator that combines element by element; null for a weighted sum.
  struct Update {
    using Pass = void (*)(const kernels::UpdateArguments& a,
                          const kernels::OneOfT<Aggregator>* by_element, std::int64_t first,
                          std::int64_t last);
    Pass tiles = nullptr;        // sums of squares by row and column, over tiles
    Pass lines = nullptr;        // what is kept of them, over lines
    Pass row_factors = nullptr;  // what rows' elements are handed, over lines
    Pass measure = nullptr;      // norms by segment, over chunks
    // And what they make of the scalars of all segments.
    void (*settle)(const kernels::UpdateArguments& a) = nullptr;
    Pass normalize = nullptr;  // of what is made orthogonal before the last, over chunks
    Pass apply = nullptr;
  };
  Update update[std::variant_size_v<Rule>][max_updates];

  /// to [count] = sum_k weights_k rows_k [at, at + count), rows of that type.
  void (*combine)(DType dtype, const void* const* rows, const float* weights, int tasks,
                  std::int64_t at, int count, float* to);

  ProductLeaf* product;

  /// One run of an accumulation.
  void (*accumulate)(const kernels::AccumulateBody& body, std::int64_t run);

  /// The passes of a rule with its options, for matrices or for all else.
  const Update& update_of(const Rule& rule, bool matrix = false) const {
    const int which =
        std::visit([=](const auto& held) { return rules::update_of(held, matrix); }, rule);
    return update[rule.index()][which];
  }
};

/// Leaves by the name of their instruction set, e.g. "x86-64-v4".
struct NamedLeaves {
  std::string_view isa;
  const Leaves* leaves;
};

/// The best instruction set this machine has, or the lesser one that GRAMSTEP_CPU_ISA names. Throws
/// InvalidArgument for a name that is not one of them, DeviceUnavailable where the machine lacks it.
NamedLeaves choose_leaves();

}  // namespace gramstep::host
