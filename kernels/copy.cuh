// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/head.cuh"
#include "kernels/detail/row_unit.cuh"

namespace hashevict::kernels {

inline constexpr int32_t kCopyThreads = 256;
inline constexpr int32_t kCopySlots = 32;  ///< that a block takes

/// Copies keys and values of one sequence's slots to another's. Grid: (tiles of kCopySlots slots, H), kCopyThreads
/// threads.
/// Threads: neighbours move neighbouring units of 16 bytes of a row, or single elements where rows are not aligned.
/// Bytes: keys and values of the valid slots, in and out. Bound: memory.
/// Races: sequences share no memory, and a block writes its own slots alone.
/// Budget: no shared memory, below 64 registers, no spills.
HASHEVICT_KERNEL(kCopyThreads) copy_slots(HASHEVICT_GRID_CONSTANT CopyParams p) {
  simt::wait_for_launch_before();
  const Layer& layer = p.layer;
  const int32_t length = simt::load(layer.state.lengths + p.source);
  const int32_t first = simt::block_x() * kCopySlots;
  const int32_t count = length - first < kCopySlots ? length - first : kCopySlots;
  if (count <= 0) return;
  const core::SlotAddress source = head_of(layer, p.source, simt::block_y()).address;
  const core::SlotAddress target = head_of(layer, p.target, simt::block_y()).address;
  const int32_t dtype = layer.kv.dtype;
  visit_row_unit(rows_are_aligned(layer.kv), dtype, [&](auto example) {
    using Unit = decltype(example);
    const int32_t units = units_of_row<Unit>(layer.head_dim, dtype);
    for (int32_t i = simt::thread_index(); i < count * units; i += kCopyThreads) {
      const int64_t from = source(first + i / units);
      const int64_t to = target(first + i / units);
      const int32_t unit = i % units;
      const Unit key = simt::load(row_unit<Unit>(layer.kv.keys, dtype, from, unit));
      const Unit value = simt::load(row_unit<Unit>(layer.kv.values, dtype, from, unit));
      simt::store(row_unit<Unit>(layer.kv.keys, dtype, to, unit), key);
      simt::store(row_unit<Unit>(layer.kv.values, dtype, to, unit), value);
    }
  });
}

}  // namespace hashevict::kernels
