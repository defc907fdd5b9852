// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>
#include <hashevict/enums.hpp>
#include <hashevict/tensor.hpp>
#include <hashevict/twin.hpp>

#include <cstdint>

namespace hashevict {

/// The memory that a config needs, in bytes: the fields of ::hashevict_bytes.
struct Bytes : hashevict_bytes {
  Bytes() noexcept : hashevict_bytes{} { struct_size = sizeof(hashevict_bytes); }
};

/// Counters of a cache: the fields of ::hashevict_statistics.
struct Statistics : hashevict_statistics {
  Statistics() noexcept : hashevict_statistics{} { struct_size = sizeof(hashevict_statistics); }
};

/// The abilities of this build on this machine: the fields of ::hashevict_capabilities.
struct Capabilities : hashevict_capabilities {
  Capabilities() noexcept : hashevict_capabilities{} { struct_size = sizeof(hashevict_capabilities); }

  [[nodiscard]] bool supports(Policy policy) const noexcept { return has(policy_mask, static_cast<int>(policy)); }
  [[nodiscard]] bool supports(PrefillMode mode) const noexcept {
    return has(prefill_mode_mask, static_cast<int>(mode));
  }
  [[nodiscard]] bool supports(Layout layout) const noexcept { return has(layout_mask, static_cast<int>(layout)); }
  /// Whether keys and values can be stored as `dtype`.
  [[nodiscard]] bool supports(DType dtype) const noexcept { return has(storage_dtype_mask, static_cast<int>(dtype)); }

 private:
  static bool has(uint32_t mask, int bit) noexcept { return bit >= 0 && bit < 32 && ((mask >> bit) & 1U) != 0; }
};

/// Tensors over the state of one KV head of a layer, for foreign attention kernels: the twin of ::hashevict_view. Owns
/// nothing: valid as long as the cache. Read-only, except that an engine that uses Cache::evict() writes keys and
/// values of the slots it was given.
struct View {
  Tensor keys;         ///< `[num_sequences, capacity, head_dim]`, strided; pages: `[num_pages, page_size, head_dim]`
  Tensor values;       ///< likewise
  Tensor codes;        ///< uint8 `[num_sequences, capacity, hash_bits / 8]`, hash_bits of the layer's rule
  Tensor positions;    ///< int32 `[num_sequences, capacity]`, -1 where empty
  Tensor lengths;      ///< int32 `[num_sequences]`, strided: valid slots, min(tokens seen, capacity)
  Tensor tokens_seen;  ///< int32 `[num_sequences]`, strided: logical length, the position of the next token

  /// Takes over a view of the C ABI.
  explicit View(const hashevict_view& c) noexcept { detail::copy_fields_from_c(*this, c); }
};

}  // namespace hashevict
