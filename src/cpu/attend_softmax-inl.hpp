// SPDX-License-Identifier: Apache-2.0
// The online softmax of one tile, compiled once per instruction set, behind Highway's guard.
//
// Logits of queries that share registers are stored slot by slot, with the queries side by side. So a vector holds some
// slots of all queries. Maxima and sums stay within lanes until the tile's end, and one reduction then serves all
// queries. The sum of a query's weights has the same order for any number of queries: kLanes partial sums, of slots
// kLanes apart, added as a tree.
#include <hwy/highway.h>

#include <limits>

#include "cpu/exponential-inl.hpp"
#include "cpu/kv_loader-inl.hpp"
#include "cpu/rows_ahead-inl.hpp"
#include "cpu/unroll.hpp"

#if defined(HASHEVICT_CPU_ATTEND_SOFTMAX_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_ATTEND_SOFTMAX_INL_HPP
#undef HASHEVICT_CPU_ATTEND_SOFTMAX_INL_HPP
#else
#define HASHEVICT_CPU_ATTEND_SOFTMAX_INL_HPP
#endif

// Offsets within one tile are small: int is enough.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

struct Largest {
  static HWY_INLINE FloatVector of(FloatVector a, FloatVector b) { return hwy::HWY_NAMESPACE::Max(a, b); }
};
struct Sum {
  static HWY_INLINE FloatVector of(FloatVector a, FloatVector b) { return hwy::HWY_NAMESPACE::Add(a, b); }
};

/// Number of vectors that hold one value per query.
template <int kQueries>
constexpr int kStateVectors = HWY_MAX(1, kQueries / kLanes);

/// Combines the lanes of each query; all of them then hold the result.
template <int kQueries, class Combine>
HWY_INLINE FloatVector combine_lanes(FloatVector lanes) {
#if HWY_TARGET != HWY_SCALAR
  namespace hn = hwy::HWY_NAMESPACE;
  if constexpr (kLanes == 16) lanes = Combine::of(hn::ConcatLowerUpper(Floats(), lanes, lanes), lanes);
  if constexpr (kLanes >= 8 && kQueries <= 4) lanes = Combine::of(hn::SwapAdjacentBlocks(lanes), lanes);
  if constexpr (kQueries <= 2) lanes = Combine::of(hn::Shuffle1032(lanes), lanes);
  if constexpr (kQueries == 1) lanes = Combine::of(hn::Shuffle2301(lanes), lanes);
#endif
  return lanes;
}

/// Combines kLanes slots of all queries; the first kStateVectors vectors then hold the result.
template <int kQueries, class Combine>
HWY_INLINE void combine_slots(FloatVector (&slots)[kQueries]) {
  HASHEVICT_UNROLL
  for (int width = kQueries / 2; width >= kStateVectors<kQueries>; width /= 2) {
    HASHEVICT_UNROLL
    for (int i = 0; i < width; ++i) slots[i] = Combine::of(slots[i + width], slots[i]);
  }
  HASHEVICT_UNROLL
  for (int i = 0; i < kStateVectors<kQueries>; ++i) slots[i] = combine_lanes<kQueries, Combine>(slots[i]);
}

/// Updates the maxima with this tile's. Writes the factor that rescales all earlier results, and the finite reference
/// that weights are relative to.
/// @param largest maximum over the tile and all earlier ones of each query, in every lane of the query
template <int kQueries>
HWY_INLINE void raise_maxima(const FloatVector (&largest)[kQueries], const SoftmaxState& state,
                             FloatVector (&reference)[kStateVectors<kQueries>]) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  HASHEVICT_UNROLL
  for (int i = 0; i < kStateVectors<kQueries>; ++i) {
    // If all logits so far are -infinity, any finite reference gives weight 0.
    const auto nothing = hn::Eq(largest[i], hn::Set(d, -std::numeric_limits<float>::infinity()));
    reference[i] = hn::IfThenZeroElse(nothing, largest[i]);
    const auto before = hn::Load(d, state.maxima + i * kLanes);
    const auto rescale =
        hn::IfThenElse(hn::Eq(before, largest[i]), hn::Set(d, 1.0f), exp_nonpositive(d, hn::Sub(before, largest[i])));
    hn::Store(largest[i], d, state.maxima + i * kLanes);
    hn::Store(rescale, d, state.rescale + i * kLanes);
  }
}

/// Turns the logits [slots, kQueries] of one tile into weights exp(logit - maximum) and adds them to `state`. Fetches
/// the first of the next keys.
/// @param slots a multiple of kLanes; a logit of -infinity has weight 0
template <int kQueries>
HWY_NOINLINE void weigh_slots(float* logits, int slots, const SoftmaxState& state, const RowsAhead& next_keys) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  constexpr int kVectors = kStateVectors<kQueries>;
  constexpr int kStep = kQueries * kLanes;  // kLanes slots
  float* const end = logits + slots * kQueries;
  FloatVector largest[kQueries], sums[kQueries], reference[kVectors];
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    largest[i] = hn::Load(d, state.maxima + i % kVectors * kLanes);
    sums[i] = hn::Zero(d);
  }
  for (const float* at = logits; at != end; at += kStep) {
    HASHEVICT_UNROLL
    for (int i = 0; i < kQueries; ++i) largest[i] = hn::Max(hn::Load(d, at + i * kLanes), largest[i]);
  }
  combine_slots<kQueries, Largest>(largest);
  raise_maxima(largest, state, reference);
  auto ahead = softmax_lines(next_keys);
  const int lines = softmax_lines_per_step(next_keys);
  for (float* at = logits; at != end; at += kStep) {
    for (int line = 0; line < lines; ++line) ahead.fetch();
    HASHEVICT_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      const auto weight = exp_nonpositive(d, hn::Sub(hn::Load(d, at + i * kLanes), reference[i % kVectors]));
      sums[i] = hn::Add(sums[i], weight);
      hn::Store(weight, d, at + i * kLanes);
    }
  }
  combine_slots<kQueries, Sum>(sums);
  HASHEVICT_UNROLL
  for (int i = 0; i < kVectors; ++i) {
    float* const sum = state.sums + i * kLanes;
    const auto rescaled = hn::Mul(hn::Load(d, sum), hn::Load(d, state.rescale + i * kLanes));
    hn::Store(hn::Add(rescaled, sums[i]), d, sum);
  }
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#endif  // per-target guard
