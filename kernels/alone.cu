// Launches of the stages alone.
#include "kernels/device_context.cuh"
#include "kernels/launch.hpp"

namespace gramstep::kernels {
namespace {

__global__ void count_step(StepState* state) { state->steps += 1; }

}  // namespace

void launch_gram_sum(const GramSumBody& body, Stream stream) {
  launch(body, 1, stream, "launch of the sum of G");
}

template <class Type>
void launch_combine(const CombineBody<Type>& body, Stream stream) {
  launch(body, body.chunk_count, stream, "launch of the combination");
}
template void launch_combine(const CombineBody<Float32>& body, Stream stream);
template void launch_combine(const CombineBody<AnyType>& body, Stream stream);

void launch_accumulation(const AccumulateBody& body, Stream stream) {
  launch(body, body.runs(), stream, "launch of the accumulation");
}

void launch_evaluation(const EvaluationBody& body, Stream stream) {
  launch(body, body.chunk_count, stream, "launch of the evaluation's parameters");
}

void launch_count_step(StepState* state, Stream stream) {
  count_step<<<1, 1, 0, stream>>>(state);
  check(cudaGetLastError(), "launch of count_step");
}

}  // namespace gramstep::kernels
