// Aggregation: the stages alone, for those who keep their own optimizer.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "gramstep/aggregators/aggregators.hpp"
#include "gramstep/export.hpp"
#include "gramstep/optimizer.hpp"

namespace gramstep::inline v1 {

/// Everything an aggregation is made from. Validated as a whole by Aggregation's constructor.
struct AggregationOptions {
  Aggregator aggregator = Sum{};  ///< one that chooses weights: not element by element, no momentum
  int tasks = 2;                  ///< K, 1 to max_tasks
  std::int64_t size = 0;          ///< N, elements of a gradient row, >= 0
  std::int64_t batch = 1;         ///< B, Gram matrices that weights() solves in one call, >= 1
  double smoothing = 0.0;         ///< as OptimizerOptions::smoothing
  DType gradients = DType::float32;  ///< of the rows; float32, bfloat16 or float16
  Device device = cpu();
};

/// gram, weights and combine, each on its own:
///
///   G = J J^T  [K, K]        one pass over K rows of N elements
///   w = weights(G)  [B, K]   B Gram matrices in one launch, a block each
///   d = J^T w  [N]           one pass
///
/// All memory but the workspace is the caller's, on the device; so are G and w between the calls, which
/// the caller may change. Nothing is allocated or waited for; work is queued on the caller's stream, and
/// may be captured in a graph. Alignment of 16 bytes is what makes it fast. Deterministic, as Optimizer
/// is. Move-only. Not safe for concurrent use of one object.
class GRAMSTEP_EXPORT Aggregation {
 public:
  /// Validates everything, then takes memory for workspace and the aggregator's state on the device.
  /// Throws InvalidArgument, DeviceUnavailable, OutOfMemory.
  explicit Aggregation(const AggregationOptions& options);
  ~Aggregation();
  Aggregation(Aggregation&&) noexcept;
  Aggregation& operator=(Aggregation&&) noexcept;

  /// Writes G, gram [K, K] row-major in double, of rows [K] pointers to N elements each; the pointers'
  /// array is host memory. Error as Optimizer's gram stage. A row that is not finite makes its entries
  /// so. Throws InvalidArgument for memory that is null, misaligned or of another device.
  void gram(const Rows& rows, std::span<double> gram, Stream stream = nullptr);

  /// Writes the weights [B, K] for gram [B, K, K], each symmetric, in double. losses: [K] floats, host
  /// or device memory, shared by all, for an aggregator that needs them. Counts as a step of the
  /// aggregator: its state and randomness advance, per matrix of the batch.
  /// Throws InvalidArgument as above; on the CPU also for a matrix that is not symmetric (to 1e-5 of the
  /// norms, the error of fp32 sums) or not finite, and for losses that are unfit. On CUDA, where looking
  /// would mean waiting, such a matrix gets NaN for weights.
  void weights(std::span<const double> gram, std::span<double> weights,
               std::span<const float> losses = {}, Stream stream = nullptr);

  /// Writes combined [N] = sum_k weights_k rows_k for weights [K] in double; each is rounded to fp32
  /// first, products and sums are rounded to fp32 in task order, as in Optimizer's update. combined must not
  /// overlap a row. Throws as gram().
  void combine(const Rows& rows, std::span<const double> weights, std::span<float> combined,
               Stream stream = nullptr);

  /// How the last weights() went, [B]: iterations, and how far the weights miss the aggregator's promise.
  /// Waits for the work queued on `stream`.
  std::vector<Solution> solutions(Stream stream = nullptr) const;

  /// How many times weights() was called: the aggregator's steps. Waits for the work queued on `stream`.
  std::int64_t steps(Stream stream = nullptr) const;

  /// Puts that count back. A run that is restored, steps first, for where the state lies depends on
  /// their count, then every piece of the state, goes on to the same bits. Waits for the work queued on
  /// `stream`. Throws InvalidArgument for a count below 0.
  void set_steps(std::int64_t steps, Stream stream = nullptr);

  /// A piece of the aggregator's state, [B, size], by the names that its plan_states gives. Waits for
  /// the work queued on `stream`. Throws InvalidArgument for an unknown name.
  std::vector<double> plan_state(std::string_view name, Stream stream = nullptr) const;
  /// Replaces it; see set_steps. Throws InvalidArgument for an unknown name or another number of values.
  void set_plan_state(std::string_view name, std::span<const double> values,
                      Stream stream = nullptr);

  /// The options it was made from.
  const AggregationOptions& options() const;

 private:
  class Implementation;
  const Implementation& checked(std::string_view member) const;
  Implementation& checked(std::string_view member);

  std::unique_ptr<Implementation> implementation_;
};

}  // namespace gramstep::inline v1
