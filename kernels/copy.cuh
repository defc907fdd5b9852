// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/head.cuh"
#include "kernels/detail/row_unit.cuh"

namespace hashevict::kernels {

inline constexpr int32_t kCopyThreads = 256;
inline constexpr int32_t kCopyParts = 8;  ///< blocks that share a split

/// Copies keys and values from the slots of one sequence to those of another. Grid: (splits of all
/// heads, kCopyParts in each); kCopyThreads threads.
/// Threads: neighbours move neighbouring units of 16 bytes of a row, or single elements where rows are not aligned.
/// Bytes: keys and values of the valid slots, read once and written once. Bound: memory.
/// Races: the two sequences share no memory, and each block writes its own slots alone.
/// Budget: no shared memory, below 64 registers, no spills.
HASHEVICT_KERNEL(kCopyThreads) copy_slots(HASHEVICT_GRID_CONSTANT CopyParams p) {
  simt::wait_for_launch_before();
  const Layer& layer = p.layer;
  const SlotRange range = slot_range(layer, simt::block_x(), simt::block_y(), kCopyParts);
  const int32_t seen = simt::load(layer.state.tokens_seen + counter_of(layer, p.source, range.kv_head));
  const int32_t length = settings_of(layer, range.kv_head).length(seen);
  const int32_t first = range.first;
  const int32_t count = length - first < range.count ? length - first : range.count;
  if (count <= 0) return;
  if (!has_pages(layer, p.source, seen) || !has_pages(layer, p.target, seen)) return;
  const core::SlotAddress source = head_of(layer, p.source, range.kv_head).address;
  const core::SlotAddress target = head_of(layer, p.target, range.kv_head).address;
  visit_row_unit(rows_are_aligned(layer), layer.shape.format.dtype, [&](auto example) {
    using Unit = decltype(example);
    const int32_t units = units_of_row<Unit>(layer.shape.format);
    for (int32_t i = simt::thread_index(); i < count * units; i += kCopyThreads) {
      const int64_t from = source(first + i / units);
      const int64_t to = target(first + i / units);
      const int32_t unit = i % units;
      const Unit key = simt::load(row_unit<Unit>(layer.keys, from, unit));
      const Unit value = simt::load(row_unit<Unit>(layer.values, from, unit));
      simt::store(row_unit<Unit>(layer.keys, to, unit), key);
      simt::store(row_unit<Unit>(layer.values, to, unit), value);
    }
  });
}

}  // namespace hashevict::kernels
