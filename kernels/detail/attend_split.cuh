// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kv_layout.hpp"
#include "kernels/detail/attend_fifo.cuh"

/// Attention of a tile of queries over one split of a head's slots, by one block.
///
/// A lane owns eight neighbouring elements of every row. So kLanes lanes, a lane group, take a slot together, and the
/// groups of a block take neighbouring slots side by side. Rows come through the lanes' columns (attend_fifo.cuh).
/// Every group keeps an online softmax over its own slots. The reduction of a turn's dots leaves each lane with its
/// share of them instead of all; the lane turns them into weights and hands these out again. In the end the groups are
/// merged in a fixed order.
namespace hashevict::kernels {

/// A block's arrays in shared memory.
struct AttendShared {
  simt::SharedArray<float> queries;    ///< [kTile, head_dim]
  simt::SharedArray<int64_t> offsets;  ///< of a RowFifo
  simt::SharedArray<float> maxima;     ///< [kAttendWarps, kTile]
  simt::SharedArray<float> sums;       ///< [kAttendWarps, kTile]
  simt::SharedArray<float> values;     ///< [kAttendWarps, kTile, head_dim], or before that the columns of a RowFifo
};

/// @param fifo_words FifoShape::kWords; 0 where a ring brings the rows (attend_ring.cuh)
template <int32_t kTile>
HASHEVICT_HOST_DEVICE constexpr int32_t attend_values(int32_t head_dim, int32_t fifo_words) {
  const int32_t values = kAttendWarps * kTile * head_dim;
  return values > fifo_words ? values : fifo_words;
}
HASHEVICT_HOST_DEVICE constexpr int32_t attend_offsets(int32_t fifo_words) {
  return fifo_words > 0 ? kAttendWarps * kWarpOffsets : 0;
}

template <int32_t kTile>
HASHEVICT_HOST_DEVICE constexpr int32_t attend_split_bytes(int32_t head_dim, int32_t fifo_words) {
  return simt::shared_bytes<float>(kTile * head_dim) + simt::shared_bytes<int64_t>(attend_offsets(fifo_words)) +
         2 * simt::shared_bytes<float>(kAttendWarps * kTile) +
         simt::shared_bytes<float>(attend_values<kTile>(head_dim, fifo_words));
}

template <int32_t kTile>
HASHEVICT_DEVICE AttendShared take_attend_shared(simt::SharedMemory& memory, int32_t head_dim, int32_t fifo_words) {
  const auto queries = memory.take<float>(kTile * head_dim);
  const auto offsets = memory.take<int64_t>(attend_offsets(fifo_words));
  const auto maxima = memory.take<float>(kAttendWarps * kTile);
  const auto sums = memory.take<float>(kAttendWarps * kTile);
  return {queries, offsets, maxima, sums, memory.take<float>(attend_values<kTile>(head_dim, fifo_words))};
}

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

/// Keys or values of the slots that a lane group takes in one turn.
template <class Shape>
using TurnRows = Piece<Shape::kDtype>[Shape::kTurn];

/// The slots that a lane group takes in one turn.
struct Turn {
  uint32_t visible = 0;   ///< bit i: slot i counts
  uint32_t held_out = 0;  ///< bit i: slot i is held out
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

/// Dot products of all queries with all keys of a turn. The lane's share comes first.
template <class Shape>
HASHEVICT_DEVICE void dot_turn(const TurnRows<Shape>& keys, const LaneState<Shape>& state,
                               float (&dots)[Shape::kDots]) {
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < Shape::kTurn; ++i) {
    float key[kPieceElements];
    widen_piece<Shape::kDtype>(keys[i], key);
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
HASHEVICT_DEVICE float weigh_turn(const Turn& turn, const Softmax& softmax, const Logits& logits,
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
HASHEVICT_DEVICE void add_values(const TurnRows<Shape>& values, LaneState<Shape>& state, float rescale,
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
    widen_piece<Shape::kDtype>(values[i], value);
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

/// Takes the keys of a turn, or its values.
template <class Shape>
HASHEVICT_DEVICE void take_rows(RowFifo<Shape>& fifo, const SplitInput& input, TurnRows<Shape>& rows) {
  constexpr int32_t kEach = Piece<Shape::kDtype>::kParts;
  simt::Bytes16 pieces[Shape::kTurn * kEach];
  fifo.take(input, pieces);
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < Shape::kTurn * kEach; ++i) rows[i / kEach].parts[i % kEach] = pieces[i];
}

/// What is known of the slots of a turn.
template <class Shape>
HASHEVICT_DEVICE Turn turn_of(const RowFifo<Shape>& fifo, int32_t turn, int32_t held_out) {
  Turn found;
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < Shape::kTurn; ++i) {
    const int32_t slot = turn * Shape::kTurnSlots + i * Shape::kGroups + simt::thread_index() / Shape::kLanes;
    if (fifo.counts(turn, TurnParts<Shape>::place(0, i * Piece<Shape::kDtype>::kParts).slot)) found.visible |= 1U << i;
    if (slot == held_out) found.held_out |= 1U << i;
  }
  return found;
}

/// Attends over one split for the tile's queries. The caller has filled `shared.queries`; any threads may have written
/// them. split_partial() reads the result, until the next split starts.
/// @param fifo started for this split
/// @param find_offset as for RowFifo::start()
template <DType kDtype, int32_t kLanes, int32_t kTile, class FindOffset>
HASHEVICT_DEVICE void attend_split(RowFifo<AttendShape<kDtype, kLanes, kTile>>& fifo, const SplitInput& input,
                                   const AttendShared& shared, const HeldOut& held_out, const FindOffset& find_offset) {
  using Shape = AttendShape<kDtype, kLanes, kTile>;
  simt::block_sync();
  LaneState<Shape> state;
  start<Shape>(state, shared, input.head_dim);
  Turn turn;
  float dots[Shape::kDots];
  float rescale = 0.0F;
  HASHEVICT_NO_UNROLL
  for (int32_t part = 0; part < fifo.num_parts(); ++part) {
    TurnRows<Shape> rows;
    take_rows<Shape>(fifo, input, rows);
    if (part % 2 == 0) {
      turn = turn_of(fifo, part / 2, held_out.index);
      dot_turn<Shape>(rows, state, dots);
      rescale = weigh_turn<Shape>(turn, input.softmax, held_out, state, dots);
      continue;
    }
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < Shape::kTurn; ++i) {
      if ((turn.held_out >> i & 1U) != 0) rows[i] = {};
    }
    add_values<Shape>(rows, state, rescale, dots);
    fifo.end_turn(part / 2, input, find_offset);
  }
  simt::block_sync();  // all columns have been read
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
