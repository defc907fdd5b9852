// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_row.cuh"
#include "kernels/detail/row_unit.cuh"

/// Keys and values of a prompt's survivors. Positions tell everything: a slot holds one of the new tokens if its
/// position is none that the sequence had seen before.
namespace hashevict::kernels {

inline constexpr int32_t kGatherThreads = 256;
inline constexpr int32_t kGatherSlots = 32;  ///< that a block takes at a time
inline constexpr int32_t kMovedUnits = 4;    ///< that a thread holds at a time

/// Blocks that share the slots of a head.
HASHEVICT_HOST_DEVICE constexpr int32_t gather_blocks(int32_t capacity) {
  constexpr int32_t kMost = 64;
  const int32_t tiles = (capacity + kGatherSlots - 1) / kGatherSlots;
  return tiles < kMost ? tiles : kMost;
}

/// Whether every vector starts on a boundary of 16 bytes.
HASHEVICT_DEVICE bool vectors_are_aligned(const Vectors& x) {
  const uint64_t elements = static_cast<uint64_t>(x.stride[0]) | static_cast<uint64_t>(x.stride[1]);
  const uint64_t bytes = elements * static_cast<uint64_t>(size_of(x.dtype)) | reinterpret_cast<uintptr_t>(x.data);
  return bytes % sizeof(simt::Bytes16) == 0;
}

/// Fills the rows of slots [first, first + count) at `base` with their tokens' vectors, as they are where the type is
/// the same and elements are neighbours, else element by element.
HASHEVICT_DEVICE void gather_rows(const PrefillParams& p, const PrefillRow& row, const Head& head, const Vectors& x,
                                  void* base, int32_t first, int32_t count) {
  const Layer& layer = p.evict.layer;
  const int32_t dtype = layer.kv.dtype;
  const auto source_of = [&](int32_t slot) { return token_of(row, simt::load(head.positions + slot)); };
  const auto vector_of = [&](int64_t token) { return token * x.stride[0] + head.kv_head * x.stride[1]; };
  if (x.dtype == dtype && x.stride[2] == 1) {
    visit_row_unit(vectors_are_aligned(x) && rows_are_aligned(layer.kv), dtype, [&](auto example) {
      using Unit = decltype(example);
      const int32_t units = units_of_row<Unit>(layer.head_dim, dtype);
      for (int32_t i = simt::thread_index(); i < count * units; i += kGatherThreads) {
        const int32_t slot = first + i / units;
        const int64_t token = source_of(slot);
        if (token < 0) continue;
        const Unit unit = simt::load(row_unit<Unit>(x.data, dtype, vector_of(token), i % units));
        simt::store(row_unit<Unit>(base, dtype, head.address(slot), i % units), unit);
      }
    });
    return;
  }
  for (int32_t i = simt::thread_index(); i < count * layer.head_dim; i += kGatherThreads) {
    const int32_t slot = first + i / layer.head_dim;
    const int32_t e = i % layer.head_dim;
    const int64_t token = source_of(slot);
    if (token < 0) continue;
    const float value = load_element(x.data, x.dtype, vector_of(token) + e * x.stride[2]);
    store_element(base, dtype, head.address(slot) + e, value);
  }
}

/// Stores keys and values of the tokens that survived their own prompt. Grid: (rows * gather_blocks(), H),
/// kGatherThreads threads.
/// Threads: neighbours move neighbouring units of 16 bytes of a row, or single elements.
/// Bytes: survivors' keys and values, in and out. Bound: memory; sources are whole rows, so nothing is read in vain.
/// Races: a block writes its own slots alone, and no block reads slots.
/// Budget: no shared memory, below 64 registers, no spills.
HASHEVICT_KERNEL(kGatherThreads) prefill_gather(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  const Layer& layer = p.evict.layer;
  const int32_t blocks = gather_blocks(layer.capacity);
  const PrefillRow row = prefill_row(p, simt::block_x() / blocks);
  if (!takes_tokens(row)) return;
  const Head head = head_of(layer, row.sequence, simt::block_y());
  const int32_t length = length_after(p, row);
  for (int32_t first = simt::block_x() % blocks * kGatherSlots; first < length; first += blocks * kGatherSlots) {
    const int32_t count = length - first < kGatherSlots ? length - first : kGatherSlots;
    gather_rows(p, row, head, p.evict.k, layer.kv.keys, first, count);
    gather_rows(p, row, head, p.evict.v, layer.kv.values, first, count);
  }
}

/// Moves units of rows, counted over all slots, from where their positions were to where they are: a cached row's slot
/// was its position.
template <class Unit>
HASHEVICT_DEVICE void move_rows(const Layer& layer, const Head& head, int32_t before, void* base) {
  const int32_t dtype = layer.kv.dtype;
  const int32_t units = units_of_row<Unit>(layer.head_dim, dtype);
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
      held[n] = simt::load(row_unit<Unit>(base, dtype, head.address(position), static_cast<int32_t>(i % units)));
      slots[n] = slot;
    }
    simt::block_sync();
    HASHEVICT_UNROLL
    for (int32_t n = 0; n < kMovedUnits; ++n) {
      if (slots[n] < 0) continue;
      const auto unit = static_cast<int32_t>((start + n * kGatherThreads) % units);
      simt::store(row_unit<Unit>(base, dtype, head.address(slots[n]), unit), held[n]);
    }
  }
}

/// Closes the gaps between cached survivors of mode WINDOW. Grid: (rows, 2 H: keys and values), kGatherThreads threads.
/// Threads: neighbours move neighbouring units of a row, kMovedUnits at a time.
/// Bytes: rows of cached survivors behind the first gap, in and out. Bound: memory latency of one block a head; only
/// for prompts that come in chunks, and only once a sequence.
/// Races: rows move to lower slots, lower rows first; all units of a turn are read before any is written, so that what
/// a turn overwrites has been read.
/// Budget: no shared memory, below 64 registers, no spills.
HASHEVICT_KERNEL(kGatherThreads) prefill_move(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  const PrefillRow row = prefill_row(p, simt::block_x());
  if (row.plan != Plan::one_shot || row.before == 0) return;
  const Layer& layer = p.evict.layer;
  const Head head = head_of(layer, row.sequence, simt::block_y() / 2);
  void* const base = simt::block_y() % 2 == 0 ? layer.kv.keys : layer.kv.values;
  visit_row_unit(rows_are_aligned(layer.kv), layer.kv.dtype,
                 [&](auto example) { move_rows<decltype(example)>(layer, head, row.before, base); });
}

}  // namespace hashevict::kernels
