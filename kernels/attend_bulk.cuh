// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attend.cuh"
#include "kernels/detail/attend_ring.cuh"

namespace hashevict::kernels {

template <class Shape>
HASHEVICT_HOST_DEVICE constexpr int32_t attend_bulk_bytes(int32_t head_dim) {
  return attend_bytes<Shape::kTile>(head_dim, 0) + RingShape<Shape>::bytes(head_dim);
}

/// The logits of no slot: none is held out.
struct NoLogits {
  HASHEVICT_DEVICE void store(int32_t /*query*/, float /*logit*/) const {}
};

/// The work of one block of attend_bulk().
template <class Shape>
HASHEVICT_DEVICE void attend_by_copies(const AttendParams& p) {
  const Layer& layer = p.layer;
  simt::SharedMemory memory;
  const AttendArrays arrays = take_attend_arrays<Shape::kTile>(memory, layer.shape.head_dim, 0);
  Ring<Shape> ring{memory, layer.shape.head_dim};
  if (simt::thread_index() == 0) ring.init();
  const AttendItem item = item_of(p, simt::block_x());
  const int32_t num_splits = item.num_splits();
  if (item.sequence < 0 || item.split >= num_splits) return;
  mark(Phase::find);
  const AttendBlock<Shape> block{p, item, arrays.shared, arrays.running};
  if (item.refused) {
    if (item.split == 0) refuse(block);
    return;
  }
  simt::block_sync();  // the ring's mbarriers are there
  const bool alone = p.split == 0 || num_splits == 1;
  const VisibleSlots visible = block.visible();
  const int32_t tiles = (layer.shape.group_size + Shape::kTile - 1) / Shape::kTile;
  const int32_t end = alone ? num_splits : item.split + 1;
  const RingRows rows{visible.address, item.length, item.split_bits, item.length == 0 ? 0 : end, item.split, 1, tiles};
  ring.start(layer, rows);
  attend_block(
      block, alone, arrays.fold, arrays.is_last, [](int32_t /*split*/) {},
      [&](int32_t split) {
        simt::block_sync();  // queries are staged; the results of the split before have been taken
        const int32_t first_slot = split << item.split_bits;
        attend_ring(ring, layer, rows, p.softmax, rows.slots_of(split), -1, NoLogits{}, arrays.shared,
                    [&](int32_t slot) { return visible.has(first_slot + slot); });
      });
}

/// attend() for devices from sm_90 on and rows that are aligned to 16 bytes, with the same grid and the same bits.
/// Threads: as in attend().
/// Bytes: the same, and the rows of slots that are hidden from a query. They come by bulk copies (attend_ring.cuh), of
/// which the first are on their way before the block stages its queries.
/// Bound: memory.
/// Races: as in attend(). Each block has a ring of its own.
/// Budget: kernels/budgets.txt; 97 KiB of shared memory at head_dim 128 and 8 queries, 64 of them the ring.
template <class Shape>
HASHEVICT_KERNEL(kAttendThreads, 2)
attend_bulk(HASHEVICT_GRID_CONSTANT AttendParams p) {
  simt::wait_for_launch_before();
  start_clock();
  if constexpr (simt::kHasClusters) attend_by_copies<Shape>(p);
}

}  // namespace hashevict::kernels
