// The stages alone: G for the caller, and the combination without a rule.
#pragma once

#include "kernels/decision.hpp"
#include "kernels/update.hpp"

namespace gramstep::kernels {

/// One block: G [K, K] from the partials of the gram stage.
struct GramSumBody {
  static constexpr int threads = plan_threads;
  Partials partials;
  int tasks;
  double* gram;

  struct Shared {
    PlanSums sums;
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    collect_gram(x, shared.sums, partials, tasks, [] { return 1.0; }, gram);
  }
};

/// combined = sum_k weights_k rows_k, with the roundings of the update stage. Blocks take chunks.
/// Traffic: K reads of a row's element and a write of 4 bytes an element.
template <class Type>
struct CombineBody {
  static constexpr int threads = update_threads;
  const void* rows[max_tasks];
  const double* weights;  // [K]
  float* combined;
  const Chunk* chunks;
  DType row_type;
  std::int32_t chunk_count;
  std::int32_t tasks;
  bool aligned;  // all pointers on 16 bytes

  struct Shared {
    float weights[max_tasks];
  };

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared& shared) const {
    for (int k = x.thread(); k < tasks; k += x.threads()) {
      shared.weights[k] = static_cast<float>(weights[k]);
    }
    x.sync();
    for (std::int64_t c = x.block(); c < chunk_count; c += x.blocks()) {
      const Chunk chunk = chunks[c];
      const int vectors = aligned ? chunk.count / 4 : 0;
      sweep<4>(x, shared, chunk.begin, 0, 4 * vectors);
      sweep<1>(x, shared, chunk.begin, 4 * vectors, chunk.count);
    }
  }

 private:
  template <int Width, class X>
  GRAMSTEP_BODY void sweep(const X& x, const Shared& shared, std::int64_t first, int begin,
                           int end) const {
    for (int i = begin + Width * x.thread(); i < end; i += Width * x.threads()) {
      float d[Width];
      kernels::combine<0>(Type(row_type), rows, shared.weights, tasks, first + i, d);
      store(d, combined + first + i);
    }
  }
};

/// sum += scale * gradient. Blocks take runs of `run` elements in turn. Traffic: a read of each and a write.
struct AccumulateBody {
  static constexpr int threads = update_threads;
  static constexpr int run = 4 * chunk_elements;
  float* sum;
  const void* gradient;
  DType dtype;
  std::int64_t size;
  float scale;
  bool aligned;  // both on 16 bytes

  struct Shared {};

  std::int64_t runs() const { return (size + run - 1) / run; }

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared&) const {
    for (std::int64_t r = x.block(); r * run < size; r += x.blocks()) {
      const std::int64_t end = (r + 1) * run < size ? (r + 1) * run : size;
      const std::int64_t vectors = aligned ? (end - r * run) / 4 : 0;
      sweep<4>(x, r * run, r * run + 4 * vectors);
      sweep<1>(x, r * run + 4 * vectors, end);
    }
  }

 private:
  template <int Width, class X>
  GRAMSTEP_BODY void sweep(const X& x, std::int64_t first, std::int64_t last) const {
    for (std::int64_t at = first + Width * x.thread(); at < last; at += Width * x.threads()) {
      float g[Width], to[Width];
      load(AnyType(dtype), gradient, at, g);
      load(sum + at, to);
      GRAMSTEP_UNROLL
      for (int c = 0; c < Width; ++c) to[c] += scale * g[c];
      store(to, sum + at);
    }
  }
};

/// out = params + beyond (z - params): from y to the average x of a schedule-free rule, where
/// y = (1 - share) z + share x and beyond = 1 - 1 / share; a copy where a segment took no step yet, or
/// there is no z. Blocks take chunks. Traffic: two reads and a write an element. out, of the parameters'
/// type, may be params.
struct EvaluationBody {
  static constexpr int threads = update_threads;
  const void* params;
  const float* z;  // null: no average
  void* out;
  Storage storage;
  const Chunk* chunks;
  const SegmentState* segments;
  std::int32_t chunk_count;
  float beyond;

  struct Shared {};

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared&) const {
    for (std::int64_t c = x.block(); c < chunk_count; c += x.blocks()) {
      const Chunk chunk = chunks[c];
      const bool begun = segments[chunk.segment].steps > 0;
      for (int i = x.thread(); i < chunk.count; i += x.threads()) {
        const std::int64_t at = chunk.begin + i;
        float p[1];
        load_params(storage, params, !begun, at, p);
        if (z != nullptr && begun) p[0] = lerp(p[0], z[at], beyond);
        store(storage.params, p, out, at);
      }
    }
  }
};

}  // namespace gramstep::kernels
