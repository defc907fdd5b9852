// SPDX-License-Identifier: Apache-2.0
// The online softmax of one tile, compiled once per instruction set: no include guard but Highway's.
//
// The logits of queries that share registers lie slot by slot, the queries side by side. So a vector holds some slots
// of all of them, maxima and sums stay within lanes until the tile's end, and what is left to combine then is combined
// for all queries at once. The sum of a query's weights is the same, in the same order, whatever their number: kLanes
// partial sums, of the slots that lie kLanes apart, added up as a tree.
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

/// What the softmax keeps of the tiles before, for the queries that share registers: query q in every element e with
/// e mod queries = q, as many as a vector holds.
struct SoftmaxState {
  float* maxima;   ///< of the logits
  float* sums;     ///< of exp(logit - maximum)
  float* rescale;  ///< what this tile multiplies everything before it by
};

struct Largest {
  static HWY_INLINE FloatVector of(FloatVector a, FloatVector b) { return hwy::HWY_NAMESPACE::Max(a, b); }
};
struct Sum {
  static HWY_INLINE FloatVector of(FloatVector a, FloatVector b) { return hwy::HWY_NAMESPACE::Add(a, b); }
};

/// Vectors that one value per query takes.
template <int kQueries>
constexpr int kStateVectors = HWY_MAX(1, kQueries / kLanes);

/// Combines lanes that belong to the same query; each of them then holds the result.
template <int kQueries, class Combine>
HWY_INLINE FloatVector combine_lanes(FloatVector lanes) {
#if HWY_TARGET != HWY_SCALAR
  namespace hn = hwy::HWY_NAMESPACE;
  if constexpr (kLanes == 16) lanes = Combine::of(hn::ConcatLowerUpper(Floats(), lanes, lanes), lanes);
  if constexpr (kLanes >= 8) lanes = Combine::of(hn::SwapAdjacentBlocks(lanes), lanes);
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

/// Turns the logits [slots, kQueries] of one tile into weights exp(logit - maximum) and takes them into `state`.
/// Fetches the first of the next keys.
/// @param slots a multiple of kLanes; logits of -infinity weigh nothing
template <int kQueries, class Element>
HWY_NOINLINE void weigh_slots(float* logits, int slots, const SoftmaxState& state, const RowsAhead<Element>& next_keys,
                              int head_dim) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  constexpr int kVectors = kStateVectors<kQueries>;
  constexpr int kStep = kQueries * kLanes;  // kLanes slots
  float* const end = logits + slots * kQueries;
  FloatVector largest[kQueries], sums[kQueries];
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
  FloatVector reference[kVectors], rescale[kVectors];
  HASHEVICT_UNROLL
  for (int i = 0; i < kVectors; ++i) {
    // With nothing but -infinity so far any finite reference gives the weights their value 0.
    const auto nothing = hn::Eq(largest[i], hn::Set(d, -std::numeric_limits<float>::infinity()));
    reference[i] = hn::IfThenZeroElse(nothing, largest[i]);
    const auto before = hn::Load(d, state.maxima + i * kLanes);
    rescale[i] =
        hn::IfThenElse(hn::Eq(before, largest[i]), hn::Set(d, 1.0f), exp_nonpositive(d, hn::Sub(before, largest[i])));
    hn::Store(largest[i], d, state.maxima + i * kLanes);
    hn::Store(rescale[i], d, state.rescale + i * kLanes);
  }
  auto ahead = softmax_lines(next_keys);
  const int lines = softmax_lines_per_step<Element>(head_dim);
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
    hn::Store(hn::Add(hn::Mul(hn::Load(d, sum), rescale[i]), sums[i]), d, sum);
  }
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#endif  // per-target guard
