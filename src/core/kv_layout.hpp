// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/host_device.hpp"

namespace hashevict::core {

/// Where the slots of one KV head of one sequence lie: element offsets from the base pointer of the layer's keys (or
/// values). The elements of one slot are always contiguous. Trivially copyable, for host and device.
struct SlotAddress {
  const int32_t* pages = nullptr;  ///< this sequence's row of the block table; nullptr: strided
  int32_t page_size = 0;           ///< slots per page; unused when strided
  int64_t page_stride = 0;         ///< elements between two pages; unused when strided
  int64_t slot_stride = 0;         ///< elements between two slots (of one page)
  int64_t offset = 0;              ///< elements before the head's slot 0: head and, when strided, sequence

  /// Offset of the first element of `slot`.
  [[nodiscard]] HASHEVICT_HOST_DEVICE int64_t operator()(int32_t slot) const {
    if (pages == nullptr) return offset + slot * slot_stride;
    return offset + pages[slot / page_size] * page_stride + (slot % page_size) * slot_stride;
  }

  /// How many slots from `slot` on, itself included, lie `slot_stride` apart: the rest of its page, or INT32_MAX when
  /// strided.
  [[nodiscard]] HASHEVICT_HOST_DEVICE int32_t run(int32_t slot) const {
    return pages == nullptr ? INT32_MAX : page_size - slot % page_size;
  }
};

}  // namespace hashevict::core
