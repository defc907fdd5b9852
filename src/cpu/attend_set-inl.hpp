// SPDX-License-Identifier: Apache-2.0
// One set of queries over one tile of slots. Compiled once per instruction set, behind Highway's guard.
#include <hwy/highway.h>

#include <bit>
#include <limits>
#include <type_traits>

#include "cpu/attend_bfloat-inl.hpp"
#include "cpu/attend_dots-inl.hpp"
#include "cpu/attend_softmax-inl.hpp"
#include "cpu/attend_tile-inl.hpp"
#include "cpu/attend_values-inl.hpp"

#if defined(HASHEVICT_CPU_ATTEND_SET_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_ATTEND_SET_INL_HPP
#undef HASHEVICT_CPU_ATTEND_SET_INL_HPP
#else
#define HASHEVICT_CPU_ATTEND_SET_INL_HPP
#endif

// Offsets within one tile or its scratch rows are small: int is enough.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

/// Calls `action` with the kernel's number of queries as a constant.
template <class Action>
void with_width(int width, const Action& action) {
  switch (width) {
    case 1:
      return action(std::integral_constant<int, 1>());
    case 2:
      return action(std::integral_constant<int, 2>());
    case 4:
      return action(std::integral_constant<int, 4>());
    default:
      return action(std::integral_constant<int, kWidestKernel>());
  }
}

/// Multiplies `count` logits, a multiple of kLanes.
inline void scale_logits(float* logits, int count, float scale) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  for (int i = 0; i < count; i += kLanes) hn::Store(hn::Mul(hn::Load(d, logits + i), hn::Set(d, scale)), d, logits + i);
}

/// Writes the scaled dots of the set's queries and the tile's keys to its weights.
template <class Dots>
void score_set(const AttendSplit& split, const Tile& tile, const QuerySet& set, const RowsAhead& values) {
  const auto* const keys = static_cast<const unsigned char*>(split.keys);
  with_width(set.width, [&](auto width) {
    dot_tile<Dots, width()>(keys, values, tile.count, set.queries, split.format.head_dim, set.weights);
  });
  if constexpr (!Dots::kScaled) scale_logits(set.weights, kTileSlots * set.width, split.softmax_scale);
}

/// logit = cap * tanh(logit / cap), for `count` logits, a multiple of kLanes.
inline void cap_logits(float* logits, int count, float soft_cap) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  const auto cap = hn::Set(d, soft_cap);
  for (int i = 0; i < count; i += kLanes) {
    hn::Store(hn::Mul(cap, tanh_of(d, hn::Div(hn::Load(d, logits + i), cap))), d, logits + i);
  }
}

/// Sets the logits of slots that a query does not see to -infinity.
inline void hide_slots(const QuerySet& set, int slots, const uint64_t* visible) {
  for (int q = 0; q < set.count; ++q) {
    for (uint64_t hidden = first_bits(slots) & ~visible[q]; hidden != 0; hidden &= hidden - 1) {
      set.weights[std::countr_zero(hidden) * set.width + q] = -std::numeric_limits<float>::infinity();
    }
  }
}

/// Turns the set's dots into weights, up to the last slot that any of its queries sees. A slot that a query does not
/// see gets weight 0 for that query.
/// @param visible [set.count]
inline void weigh_set(const AttendSplit& split, const QuerySet& set, const uint64_t* visible,
                      const RowsAhead& next_keys) {
  uint64_t any = 0, all = ~uint64_t{0};
  for (int q = 0; q < set.count; ++q) {
    any |= visible[q];
    all &= visible[q];
  }
  if (any == 0) return;
  const int slots = (static_cast<int>(std::bit_width(any)) + kLanes - 1) / kLanes * kLanes;
  if (split.logit_soft_cap != 0) cap_logits(set.weights, slots * set.width, split.logit_soft_cap);
  if (all != first_bits(slots)) hide_slots(set, slots, visible);
  with_width(set.width, [&](auto width) { weigh_slots<width()>(set.weights, slots, set.softmax, next_keys); });
}

/// Adds the values of the `visible` slots for queries [from, from + count) of the set: all of them, or one.
template <class Loader>
void accumulate_queries(const AttendSplit& split, const Tile& tile, const QuerySet& set, int from, int count,
                        uint64_t visible, const RowsAhead& next_keys) {
  if (visible == 0) return;
  WeightedValues weighted{.values = static_cast<const unsigned char*>(split.values),
                          .offsets = tile.offsets,
                          .count = std::popcount(visible),
                          .weights = set.weights,
                          .rescale = set.softmax.rescale + from,
                          .accumulators = set.accumulators + from * set.row_floats,
                          .row_floats = set.row_floats,
                          .head_dim = split.format.head_dim,
                          .next_keys = next_keys};
  int64_t offsets[kTileSlots];
  float weights[kTileSlots * kSetQueries];
  const int width = kernel_width(count);
  if (width != set.width ||
      (visible & (visible + 1)) != 0) {  // a part of the queries, or gaps between slots: compact them
    int to = 0;
    for (uint64_t rest = visible; rest != 0; rest &= rest - 1, ++to) {
      const int slot = std::countr_zero(rest);
      offsets[to] = tile.offsets[slot];
      for (int q = 0; q < width; ++q) weights[to * width + q] = set.weights[slot * set.width + from + q];
    }
    weighted.offsets = offsets;
    weighted.weights = weights;
  }
  with_width(width, [&](auto constant) { accumulate_tile<Loader, constant()>(weighted); });
}

/// Adds the values of the visible slots for the set, or query by query if the queries see different slots. It skips
/// invisible slots instead of weighting them by 0, because their values may be anything.
/// @param visible [set.count]
template <class Loader>
void accumulate_set(const AttendSplit& split, const Tile& tile, const QuerySet& set, const uint64_t* visible,
                    const RowsAhead& next_keys) {
  bool alike = true;
  for (int q = 1; q < set.count; ++q) alike = alike && visible[q] == visible[0];
  if (alike) return accumulate_queries<Loader>(split, tile, set, 0, set.count, visible[0], next_keys);
  for (int q = 0; q < set.count; ++q) {
    accumulate_queries<Loader>(split, tile, set, q, 1, visible[q], next_keys);
  }
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#endif  // per-target guard
