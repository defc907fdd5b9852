// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kv_layout.hpp"
#include "kernels/detail/attend_shape.cuh"
#include "kernels/detail/attend_state.cuh"

/// Attention of a tile of queries over one split of a head's slots, by one block.
///
/// A lane owns eight neighbouring elements of every row. So kLanes lanes, a lane group, take a slot together, and the
/// groups of a block take neighbouring slots side by side. A split is taken in stages of kStageSlots slots; while one
/// is attended over, threads look up where the rows of the next one lie. Every group keeps an online softmax over its
/// own slots. The reduction of a turn's dots leaves each lane with its share of them instead of all; the lane turns
/// them into weights and hands these out again. In the end the groups are merged in a fixed order.
namespace hashevict::kernels {

/// A block's arrays in shared memory.
struct AttendShared {
  simt::SharedArray<float> queries;    ///< [kTile, head_dim]
  simt::SharedArray<int64_t> offsets;  ///< [2, kStageSlots] offset of a slot's row in bytes; -1: must not be read
  simt::SharedArray<float> maxima;     ///< [kAttendWarps, kTile]
  simt::SharedArray<float> sums;       ///< [kAttendWarps, kTile]
  simt::SharedArray<float> values;     ///< [kAttendWarps, kTile, head_dim]
};

/// @param num_offsets of slots; 0 where a ring brings the rows (attend_ring.cuh)
template <int32_t kTile>
HASHEVICT_HOST_DEVICE constexpr int32_t attend_split_bytes(int32_t head_dim, int32_t num_offsets = 2 * kStageSlots) {
  return simt::shared_bytes<float>(kTile * head_dim) + simt::shared_bytes<int64_t>(num_offsets) +
         2 * simt::shared_bytes<float>(kAttendWarps * kTile) +
         simt::shared_bytes<float>(kAttendWarps * kTile * head_dim);
}

template <int32_t kTile>
HASHEVICT_DEVICE AttendShared take_attend_shared(simt::SharedMemory& memory, int32_t head_dim,
                                                 int32_t num_offsets = 2 * kStageSlots) {
  const auto queries = memory.take<float>(kTile * head_dim);
  const auto offsets = memory.take<int64_t>(num_offsets);
  const auto maxima = memory.take<float>(kAttendWarps * kTile);
  const auto sums = memory.take<float>(kAttendWarps * kTile);
  return {queries, offsets, maxima, sums, memory.take<float>(kAttendWarps * kTile * head_dim)};
}

/// The inputs of one split.
struct SplitInput {
  const void* keys;
  const void* values;
  bool aligned;
  int32_t head_dim;
  int32_t num_slots;  ///< slots of the split
  Softmax softmax;
};

/// Some slots of a split whose addresses are in shared memory.
struct Stage {
  int32_t offsets;    ///< index of the first one's offset
  int32_t num_slots;  ///< at most kStageSlots
  int32_t held_out;   ///< index of the slot that is held out; out of range: none is
};

/// A slot excluded from the sums; its logits are written separately, to global memory.
struct HeldOut {
  int32_t index = -1;       ///< index in the split; -1: no slot is held out
  float* logits = nullptr;  ///< [num_queries] of the tile
  int32_t num_queries = 0;

  HASHEVICT_DEVICE void store(int32_t query, float logit) const {
    if (query < num_queries) simt::store_relaxed(logits + query, logit);
  }
};

/// A lane's running results over its slots.
template <class Shape>
struct LaneState {
  float queries[Shape::kTile][kPieceElements];
  float values[Shape::kTile][kPieceElements];  ///< weighted sums
  float maximum;                               ///< largest logit of the query whose dots the lane holds
  float sum;                                   ///< sum of the weights that the lane computes
};

/// The rows that a lane group takes in one turn.
template <class Shape>
struct Turn {
  Piece<Shape::kDtype> keys[Shape::kTurn];
  Piece<Shape::kDtype> values[Shape::kTurn];
  uint32_t visible;   ///< bit i: slot i counts
  uint32_t held_out;  ///< bit i: slot i is held out
};

/// Adds each of kCount values over the lanes whose numbers differ in the bits kLow, 2 kLow, .., kHigh / 2. While a lane
/// has several values, it passes one half of them to its partner and receives the partner's share of the other half. In
/// the end the lanes whose bits, the highest first, spell n have the n-th part of the values in front.
template <int32_t kHigh, int32_t kLow, int32_t kCount>
HASHEVICT_DEVICE void add_across(float (&values)[kCount]) {
  if constexpr (kHigh > kLow) {
    constexpr int32_t kStep = kHigh / 2;
    if constexpr (kCount == 1) {
      values[0] = simt::add(values[0], simt::shuffle_xor(simt::kFullMask, values[0], kStep));
      add_across<kStep, kLow>(values);
    } else {
      constexpr int32_t kHalf = kCount / 2;
      const bool upper = (simt::lane() & kStep) != 0;
      float own[kHalf];
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kHalf; ++i) {
        const float given = upper ? values[i] : values[kHalf + i];
        own[i] = upper ? values[kHalf + i] : values[i];
        own[i] = simt::add(own[i], simt::shuffle_xor(simt::kFullMask, given, kStep));
      }
      add_across<kStep, kLow>(own);
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kHalf; ++i) values[i] = own[i];
    }
  }
}

/// Maximum over lanes whose numbers differ in the bits kLow, .., kHigh / 2.
template <int32_t kHigh, int32_t kLow>
HASHEVICT_DEVICE float max_across(float value) {
  HASHEVICT_UNROLL
  for (int32_t step = kLow; step < kHigh; step *= 2) {
    value = simt::maximum(value, simt::shuffle_xor(simt::kFullMask, value, step));
  }
  return value;
}

/// Index of the first element of a lane's pieces.
template <class Shape>
HASHEVICT_DEVICE int32_t first_element() {
  return simt::lane() % Shape::kLanes * kPieceElements;
}

template <class Shape>
HASHEVICT_DEVICE void start(LaneState<Shape>& state, const AttendShared& shared, int32_t head_dim) {
  const int32_t first = first_element<Shape>();
  state.maximum = kNegativeInfinity;
  state.sum = 0.0F;
  HASHEVICT_UNROLL
  for (int32_t q = 0; q < Shape::kTile; ++q) {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kPieceElements; ++i) {
      state.queries[q][i] = 0.0F;
      state.values[q][i] = 0.0F;
    }
    if (first < head_dim) shared.queries.load_many(q * head_dim + first, state.queries[q]);
  }
}

/// Loads the rows at `offsets` of a turn. Slots that do not count get zeros: their memory may hold anything.
template <class Shape, bool kAligned>
HASHEVICT_DEVICE void load_rows(Turn<Shape>& turn, const SplitInput& input, const int64_t (&offsets)[Shape::kTurn]) {
  const int32_t first = first_element<Shape>();
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < Shape::kTurn; ++i) {
    turn.keys[i] = {};
    if (offsets[i] < 0 || first >= input.head_dim) continue;
    turn.keys[i] = load_piece<Shape::kDtype, kAligned>(input.keys, offsets[i], first);
  }
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < Shape::kTurn; ++i) {
    turn.values[i] = {};
    if (offsets[i] < 0 || first >= input.head_dim || (turn.held_out >> i & 1U) != 0) continue;
    turn.values[i] = load_piece<Shape::kDtype, kAligned>(input.values, offsets[i], first);
  }
}

/// Loads all rows of a turn before any of them is used.
template <class Shape>
HASHEVICT_DEVICE void load_turn(Turn<Shape>& turn, const SplitInput& input, const AttendShared& shared,
                                const Stage& stage, int32_t turn_slot) {
  turn.visible = 0;
  turn.held_out = 0;
  int64_t offsets[Shape::kTurn];
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < Shape::kTurn; ++i) {
    const int32_t slot = turn_slot + i * Shape::kGroups + simt::thread_index() / Shape::kLanes;
    offsets[i] = shared.offsets.load(stage.offsets + slot);
    if (offsets[i] >= 0) turn.visible |= 1U << i;
    if (slot == stage.held_out) turn.held_out |= 1U << i;
  }
  if (input.aligned) {
    load_rows<Shape, true>(turn, input, offsets);
  } else {
    load_rows<Shape, false>(turn, input, offsets);
  }
}

/// Dot products of all queries with all keys of a turn. The lane's share comes first.
template <class Shape>
HASHEVICT_DEVICE void dot_turn(const Turn<Shape>& turn, const LaneState<Shape>& state, float (&dots)[Shape::kDots]) {
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < Shape::kTurn; ++i) {
    float key[kPieceElements];
    widen_piece<Shape::kDtype>(turn.keys[i], key);
    HASHEVICT_UNROLL
    for (int32_t q = 0; q < Shape::kTile; ++q) {
      float sum = 0.0F;
      HASHEVICT_UNROLL
      for (int32_t e = 0; e < kPieceElements; ++e) sum = simt::fma(state.queries[q][e], key[e], sum);
      dots[q * Shape::kTurn + i] = sum;
    }
  }
  add_across<Shape::kLanes, 1>(dots);
}

/// Turns the lane's dots into weights. @return the factor that rescales the results of earlier turns
/// @param logits takes those of the slot that is held out, by store(query, logit)
template <class Shape, class Logits>
HASHEVICT_DEVICE float weigh_turn(const Turn<Shape>& turn, const Softmax& softmax, const Logits& logits,
                                  LaneState<Shape>& state, float (&dots)[Shape::kDots]) {
  const int32_t lane = simt::lane() % Shape::kLanes;
  const int32_t first = lane / Shape::kSpread * Shape::kHeld;
  float largest = kNegativeInfinity;
  HASHEVICT_UNROLL
  for (int32_t h = 0; h < Shape::kHeld; ++h) {
    const int32_t query = (first + h) / Shape::kTurn;
    const int32_t slot = (first + h) % Shape::kTurn;
    float logit = logit_of(softmax, dots[h]);
    if ((turn.held_out >> slot & 1U) != 0) {
      if (lane % Shape::kSpread == 0) logits.store(query, logit);
      logit = kNegativeInfinity;
    }
    if ((turn.visible >> slot & 1U) == 0) logit = kNegativeInfinity;
    dots[h] = logit;
    largest = simt::maximum(largest, logit);
  }
  const float before = state.maximum;
  state.maximum = simt::maximum(before, max_across<Shape::kQueryLanes, Shape::kSpread>(largest));
  const float reference = reference_of(state.maximum);
  const float rescale = weight_of(before, reference);
  state.sum = simt::multiply(state.sum, rescale);
  HASHEVICT_UNROLL
  for (int32_t h = 0; h < Shape::kHeld; ++h) {
    dots[h] = weight_of(dots[h], reference);
    state.sum = simt::add(state.sum, dots[h]);
  }
  return rescale;
}

/// The value that the lane with dot `dot` contributes, from this group.
template <class Shape>
HASHEVICT_DEVICE float from_lane_of(int32_t dot, float value) {
  const int32_t group = simt::lane() / Shape::kLanes * Shape::kLanes;
  return simt::shuffle(simt::kFullMask, value, group + Shape::lane_of(dot));
}

template <class Shape>
HASHEVICT_DEVICE void add_values(const Turn<Shape>& turn, LaneState<Shape>& state, float rescale,
                                 const float (&weights)[Shape::kDots]) {
  HASHEVICT_UNROLL
  for (int32_t q = 0; q < Shape::kTile; ++q) {
    const float factor = from_lane_of<Shape>(q * Shape::kTurn, rescale);
    HASHEVICT_UNROLL
    for (int32_t e = 0; e < kPieceElements; ++e) state.values[q][e] = simt::multiply(state.values[q][e], factor);
  }
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < Shape::kTurn; ++i) {
    float value[kPieceElements];
    widen_piece<Shape::kDtype>(turn.values[i], value);
    HASHEVICT_UNROLL
    for (int32_t q = 0; q < Shape::kTile; ++q) {
      const int32_t dot = q * Shape::kTurn + i;
      const float weight = from_lane_of<Shape>(dot, weights[dot % Shape::kHeld]);
      HASHEVICT_UNROLL
      for (int32_t e = 0; e < kPieceElements; ++e) {
        state.values[q][e] = simt::fma(weight, value[e], state.values[q][e]);
      }
    }
  }
}

/// Merges the lane groups of a warp and stores the result in shared memory.
template <class Shape>
HASHEVICT_DEVICE void store_warp(LaneState<Shape>& state, const AttendShared& shared, int32_t head_dim) {
  constexpr int32_t kAll = Shape::kTile * kPieceElements;
  constexpr int32_t kLeft = kAll * Shape::kLanes / simt::kWarpSize;
  constexpr int32_t kTogether = kLeft < 4 ? kLeft : 4;
  const float maximum = max_across<simt::kWarpSize, Shape::kLanes>(state.maximum);
  const float factor = weight_of(state.maximum, reference_of(maximum));
  float sum[1] = {simt::multiply(state.sum, factor)};
  add_across<Shape::kQueryLanes, Shape::kSpread>(sum);
  add_across<simt::kWarpSize, Shape::kLanes>(sum);
  const int32_t row = simt::warp() * Shape::kTile;
  if (simt::lane() < Shape::kLanes && simt::lane() % Shape::kQueryLanes == 0) {
    shared.maxima.store(row + simt::lane() / Shape::kQueryLanes, maximum);
    shared.sums.store(row + simt::lane() / Shape::kQueryLanes, sum[0]);
  }
  float values[kAll];
  HASHEVICT_UNROLL
  for (int32_t q = 0; q < Shape::kTile; ++q) {
    const float of_query = from_lane_of<Shape>(q * Shape::kTurn, factor);
    HASHEVICT_UNROLL
    for (int32_t e = 0; e < kPieceElements; ++e) {
      values[q * kPieceElements + e] = simt::multiply(state.values[q][e], of_query);
    }
  }
  add_across<simt::kWarpSize, Shape::kLanes>(values);
  if (first_element<Shape>() >= head_dim) return;
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kLeft; i += kTogether) {
    float some[kTogether];
    HASHEVICT_UNROLL
    for (int32_t k = 0; k < kTogether; ++k) some[k] = values[i + k];
    const int32_t n = simt::lane() / Shape::kLanes * kLeft + i;
    shared.values.store_many((row + n / kPieceElements) * head_dim + first_element<Shape>() + n % kPieceElements, some);
  }
}

template <class Shape>
HASHEVICT_DEVICE void attend_stage(const SplitInput& input, const AttendShared& shared, const Stage& stage,
                                   const HeldOut& held_out, LaneState<Shape>& state) {
  for (int32_t slot = 0; slot < stage.num_slots; slot += Shape::kTurnSlots) {
    Turn<Shape> turn;
    load_turn<Shape>(turn, input, shared, stage, slot);
    float dots[Shape::kDots];
    dot_turn<Shape>(turn, state, dots);
    const float rescale = weigh_turn<Shape>(turn, input.softmax, held_out, state, dots);
    add_values<Shape>(turn, state, rescale, dots);
  }
}

/// Calls `attend(stage)` for the stages of a split. The offsets of the next stage are looked up before `attend` and
/// stored behind it, so that nothing waits for them.
/// @param find_offset (slot of the split) the offset of its row in bytes, or -1; slots behind the end included
template <class FindOffset, class Attend>
HASHEVICT_DEVICE void for_stages(int32_t num_slots, const AttendShared& shared, const HeldOut& held_out,
                                 const FindOffset& find_offset, const Attend& attend) {
  constexpr int32_t kEach = kStageSlots / kAttendThreads;
  HASHEVICT_NO_UNROLL
  for (int32_t first = -kStageSlots; first < num_slots; first += kStageSlots) {
    const int32_t next = first + kStageSlots;
    int64_t offsets[kEach];
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kEach; ++i) {
      offsets[i] = next < num_slots ? find_offset(next + i * kAttendThreads + simt::thread_index()) : int64_t{-1};
    }
    if (first >= 0) {
      const int32_t left = num_slots - first;
      attend(Stage{first % (2 * kStageSlots), left < kStageSlots ? left : kStageSlots, held_out.index - first});
    }
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kEach; ++i) {
      const int32_t at = next % (2 * kStageSlots);
      shared.offsets.store(at + i * kAttendThreads + simt::thread_index(), offsets[i]);
    }
    simt::block_sync();
  }
}

/// Attends over one split for the tile's queries. The caller has filled `shared.queries`; any threads may have written
/// them. split_partial() reads the result, until the next split starts.
template <DType kDtype, int32_t kLanes, int32_t kTile, class FindOffset>
HASHEVICT_DEVICE void attend_split(AttendShape<kDtype, kLanes, kTile> /*shape*/, const SplitInput& input,
                                   const AttendShared& shared, const HeldOut& held_out, const FindOffset& find_offset) {
  using Shape = AttendShape<kDtype, kLanes, kTile>;
  simt::block_sync();
  LaneState<Shape> state;
  start<Shape>(state, shared, input.head_dim);
  for_stages(input.num_slots, shared, held_out, find_offset,
             [&](const Stage& stage) { attend_stage<Shape>(input, shared, stage, held_out, state); });
  store_warp<Shape>(state, shared, input.head_dim);
  simt::block_sync();
}

/// The split's result for query `q` of the tile, elements [e, e + 4).
template <int32_t kTile>
HASHEVICT_DEVICE PartialQuad split_partial(const AttendShared& shared, int32_t head_dim, int32_t q, int32_t e) {
  float maximum = kNegativeInfinity;
  HASHEVICT_UNROLL
  for (int32_t w = 0; w < kAttendWarps; ++w) {
    maximum = simt::maximum(maximum, shared.maxima.load(w * kTile + q));
  }
  const float reference = reference_of(maximum);
  PartialQuad all{maximum, 0.0F, {}};
  HASHEVICT_UNROLL
  for (int32_t w = 0; w < kAttendWarps; ++w) {
    const int32_t row = w * kTile + q;
    const float weight = weight_of(shared.maxima.load(row), reference);
    all.sum = simt::fma(shared.sums.load(row), weight, all.sum);
    float values[4];
    shared.values.load_many(row * head_dim + e, values);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 4; ++i) all.values[i] = simt::fma(values[i], weight, all.values[i]);
  }
  return all;
}

}  // namespace hashevict::kernels
