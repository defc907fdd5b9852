// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kv_layout.hpp"
#include "kernels/detail/attend_mma.cuh"

namespace hashevict::kernels {

/// A thread's places in rows of head_dim elements, found without a division: the block's threads take kEach elements
/// in turn.
template <int32_t kEach>
struct RowWalk {
  int32_t head_dim;
  int32_t step = kEach * simt::thread_index();
  int32_t row = 0;
  int32_t e = 0;

  /// Goes to the thread's next place, or its first. @return whether it lies in one of so many rows
  HASHEVICT_DEVICE bool next(int32_t rows) {
    HASHEVICT_NO_UNROLL
    for (e += step; e >= head_dim; e -= head_dim) ++row;
    step = kEach * kAttendThreads;
    return row < rows;
  }
};

/// All threads stage a token's queries in shared memory, from query head `first_head` on; rows from `count` on are
/// zero.
template <int32_t kTile>
HASHEVICT_DEVICE void stage_queries(const Vectors& q, int64_t token, int32_t first_head, int32_t count,
                                    int32_t head_dim, const AttendShared& shared) {
  const int64_t place = token * q.stride[0] + first_head * q.stride[1];
  RowWalk<8> at{head_dim};
  HASHEVICT_NO_UNROLL
  while (at.next(kTile)) {
    float elements[8] = {};
    if (at.row < count) load_eight_of(q, place + at.row * q.stride[1], at.e, elements);
    shared.queries.store_many(at.row * head_dim + at.e, elements);
  }
}

/// The slots of a head that a query may see: those below `length` whose position is at most `last_position`.
struct VisibleSlots {
  core::SlotAddress address;
  int32_t length;
  const int32_t* positions;  ///< [slots of the head]; nullptr: no position exceeds it
  int32_t last_position;

  HASHEVICT_DEVICE bool has(int32_t slot) const {
    bool visible = slot < length;
    if (visible && positions != nullptr) visible = simt::load(positions + slot) <= last_position;
    return visible;
  }
  /// Where the row of a slot lies; -1: it must not be read.
  HASHEVICT_DEVICE int64_t offset(int32_t slot) const { return has(slot) ? address(slot) : int64_t{-1}; }
};

/// The slots from `first_slot` on.
/// @param most slots of a split
HASHEVICT_DEVICE SplitInput split_input(const Layer& layer, const Softmax& softmax, int32_t first_slot, int32_t most,
                                        int32_t length) {
  const int32_t left = length - first_slot;
  return {layer.keys, layer.values, rows_are_aligned(layer), layer.shape.head_dim, left < most ? left : most, softmax};
}

/// Calls `visitor(query, e)` for this thread's elements [e, e + 4) of `queries` rows of head_dim.
template <class Visitor>
HASHEVICT_DEVICE void for_quads(int32_t queries, int32_t head_dim, const Visitor& visitor) {
  RowWalk<4> at{head_dim};
  HASHEVICT_NO_UNROLL
  while (at.next(queries)) {
    visitor(at.row, at.e);
  }
}

}  // namespace hashevict::kernels
