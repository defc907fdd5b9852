// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/host_device.hpp"

/// The memory layout of a cache's slots. Strides and offsets count bytes. All types are trivially copyable, for host
/// and device. No other file knows how layouts differ.
namespace hashevict::core {

/// Reads memory of the same processor; the default of the address functions below.
struct PlainLoad {
  template <class T>
  HASHEVICT_HOST_DEVICE T operator()(const T* address) const {
    return *address;
  }
};

/// The pages of each sequence's slots, the same for all heads and layers.
struct BlockTable {
  const int32_t* entries = nullptr;  ///< nullptr if the layout is not PAGED
  int64_t stride = 0;                ///< padded table: entries between two sequences
  const int32_t* offsets = nullptr;  ///< CSR table: [num_sequences + 1]; nullptr if the table is padded
  int64_t length = 0;                ///< number of entries, padding included
};

/// A sequence's row of the block table; nullptr if the layout is not PAGED.
HASHEVICT_EXEC_CHECK_DISABLE
template <class Load = PlainLoad>
HASHEVICT_HOST_DEVICE const int32_t* block_table_row(const BlockTable& table, int32_t sequence, const Load& load = {}) {
  if (table.entries == nullptr) return nullptr;
  if (table.offsets == nullptr) return table.entries + sequence * table.stride;
  return table.entries + load(table.offsets + sequence);
}

/// The addresses of the slots of one KV head of one sequence, as offsets from the base pointer of the layer's keys (or
/// values). The bytes of one slot are always contiguous.
struct SlotAddress {
  const int32_t* pages = nullptr;  ///< this sequence's row of the block table; nullptr: strided
  int32_t page_size = 0;           ///< slots per page; unused when strided
  int64_t page_stride = 0;         ///< bytes between two pages; unused when strided
  int64_t slot_stride = 0;         ///< bytes between two slots (of a page, if paged)
  int64_t offset = 0;              ///< bytes before the head's slot 0: of the head and, if strided, of the sequence

  /// Byte offset of `slot`.
  [[nodiscard]] HASHEVICT_HOST_DEVICE int64_t operator()(int32_t slot) const {
    if (pages == nullptr) return offset + slot * slot_stride;
    return offset + pages[slot / page_size] * page_stride + (slot % page_size) * slot_stride;
  }

  /// Number of slots, from `slot` on and with it, that lie `slot_stride` apart: the rest of its page, or INT32_MAX if
  /// strided.
  [[nodiscard]] HASHEVICT_HOST_DEVICE int32_t run(int32_t slot) const {
    return pages == nullptr ? INT32_MAX : page_size - slot % page_size;
  }
};

/// The memory layout of a layer's keys and values.
struct KvLayout {
  int64_t sequence_stride = 0;  ///< unused if PAGED
  int64_t slot_stride = 0;
  int64_t page_stride = 0;   ///< unused unless PAGED
  int32_t page_size = 0;     ///< slots per page; unused unless PAGED
  int64_t head_offsets = 0;  ///< the bits that any head's offset has: they tell how rows are aligned

  /// The addresses of the slots of the head whose slot 0 lies `head_offset` bytes after the sequence's base, or after
  /// the page's. `pages` is the row of the block table, nullptr if the layout is not PAGED. If the table is device
  /// memory, the host passes a copy.
  [[nodiscard]] HASHEVICT_HOST_DEVICE SlotAddress address(int32_t sequence, int64_t head_offset,
                                                          const int32_t* pages) const {
    const int64_t of_sequence = pages == nullptr ? sequence * sequence_stride : 0;
    return SlotAddress{pages, page_size, page_stride, slot_stride, of_sequence + head_offset};
  }
};

}  // namespace hashevict::core
