// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kv_layout.hpp"
#include "kernels/detail/attend_mma.cuh"

namespace hashevict::kernels {

/// Number of splits of `length` slots. An empty sequence counts as one split, so that one block writes its result.
HASHEVICT_HOST_DEVICE constexpr int32_t splits_of(int32_t length) {
  return length <= kSplitSlots ? 1 : core::num_parts(length, kSplitSlots);
}

/// All threads stage a token's queries in shared memory, from query head `first_head` on; rows from `count` on are
/// zero.
template <int32_t kTile>
HASHEVICT_DEVICE void stage_queries(const Vectors& q, int64_t token, int32_t first_head, int32_t count,
                                    int32_t head_dim, const AttendShared& shared) {
  const int64_t row = token * q.stride[0] + first_head * q.stride[1];
  for (int32_t i = simt::thread_index(); i < kTile * head_dim; i += kAttendThreads) {
    const int32_t query = i / head_dim;
    const int64_t index = row + query * q.stride[1] + i % head_dim * q.stride[2];
    shared.queries.store(i, query < count ? load_element(q.data, q.dtype, index) : 0.0F);
  }
}

/// All threads look up where the slots of a split lie. Slots behind the end and slots whose position exceeds
/// `last_position` get -1: they must not be read.
/// @param positions [slots of the head]; nullptr: no position exceeds it
HASHEVICT_DEVICE void stage_offsets(const core::SlotAddress& address, int32_t first_slot, int32_t length,
                                    const int32_t* positions, int32_t last_position, const AttendShared& shared) {
  for (int32_t i = simt::thread_index(); i < kSplitSlots; i += kAttendThreads) {
    const int32_t slot = first_slot + i;
    bool visible = slot < length;
    if (visible && positions != nullptr) visible = simt::load(positions + slot) <= last_position;
    shared.offsets.store(i, visible ? address(slot) : int64_t{-1});
  }
}

HASHEVICT_DEVICE SplitInput split_input(const Layer& layer, const Softmax& softmax, int32_t first_slot,
                                        int32_t length) {
  const int32_t left = length - first_slot;
  return {
      layer.keys, layer.values, rows_are_aligned(layer), layer.shape.head_dim, left < kSplitSlots ? left : kSplitSlots,
      softmax};
}

/// Calls `visitor(query, e)` for this thread's elements of `queries` rows of head_dim.
template <class Visitor>
HASHEVICT_DEVICE void for_elements(int32_t queries, int32_t head_dim, const Visitor& visitor) {
  for (int32_t i = simt::thread_index(); i < queries * head_dim; i += kAttendThreads) {
    visitor(i / head_dim, i % head_dim);
  }
}

}  // namespace hashevict::kernels
