// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_row.cuh"
#include "kernels/detail/row_unit.cuh"

/// Keys and values of a prompt's survivors. Positions identify them: a slot holds a new token if the sequence had not
/// seen its position before.
namespace hashevict::kernels {

inline constexpr int32_t kGatherThreads = 256;
inline constexpr int32_t kGatherParts = 4;  ///< blocks that share a split
inline constexpr int32_t kMovedUnits = 4;   ///< units that a thread holds at a time

/// Fills the rows of slots [first, first + count) at `base` with their tokens' vectors. Vectors of the cache's type
/// with dense elements are copied as they are, others element by element.
HASHEVICT_DEVICE void gather_rows(const PrefillParams& p, const PrefillRow& row, const Head& head, const Vectors& x,
                                  void* base, int32_t first, int32_t count) {
  const Layer& layer = p.evict.layer;
  const DType dtype = layer.shape.format.dtype;
  const auto source_of = [&](int32_t slot) { return token_of(row, simt::load(head.positions + slot)); };
  const auto vector_of = [&](int64_t token) { return token * x.stride[0] + head.kv_head * x.stride[1]; };
  if (x.dtype == dtype && x.stride[2] == 1) {
    visit_row_unit(vectors_are_aligned(x) && rows_are_aligned(layer), dtype, [&](auto example) {
      using Unit = decltype(example);
      const int32_t units = units_of_row<Unit>(layer.shape.format);
      for (int32_t i = simt::thread_index(); i < count * units; i += kGatherThreads) {
        const int32_t slot = first + i / units;
        const int64_t token = source_of(slot);
        if (token < 0) continue;
        const Unit unit = simt::load(row_unit<Unit>(x.data, vector_of(token) * size_of(dtype), i % units));
        simt::store(row_unit<Unit>(base, head.address(slot), i % units), unit);
      }
    });
    return;
  }
  for (int32_t i = simt::thread_index(); i < count * layer.shape.head_dim; i += kGatherThreads) {
    const int32_t slot = first + i / layer.shape.head_dim;
    const int32_t e = i % layer.shape.head_dim;
    const int64_t token = source_of(slot);
    if (token < 0) continue;
    const float value = load_element(x.data, x.dtype, vector_of(token) + e * x.stride[2]);
    store_element(static_cast<unsigned char*>(base) + head.address(slot), dtype, e, value);
  }
}

/// Stores keys and values of the tokens that survived their own prompt. Grid: (rows * splits of all heads,
/// kGatherParts in each), kGatherThreads threads.
/// Threads: neighbours move neighbouring units of 16 bytes of a row, or single elements.
/// Bytes: survivors' keys and values, read once and written once. Bound: memory; sources are whole rows, so every byte
/// read is used.
/// Races: a block writes its own slots alone, and no block reads slots.
/// Budget: no shared memory, below 64 registers, no spills.
HASHEVICT_KERNEL(kGatherThreads, 4) prefill_gather(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  const Layer& layer = p.evict.layer;
  const SlotRange range = slot_range(layer, simt::block_x() % layer.num_splits.value, simt::block_y(), kGatherParts);
  const PrefillRow row = prefill_row(p, simt::block_x() / layer.num_splits.value, range.kv_head);
  const int32_t left = length_after(row) - range.first;
  if (!takes_tokens(row) || left <= 0) return;
  const Head head = head_of(layer, row.sequence, range.kv_head);
  const int32_t count = left < range.count ? left : range.count;
  gather_rows(p, row, head, p.evict.k, layer.keys, range.first, count);
  gather_rows(p, row, head, p.evict.v, layer.values, range.first, count);
}

/// Moves units of rows, counted over all slots, to the slots where their positions now lie. A cached row's old slot is
/// its position.
template <class Unit>
HASHEVICT_DEVICE void move_rows(const Layer& layer, const Head& head, int32_t before, void* base) {
  const int32_t units = units_of_row<Unit>(layer.shape.format);
  const auto end = int64_t{before} * units;
  for (int64_t start = simt::thread_index(); start - simt::thread_index() < end;
       start += kMovedUnits * kGatherThreads) {
    Unit held[kMovedUnits];
    int32_t slots[kMovedUnits];
    HASHEVICT_UNROLL
    for (int32_t n = 0; n < kMovedUnits; ++n) {
      const int64_t i = start + n * kGatherThreads;
      slots[n] = -1;
      if (i >= end) continue;
      const auto slot = static_cast<int32_t>(i / units);
      const int32_t position = simt::load(head.positions + slot);
      if (position == slot || position >= before || position < 0) continue;
      held[n] = simt::load(row_unit<Unit>(base, head.address(position), static_cast<int32_t>(i % units)));
      slots[n] = slot;
    }
    simt::block_sync();
    HASHEVICT_UNROLL
    for (int32_t n = 0; n < kMovedUnits; ++n) {
      if (slots[n] < 0) continue;
      const auto unit = static_cast<int32_t>((start + n * kGatherThreads) % units);
      simt::store(row_unit<Unit>(base, head.address(slots[n]), unit), held[n]);
    }
  }
}

/// Closes the gaps between cached survivors of mode WINDOW. Grid: (rows, 2 H: keys and values), kGatherThreads threads.
/// Threads: neighbours move neighbouring units of a row, kMovedUnits at a time.
/// Bytes: rows of cached survivors behind the first gap, read once and written once. Bound: memory latency of one block
/// a head. Only prompts that come in chunks need it, once a sequence.
/// Races: rows move to lower slots, lower rows first. A block reads all units of a turn before it writes any, so a turn
/// overwrites only rows that have been read.
/// Budget: no shared memory, below 64 registers, no spills.
HASHEVICT_KERNEL(kGatherThreads) prefill_move(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  const PrefillRow row = prefill_row(p, simt::block_x(), simt::block_y() / 2);
  if (row.plan != Plan::one_shot || row.before == 0) return;
  const Layer& layer = p.evict.layer;
  const Head head = head_of(layer, row.sequence, simt::block_y() / 2);
  void* const base = simt::block_y() % 2 == 0 ? layer.keys : layer.values;
  visit_row_unit(rows_are_aligned(layer), layer.shape.format.dtype,
                 [&](auto example) { move_rows<decltype(example)>(layer, head, row.before, base); });
}

}  // namespace hashevict::kernels
