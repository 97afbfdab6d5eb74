// The update stage: combine K rows and apply the rule, in one pass over memory.
//
// Traffic: K + 1 + S reads and 1 + S writes of 4 bytes an element, S the rule's states; AdamW with
// K rows 4 K + 24 bytes. All segments and all groups in one launch. A rule that needs norms by segment
// has two passes, and a launch between them that adds up: the first measures, and may bring the state up
// to date; the second applies. Which terms meet in which order is the same on every device, whatever the
// alignment, and so are the sums' bits.
#pragma once

#include "gramstep/rules/traits.hpp"
#include "kernels/combination.hpp"
#include "kernels/element_states.hpp"

namespace gramstep::kernels {

/// Whether a segment is this update's, of the two of its rule.
template <class Update>
GRAMSTEP_BODY bool is_of(const SegmentState& segment) {
  if constexpr (rules::ByKind<Update>) return (segment.matrix != 0) == Update::of_matrices;
  return true;
}

/// Whether it has a step to take as well.
template <class Update>
GRAMSTEP_BODY bool takes(const SegmentState& segment) {
  return is_of<Update>(segment) && segment.active;
}

/// One pass over all chunks: every block takes some, every thread 128 bits of every stream at a time where
/// alignment allows.
template <class Update, class Combination>
struct ElementPass {
  using Type = typename Combination::Type;
  using States = ElementStates<Update, Type>;
  const UpdateArguments& a;
  const Combination& combination;

  /// Calls function(c, chunk, segment) for the chunks of this block that the update has to see; `backward`: in
  /// the order of the last ones first.
  template <class X, class Function>
  GRAMSTEP_BODY void over_chunks(const X& x, bool backward, const Function& function) const {
    for (std::int64_t i = x.block(); i < a.work.chunk_count; i += x.blocks()) {
      const std::int64_t c = backward ? a.work.chunk_count - 1 - i : i;
      const Chunk chunk = a.work.chunks[c];
      const SegmentState& segment = a.segments[chunk.segment];
      if (takes<Update>(segment)) function(c, chunk, segment);
    }
  }

  /// Calls element(g, p, state) for the elements of a chunk that are this thread's, and puts back the
  /// parameter, and its state where WriteStates: g is the gradient to descend along, 0 unless Read.
  template <bool Read, bool WriteStates, class X, class Element>
  GRAMSTEP_BODY void apply(const X& x, const Chunk& chunk, const SegmentState& segment,
                           const Element& element) const {
    const auto of_column = [&](int, float g, float& p, float* state) { element(g, p, state); };
    if constexpr (std::is_same_v<Type, Float32>) {
      const Streams streams = streams_of(chunk, segment);
      sweep(x, chunk, [&]<int Width>(std::integral_constant<int, Width>, int i) {
        visit<Width, Read, true, WriteStates>(streams, chunk.begin + i, i, of_column);
      });
    } else {
      over_fours<Read, true, WriteStates>(x, chunk, segment, of_column);
    }
  }

  /// Leaves the gradients of a chunk at zero: each thread those that it reads.
  template <class X>
  GRAMSTEP_BODY void zero(const X& x, const Chunk& chunk) const {
    const Zeroed& to = a.zeroed;
    const bool head = chunk.begin >= a.work.shared_size;
    const std::int64_t first = chunk.begin - (head ? a.work.shared_size : 0);
    const float zeros[4] = {};
    for (int i = 4 * x.thread(); i < chunk.count; i += 4 * x.threads()) {
      with_place(first + i, chunk.count - i, [&](const auto& at) {
        if (head) return store(to.dtype, zeros, to.heads, at);
        for (int k = 0; k < a.tasks; ++k) store(to.dtype, zeros, to.rows[k], at);
      });
    }
  }

  /// Calls element(column, g, p, state) for the elements of a chunk that are this thread's, four
  /// neighbours, columns 0 to 3, whatever their alignment; puts back the state where WriteStates.
  template <bool WriteStates, class X, class Element>
  GRAMSTEP_BODY void measure(const X& x, const Chunk& chunk, const SegmentState& segment,
                             const Element& element) const {
    over_fours<true, false, WriteStates>(x, chunk, segment, element);
  }

 private:
  /// As measure, and puts back parameters where WriteParams: the gradient is 0 unless Read. A warp's elements
  /// are a block of states of 8 bits.
  template <bool Read, bool WriteParams, bool WriteStates, class X, class Element>
  GRAMSTEP_BODY void over_fours(const X& x, const Chunk& chunk, const SegmentState& segment,
                                const Element& element) const {
    const Streams streams = streams_of(chunk, segment);
    if constexpr (WriteStates && puts_fours) {
      // Whole warps go round: they find the scale of a block of state together.
      for (int i = 4 * x.thread(); i - 4 * x.lane() < chunk.count; i += 4 * x.threads()) {
        float kept[Update::states + 1][4] = {};
        const auto keep = [&](int column, float g, float& p, float* state) {
          element(column, g, p, state);
          GRAMSTEP_UNROLL
          for (int s = 0; s < Update::states; ++s) kept[s][column] = state[s];
        };
        with_place(chunk.begin + i, chunk.count - i, [&](const auto& at) {
          visit<4, Read, WriteParams, false>(streams, at, i, keep);
        });
        streams.states.put(x, kept, Few{chunk.begin + i, chunk.count - i}, a.aligned);
      }
    } else {
      int i = 4 * x.thread();
      for (const int whole = whole_fours(chunk); i < whole; i += 4 * x.threads()) {
        visit<4, Read, WriteParams, WriteStates>(streams, chunk.begin + i, i, element);
      }
      for (; i < chunk.count; i += 4 * x.threads()) {
        const Few few{chunk.begin + i, chunk.count - i};
        visit<4, Read, WriteParams, WriteStates>(streams, few, i, element);
      }
    }
  }

  /// Calls function(at) for four neighbours from `at` on, of which `left` are there: the fast way where it can.
  template <class Function>
  GRAMSTEP_BODY void with_place(std::int64_t at, int left, const Function& function) const {
    if (a.aligned && left >= 4) return function(at);
    function(Few{at, left});
  }

  /// Calls function(width, i) for the elements of a chunk that are this thread's, `width` from element i on.
  template <class X, class Function>
  GRAMSTEP_BODY void sweep(const X& x, const Chunk& chunk, const Function& function) const {
    const int whole = whole_fours(chunk);
    for (int i = 4 * x.thread(); i < whole; i += 4 * x.threads()) {
      function(std::integral_constant<int, 4>{}, i);
    }
    for (int i = whole + x.thread(); i < chunk.count; i += x.threads()) {
      function(std::integral_constant<int, 1>{}, i);
    }
  }

  /// How many elements of a chunk are in fours that are read at one access.
  GRAMSTEP_BODY int whole_fours(const Chunk& chunk) const {
    return a.aligned ? chunk.count / 4 * 4 : 0;
  }

  static constexpr bool puts_fours = !rules::ByKind<Update> && std::is_same_v<Type, AnyType>;

  /// What a chunk's elements are read from, beside the parameters.
  struct Streams {
    const SegmentState& segment;
    States states;
    GradientOf<Combination> gradient;
  };

  GRAMSTEP_BODY Streams streams_of(const Chunk& chunk, const SegmentState& segment) const {
    return {segment,
            States({a.states, a.storage, a.plan->step}, a.matrices, chunk),
            {a, combination, segment, chunk.begin}};
  }

  template <int Width, class At>
  GRAMSTEP_BODY void load_params(const SegmentState& segment, const At& at,
                                 float (&p)[Width]) const {
    if constexpr (std::is_same_v<Type, Float32>) {
      load(static_cast<const float*>(a.params), at, p);
    } else {
      kernels::load_params(a.storage, a.params, segment.steps == 1, at, p);
    }
  }

  template <int Width, class At>
  GRAMSTEP_BODY void store_params(const SegmentState& segment, const float (&before)[Width],
                                  const float (&p)[Width], const At& at) const {
    if constexpr (std::is_same_v<Type, Float32>) {
      store(p, static_cast<float*>(a.params), at);
    } else {
      kernels::store_params(a.storage, a.plan->step, segment.steps == 1, before, p, a.params, at);
    }
  }

  /// Calls element(c, g, p, state) for Width elements from element i of a chunk on, which are `at`, c below Width.
  template <int Width, bool Read, bool WriteParams, bool WriteStates, class At, class Element>
  GRAMSTEP_BODY void visit(const Streams& streams, const At& at, int i,
                           const Element& element) const {
    const auto& [segment, states, gradient] = streams;
    constexpr int count = Update::states;
    float d[Width] = {}, p[Width], before[Width] = {}, state[count + 1][Width], one[count + 1];
    // States that are behind a question come first: what was asked for before it is waited for there.
    if constexpr (Read && !rules::Factored<Update>) gradient(at, d);
    load_params(segment, at, p);
    states.load(at, i, state);
    if constexpr (Read && rules::Factored<Update>) gradient(at, d);
    GRAMSTEP_UNROLL
    for (int c = 0; c < Width; ++c) {
      if (c >= count_of<Width>(at)) break;
      before[c] = p[c];
      GRAMSTEP_UNROLL
      for (int s = 0; s < count; ++s) one[s] = state[s][c];
      element(c, segment.sign * d[c], p[c], one);
      GRAMSTEP_UNROLL
      for (int s = 0; s < count; ++s) state[s][c] = one[s];
    }
    if constexpr (WriteParams) store_params(segment, before, p, at);
    if constexpr (WriteStates) states.store(state, at);
  }
};

/// Least blocks a multiprocessor. What finds an element's row and column would else take the registers of all but two
/// of them, and leave 16 KiB on their way; of one row four have room.
template <class Update, class Combination>
inline constexpr int factored_blocks =
    rules::Factored<Update> && std::is_same_v<Combination, WeightedSum<Float32, 1>> ? 4 : 1;

/// Blocks that prefetch: those that are there when a grid begins, or a few more, for what later ones need must not
/// take its place. Of a matrix all of them: with one turn's loads on their way, measuring one of 8192 x 8192 took an
/// H100 235 us, of which memory needed 170.
template <class Update>
inline constexpr std::int64_t prefetching_blocks =
    rules::Factored<Update> ? std::int64_t{1} << 62 : std::int64_t{1024};

/// Prefetches what a block's first chunk reads beside rows that the gram stage has just read.
template <class Update, class X>
GRAMSTEP_BODY void prefetch_chunk(const X& x, const UpdateArguments& a, bool backward) {
  if (x.block() >= a.work.chunk_count || x.block() >= prefetching_blocks<Update>) return;
  const Chunk chunk = a.work.chunks[backward ? a.work.chunk_count - 1 - x.block() : x.block()];
  const auto ahead = [&](const void* buffer, DType dtype, std::int64_t first) {
    const std::int64_t size = size_of(dtype);
    if (buffer == nullptr) return;
    prefetch(x, static_cast<const char*>(buffer) + first * size, chunk.count * size);
  };
  ahead(a.params, a.storage.params, chunk.begin);
  ahead(a.storage.master, DType::float32, chunk.begin);
  if constexpr (!rules::ByKind<Update>) {
    GRAMSTEP_UNROLL
    for (int s = 0; s < Update::states; ++s) ahead(a.states[s], a.storage.states, chunk.begin);
  }
  if (a.tasks == 1 && chunk.begin < a.work.shared_size) {
    ahead(a.rows[0], a.storage.rows, chunk.begin);
  }
}

/// The pass that applies a rule.
template <class Update, class Combination>
struct UpdateBody {
  static constexpr int threads = update_threads;
  static constexpr int resident = factored_blocks<Update, Combination>;
  UpdateArguments a;
  Combination combination;

  struct Shared {};

  template <class X>
  GRAMSTEP_BODY void prefetch(const X& x) const {
    prefetch_chunk<Update>(x, a, false);
  }

  template <class X>
  GRAMSTEP_BODY void operator()(const X& x, Shared&) const {
    const ElementPass<Update, Combination> pass{a, combination};
    if constexpr (std::is_same_v<typename Combination::Type, Float32>) {
      if (a.plan->skip) return;
      pass.over_chunks(x, false,
                       [&](std::int64_t, const Chunk& chunk, const SegmentState& segment) {
                         apply(x, pass, chunk, segment);
                       });
    } else {
      apply_and_zero(x, pass);
    }
  }

 private:
  template <class X>
  GRAMSTEP_BODY void apply(const X& x, const ElementPass<Update, Combination>& pass,
                           const Chunk& chunk, const SegmentState& segment) const {
    const auto scalars = segment.template get<typename Update::Scalars>();
    pass.template apply<rules::applies_gradient<Update>, !rules::state_done_first<Update>>(
        x, chunk, segment,
        [&](float g, float& p, float* state) { Update::apply(scalars, g, p, state); });
  }

  /// Where gradients are left at zero, so are those of a step that is skipped and of a segment without one.
  template <class X>
  GRAMSTEP_BODY void apply_and_zero(const X& x,
                                    const ElementPass<Update, Combination>& pass) const {
    if (a.plan->skip && !a.storage.zeroes) return;
    for (std::int64_t c = x.block(); c < a.work.chunk_count; c += x.blocks()) {
      const Chunk chunk = a.work.chunks[c];
      const SegmentState& segment = a.segments[chunk.segment];
      if (!is_of<Update>(segment)) continue;
      if (!a.plan->skip && segment.active) apply(x, pass, chunk, segment);
      if (a.storage.zeroes) pass.zero(x, chunk);
    }
  }
};

}  // namespace gramstep::kernels
