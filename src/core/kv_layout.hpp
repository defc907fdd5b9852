// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/divisor.hpp"
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

/// Lists of pages: a row for each sequence, which all its heads in all layers share (PAGED), or for each head of each
/// sequence in each layer (PAGED_PER_HEAD).
struct BlockTable {
  const int32_t* entries = nullptr;  ///< nullptr if the layout has no pages
  int64_t stride = 0;                ///< padded table: entries between two rows
  const int32_t* offsets = nullptr;  ///< CSR table: [rows + 1]; nullptr if the table is padded
  int64_t length = 0;                ///< number of entries from `entries` on, padding included
  int32_t num_heads = 0;             ///< heads of a sequence, each with a row of its own; 0: they share one

  /// Index of the row of a head of a sequence.
  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr int64_t row(int32_t sequence, int32_t kv_head) const {
    return num_heads == 0 ? int64_t{sequence} : int64_t{sequence} * num_heads + kv_head;
  }
  /// The table of a layer, whose rows follow those of the layers before it; or the same one if layers share rows.
  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr BlockTable of_layer(int32_t layer, int32_t num_sequences) const {
    BlockTable own = *this;
    const int64_t first = int64_t{layer} * num_sequences * num_heads;
    if (offsets != nullptr) {
      own.offsets += first;
    } else if (entries != nullptr) {
      own.entries += first * stride;
    }
    return own;
  }
};

/// A head's row of the block table; nullptr if the layout has no pages.
HASHEVICT_EXEC_CHECK_DISABLE
template <class Load = PlainLoad>
HASHEVICT_HOST_DEVICE const int32_t* block_table_row(const BlockTable& table, int32_t sequence, int32_t kv_head,
                                                     const Load& load = {}) {
  if (table.entries == nullptr) return nullptr;
  const int64_t row = table.row(sequence, kv_head);
  if (table.offsets == nullptr) return table.entries + row * table.stride;
  return table.entries + load(table.offsets + row);
}

/// Where a slot lies.
struct SlotPlace {
  int64_t offset;  ///< bytes, from the base pointer of the layer's keys (or values)
  int32_t before;  ///< slots that lie `slot_stride` apart up to it: those before it in its page, or in the head
  int32_t run;     ///< likewise from it on, and with it: the rest of its page, or INT32_MAX if strided
};

/// The addresses of the slots of one KV head of one sequence, as offsets from the base pointer of the layer's keys (or
/// values). The bytes of one slot are always contiguous.
struct SlotAddress {
  const int32_t* pages = nullptr;  ///< the head's row of the block table; nullptr: strided
  Divisor page_size = {};          ///< slots per page; unused when strided
  int64_t page_stride = 0;         ///< bytes between two pages; unused when strided
  int64_t slot_stride = 0;         ///< bytes between two slots (of a page, if paged)
  int64_t offset = 0;              ///< bytes before the head's slot 0: of the head and, if strided, of the sequence

  /// Byte offset of `slot`.
  [[nodiscard]] HASHEVICT_HOST_DEVICE int64_t operator()(int32_t slot) const { return find(slot).offset; }

  /// SlotPlace::run.
  [[nodiscard]] HASHEVICT_HOST_DEVICE int32_t run(int32_t slot) const {
    return pages == nullptr ? INT32_MAX : page_size.value - slot % page_size.value;
  }
  [[nodiscard]] HASHEVICT_HOST_DEVICE SlotPlace find(int32_t slot) const {
    SlotPlace place{offset, slot, INT32_MAX};
    if (pages != nullptr) {
      const int32_t page = page_size.divide(slot);
      place.before = slot - page * page_size.value;
      place.run = page_size.value - place.before;
      place.offset += pages[page] * page_stride;
    }
    place.offset += place.before * slot_stride;
    return place;
  }
};

/// The memory layout of a layer's keys and values.
struct KvLayout {
  int64_t sequence_stride = 0;  ///< unused if paged
  int64_t slot_stride = 0;
  int64_t page_stride = 0;   ///< unused unless paged
  Divisor page_size = {};    ///< slots per page; unused unless paged
  int64_t head_offsets = 0;  ///< the bits that any head's offset has: they tell how rows are aligned

  /// The addresses of the slots of the head whose slot 0 lies `head_offset` bytes after the sequence's base, or after
  /// the page's. `pages` is the row of the block table, nullptr if the layout has no pages. If the table is device
  /// memory, the host passes a copy.
  [[nodiscard]] HASHEVICT_HOST_DEVICE SlotAddress address(int32_t sequence, int64_t head_offset,
                                                          const int32_t* pages) const {
    const int64_t of_sequence = pages == nullptr ? sequence * sequence_stride : 0;
    return SlotAddress{pages, page_size, page_stride, slot_stride, of_sequence + head_offset};
  }
};

}  // namespace hashevict::core
