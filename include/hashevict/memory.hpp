// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>
#include <hashevict/config.hpp>

#include <cstdint>
#include <vector>

namespace hashevict {

/// Memory lent to a Cache: derives from ::hashevict_memory, whose arrays on the host are vectors here. The cache
/// allocates each part that is empty or null.
///
/// Lent memory must outlive the cache, which never frees it. Its parts are disjoint, but keys and values of any layers
/// and heads may interleave in one buffer. The cache's constructor copies the vectors, not the memory behind their
/// pointers. Offsets and strides count bytes. If all strides in use are empty or 0, slots are dense in the order that
/// `placement.layout` names. Otherwise they must keep slots disjoint, as ::hashevict_memory says. Addresses of slots:
///  - head_major: `keys[layer] + sequence * sequence_strides[layer] + head_offsets[layer][head] + slot * slot_stride`
///  - slot_major: `keys[layer] + sequence * sequence_strides[layer] + head * head_stride + slot * slot_stride`
///  - paged: `keys[layer] + page * page_stride + head * head_stride + (slot % page_size) * slot_stride` with
///    `page = block_table[sequence][slot / page_size]`
///  - paged_per_head: `keys[layer] + page * page_stride + (slot % page_size) * slot_stride` with
///    `page = block_table[layer][sequence][head][slot / page_size]`; layers may share one pool of pages
///
/// @code
/// hashevict::Memory memory;                       // an engine that owns its pages
/// memory.keys = key_pages;                        // one base pointer per layer
/// memory.values = value_pages;
/// memory.num_pages = num_pages;
/// memory.block_table = block_table;               // int32 [num_sequences, pages_per_sequence]; never written
/// memory.block_table_stride = pages_per_sequence;
/// hashevict::Cache cache{config, memory};
/// @endcode
struct Memory : hashevict_memory {
  std::vector<void*> keys;                ///< `[num_layers]` base pointers, backend memory, or empty (not with pages)
  std::vector<void*> values;              ///< likewise
  std::vector<int64_t> head_offsets;      ///< `[num_layers, num_kv_heads]`, head_major, or empty: dense
  std::vector<int64_t> sequence_strides;  ///< `[num_layers]`, not with pages, or empty

  /// Lends nothing.
  Memory() noexcept : hashevict_memory{} { struct_size = sizeof(hashevict_memory); }

  /// Converts to the C ABI's struct. Its arrays on the host point into this object, which must outlive it.
  /// @throws Error invalid_argument unless each vector is empty or has one element a layer, or a layer and KV head
  [[nodiscard]] hashevict_memory c_memory(int32_t num_layers, int32_t num_kv_heads) const& {
    hashevict_memory c = static_cast<const hashevict_memory&>(*this);
    c.keys = detail::per_layer("memory.keys", keys, num_layers);
    c.values = detail::per_layer("memory.values", values, num_layers);
    c.head_offsets = detail::per_head("memory.head_offsets", head_offsets, num_layers, num_kv_heads);
    c.sequence_strides = detail::per_layer("memory.sequence_strides", sequence_strides, num_layers);
    return c;
  }
  hashevict_memory c_memory(int32_t, int32_t) const&& = delete;  // the result would point into the temporary
};

}  // namespace hashevict
