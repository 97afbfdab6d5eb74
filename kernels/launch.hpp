// The launches of the three stages and of the stages alone: each queues one kernel, gram of many partials and the
// plan of several projections two, the update of a rule that needs norms by segment three, and of Adafactor's
// matrices three more. Throw CudaError.
#pragma once

#include <functional>

#include "gramstep/optimizer.hpp"
#include "kernels/alone.hpp"
#include "kernels/gram.hpp"
#include "kernels/update.hpp"

namespace gramstep::kernels {

/// Partials of G over the shared part and of the heads' squared norm; of many of them, sums.
void launch_gram(const GramArguments& arguments, const Aggregator& aggregator, const Losses& losses,
                 Stream stream);

/// Weights, a block a projection; clip, skip, counts and scalars in the same launch where there is one
/// projection, in a second one where there are several.
void launch_plan(const PlanArguments& arguments, const Aggregator& aggregator, Stream stream);

/// Queues what makes the matrices in a buffer of state orthogonal.
using Orthogonalization = std::function<void(float* x)>;

/// Combination and rule, over all chunks of matrices or of all else; before it, of a rule that needs norms
/// by segment, a launch that measures and one that adds up.
void launch_update(const UpdateArguments& arguments, const Aggregator& aggregator, const Rule& rule,
                   bool matrices, const Orthogonalization& orthogonalize, Stream stream);

/// As launch_plan, but for the decision: weights alone, a block a Gram matrix.
void launch_weights(const PlanArguments& arguments, const Aggregator& aggregator, Stream stream);

/// G from the partials; the combination without a rule; state->steps += 1.
void launch_gram_sum(const GramSumBody& body, Stream stream);
/// Of rows of that type.
template <class Type>
void launch_combine(const CombineBody<Type>& body, Stream stream);
void launch_count_step(StepState* state, Stream stream);

void launch_accumulation(const AccumulateBody& body, Stream stream);

/// The parameters to evaluate a model with.
void launch_evaluation(const EvaluationBody& body, Stream stream);

/// to->controls = controls, as an argument of the launch: no host memory has to outlive the call; the
/// same of the loss scale.
void launch_set_controls(StepState* to, const Controls& controls, Stream stream);
void launch_set_loss_scale(StepState* to, double loss_scale, Stream stream);

/// segments[segment].active = active.
void launch_set_active(SegmentState* segments, int segment, bool active, Stream stream);

}  // namespace gramstep::kernels
