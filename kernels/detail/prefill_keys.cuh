// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/element.cuh"
#include "kernels/detail/prefill_tile.cuh"

/// The keys of a tile of queries, gathered from the slots of the cache and the tokens of the call.
///
/// A key is known by its birth: the index in the row of its token. Slots in use before the call were born before it,
/// slot s at s - (number of them), a negative number. A query of token t sees a key iff birth <= t < death.
namespace hashevict::kernels {

inline constexpr int32_t kScanned = 4;                        ///< keys that a thread looks at in one round
inline constexpr int32_t kRound = kScanned * kAttendThreads;  ///< keys that the block looks at in one round
inline constexpr int32_t kUnborn = kForever;                  ///< birth of what fills up the last block of keys
inline constexpr int32_t kStagingLanes = 8;                   ///< lanes that load a row together
inline constexpr int32_t kStagedRows = kAttendThreads / kStagingLanes;  ///< rows that the block loads side by side

/// Keys that the tile's first query, or a later one, sees. The block takes them in blocks of kKeys.
struct KeyList {
  simt::SharedArray<int32_t> births;  ///< [kKeys + kRound]
  simt::SharedArray<int32_t> deaths;  ///< likewise
  simt::SharedArray<int32_t> counts;  ///< [kScanned, kAttendWarps] keys found in a round
};

template <int32_t kKeys>
HASHEVICT_HOST_DEVICE constexpr int32_t key_list_bytes() {
  return 2 * simt::shared_bytes<int32_t>(kKeys + kRound) + simt::shared_bytes<int32_t>(kScanned * kAttendWarps);
}

template <int32_t kKeys>
HASHEVICT_DEVICE KeyList take_key_list(simt::SharedMemory& memory) {
  const auto births = memory.take<int32_t>(kKeys + kRound);
  const auto deaths = memory.take<int32_t>(kKeys + kRound);
  return {births, deaths, memory.take<int32_t>(kScanned * kAttendWarps)};
}

/// A tile with everything that its keys depend on.
struct TileInput {
  const PrefillParams& p;
  const PrefillRow& row;
  const QueryTile& tile;
  int32_t slots;         ///< in use before the call
  int64_t slots_offset;  ///< of HeadSettings
  const int32_t* pages;  ///< the head's row of the block table
  bool slots_aligned;    ///< rows of the cache start at multiples of 16 bytes
  bool keys_alike;       ///< the call's keys have the cache's type and can be loaded 16 bytes at a time
  bool values_alike;     ///< likewise

  [[nodiscard]] HASHEVICT_DEVICE const Layer& layer() const { return p.evict.layer; }
  [[nodiscard]] HASHEVICT_DEVICE int32_t head_dim() const { return layer().shape.head_dim; }
  /// Rebuilt for each use: strides need no registers, since they are parameters.
  [[nodiscard]] HASHEVICT_DEVICE core::SlotAddress address() const {
    return layer().kv.address(row.sequence, slots_offset, pages);
  }
};

HASHEVICT_DEVICE Deaths deaths_of(const TileInput& in) {
  return deaths_of(in.p, in.row, head_of(in.layer(), in.row.sequence, in.tile.kv_head));
}

/// Whether vectors are stored as the cache stores them, and can be loaded 16 bytes at a time.
HASHEVICT_DEVICE bool can_copy(const Vectors& x, DType dtype) {
  return x.dtype == dtype && x.stride[2] == 1 && vectors_are_aligned(x);
}

HASHEVICT_DEVICE TileInput tile_input(const PrefillParams& p, const PrefillRow& row, const QueryTile& tile) {
  const Layer& layer = p.evict.layer;
  const DType dtype = layer.shape.format.dtype;
  const core::HeadSettings head = settings_of(layer, tile.kv_head);
  return {p,
          row,
          tile,
          head.length(row.before),
          head.slots_offset,
          core::block_table_row(layer.table, row.sequence, tile.kv_head, Load{}),
          rows_are_aligned(layer),
          can_copy(p.evict.k, dtype),
          can_copy(p.evict.v, dtype)};
}

/// The fewest keys that a query of the tile sees.
HASHEVICT_DEVICE int32_t fewest_keys(const TileInput& in) {
  const int32_t seen = in.slots + in.tile.first + 1;
  return in.p.streamed == 0 || seen < in.row.capacity ? seen : in.row.capacity;
}

/// The death of the key born at `birth`.
HASHEVICT_DEVICE int32_t death_of(const TileInput& in, const Deaths& deaths, int32_t birth) {
  if (in.p.streamed == 0) return kForever;
  const uint32_t* const at = birth < 0 ? deaths.of_slots + (in.slots + birth) : deaths.of_tokens + birth;
  return static_cast<int32_t>(simt::load(at));
}

/// All threads append to the list, in order, those of kRound keys from `first` on that are alive at the tile's first
/// token or born later. @return keys in the list
HASHEVICT_DEVICE int32_t scan_keys(const TileInput& in, const KeyList& list, int32_t first, int32_t held) {
  const Deaths deaths = deaths_of(in);  // found anew in each round, which costs no registers between them
  int32_t death[kScanned];
  uint32_t found[kScanned];
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kScanned; ++i) {
    const int32_t birth = first + i * kAttendThreads + simt::thread_index();
    death[i] = birth < in.tile.end ? death_of(in, deaths, birth) : 0;
  }
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kScanned; ++i) {
    found[i] = simt::ballot(simt::kFullMask, death[i] > in.tile.first);
    if (simt::lane() == 0) list.counts.store(i * kAttendWarps + simt::warp(), simt::popcount(found[i]));
  }
  simt::block_sync();
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kScanned; ++i) {
    int32_t counts[kAttendWarps];
    list.counts.load_many(i * kAttendWarps, counts);
    int32_t place = held + simt::popcount(found[i] & ((1U << simt::lane()) - 1U));
    HASHEVICT_UNROLL
    for (int32_t w = 0; w < kAttendWarps; ++w) {
      if (w < simt::warp()) place += counts[w];
      held += counts[w];
    }
    if ((found[i] >> simt::lane() & 1U) == 0) continue;
    list.births.store(place, first + i * kAttendThreads + simt::thread_index());
    list.deaths.store(place, death[i]);
  }
  simt::block_sync();
  return held;
}

/// All threads move the list's entries from `first` on, fewer than a block of keys, to its front. The list's readers
/// have passed a barrier.
HASHEVICT_DEVICE void keep_rest(const KeyList& list, int32_t first, int32_t held) {
  const int32_t i = first + simt::thread_index();
  if (first > 0 && i < held) {  // no entry is both read and written: first is at least a block
    list.births.store(simt::thread_index(), list.births.load(i));
    list.deaths.store(simt::thread_index(), list.deaths.load(i));
  }
}

/// Fills up the last block of keys.
template <int32_t kKeys>
HASHEVICT_DEVICE void fill_up(const KeyList& list, int32_t held) {
  const int32_t i = held + simt::thread_index();
  if (i < (held + kKeys - 1) / kKeys * kKeys) {
    list.births.store(i, kUnborn);
    list.deaths.store(i, 0);
  }
  simt::block_sync();
}

/// Calls `work(first, count, next)` for each block of at most kKeys keys, from entry `first` of the list on. The next
/// block starts at `next`; if that is negative, or there was no block before, `work.start(first)` comes first. All
/// threads are at a barrier's far side when a block starts.
template <int32_t kKeys, class Work>
HASHEVICT_DEVICE void for_blocks_of_keys(const TileInput& in, const KeyList& list, Work& work) {
  static_assert(kKeys <= kAttendThreads);
  int32_t held = 0;
  HASHEVICT_NO_UNROLL
  for (int32_t birth = -in.slots; birth < in.tile.end; birth += kRound) {
    held = scan_keys(in, list, birth, held);
    const bool last = in.tile.end - birth <= kRound;
    if (last) fill_up<kKeys>(list, held);
    const int32_t end = last ? held : held - kKeys + 1;  // blocks start before it
    if (end > 0) work.start(0);
    int32_t first = 0;
    HASHEVICT_NO_UNROLL
    for (; first < end; first += kKeys) {
      const int32_t left = held - first;
      work(first, left < kKeys ? left : kKeys, first + kKeys < end ? first + kKeys : -1);
    }
    simt::block_sync();
    if (last) return;
    keep_rest(list, first, held);
    held -= first;
  }
}

/// Rows of keys, or of values: those of the cache and those of the call.
struct RowsOf {
  const void* slots;
  const Vectors& tokens;
  bool alike;  ///< of TileInput
};

HASHEVICT_DEVICE RowsOf keys_of(const TileInput& in) {
  return {in.layer().keys, in.p.evict.k, in.keys_alike};
}
HASHEVICT_DEVICE RowsOf values_of(const TileInput& in) {
  return {in.layer().values, in.p.evict.v, in.values_alike};
}

/// The place of a key's row: bytes behind `slots`, or elements behind the call's first.
HASHEVICT_DEVICE int64_t place_of(const TileInput& in, const core::SlotAddress& address, const RowsOf& rows,
                                  int32_t birth) {
  if (birth < 0) return address(in.slots + birth);
  if (birth == kUnborn) return 0;
  return (int64_t{in.row.first_token} + birth) * rows.tokens.stride[0] + in.tile.kv_head * rows.tokens.stride[1];
}

/// The rows, and the elements in each, that a thread loads into shared memory, in turn: neighbours load neighbours.
HASHEVICT_DEVICE int32_t staged_row(int32_t i) {
  return simt::thread_index() / kStagingLanes + i * kStagedRows;
}
HASHEVICT_DEVICE int32_t staged_element(int32_t i) {
  return (simt::thread_index() % kStagingLanes + i * kStagingLanes) * kPieceElements;
}

}  // namespace hashevict::kernels
