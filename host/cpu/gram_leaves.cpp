// The gram stage's leaf of one instruction set, which the build names GRAMSTEP_ISA and compiles this
// file for, products and sums fused.
#include "host/cpu/gram_leaf.hpp"

namespace gramstep::host {

GramLeaf GRAMSTEP_OF_ISA(gram_leaf_);
void GRAMSTEP_OF_ISA(gram_leaf_)(const kernels::GramArguments& a, std::int64_t first,
                                 std::int64_t last, const GramSums& sums) {
  gram_leaf(a, first, last, sums);
}

}  // namespace gramstep::host
