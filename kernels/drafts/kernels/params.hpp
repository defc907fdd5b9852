// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/rule.hpp"

/// What kernels are given: trivially copyable, passed by value. All pointers are device memory; strides count elements.
namespace hashevict::kernels {

/// Vectors to read: `[tokens, heads, head_dim]` of any float type.
struct Vectors {
  const void* data;
  int32_t dtype;  ///< ::hashevict_dtype
  int64_t stride[3];
};

/// Numbers to write: `[tokens, num_kv_heads]`; `data == nullptr`: not wanted.
struct Numbers {
  int32_t* data;
  int64_t stride[2];
};

/// Codes of vectors, and nothing else.
struct EncodeParams {
  Vectors x;                ///< [tokens, heads, head_dim], read-only
  const float* center;      ///< [heads, head_dim], read-only; nullptr: none is subtracted
  const float* projection;  ///< [num_projections, head_dim, hash_bits], read-only: transposed, bits contiguous
  uint8_t* codes;           ///< [tokens, heads, hash_bits / 8], written
  int64_t codes_stride[3];
  int32_t tokens;
  int32_t heads_per_projection;  ///< heads that share a projection; INT32_MAX: all of them
  int32_t head_dim;              ///< a multiple of 8, up to 256
};

/// Where the slots of a layer lie; the addresses themselves are made by core::SlotAddress.
struct Slots {
  void* keys;    ///< written; nullptr: keys and values are left to the caller
  void* values;  ///< written
  int32_t dtype;
  int32_t page_size;
  int64_t sequence_stride;  ///< unused if paged
  int64_t head_stride;
  int64_t slot_stride;
  int64_t page_stride;                 ///< paged only
  const int32_t* block_table;          ///< nullptr: strided
  int64_t block_table_stride;          ///< padded table: entries from one sequence to the next
  const int32_t* block_table_offsets;  ///< CSR table: [num_sequences + 1]; nullptr: padded
};

/// One layer's state: S sequences, H KV heads, C padded capacity. The shapes of core::LayerState.
struct State {
  uint8_t* codes;                 ///< [S, H, C, hash_bits / 8], each head's part aligned to 16 bytes
  int32_t* positions;             ///< [S, H, C], -1 where empty
  uint8_t* accumulators;          ///< [S, H, C] of the rule's type, for rules that have one
  float* key_sums;                ///< [S, H, head_dim], probe mean_key only
  int32_t* bit_counts;            ///< [S, H, hash_bits], probe majority only
  const float* key_centers;       ///< [S, H, head_dim]; nullptr: not centred
  const float* query_centers;     ///< [S, H * group_size, head_dim]; likewise
  const int32_t* prompt_lengths;  ///< [S], positions below are pinned; nullptr: nothing is
  int32_t* lengths;               ///< [S]
  int32_t* tokens_seen;           ///< [S]
  uint32_t* tickets;              ///< [S], zero before the first launch; every launch leaves them zero
  const float* projection;        ///< [num_projections, head_dim, hash_bits]
};

/// One step of a layer, for all rows and heads.
struct EvictParams {
  const int32_t* row_to_sequence;  ///< [rows]; nullptr: row r is sequence r; -1 skips a row
  const int32_t* cu_seqlens;       ///< [rows + 1]; nullptr: one token a row
  Vectors q;                       ///< [tokens, H * group_size, head_dim], read for probe `queries` only
  Vectors k;                       ///< [tokens, H, head_dim]
  Vectors v;                       ///< [tokens, H, head_dim], read if keys and values are stored
  Numbers slots;                   ///< [tokens, H], the slot each token went to
  Numbers victims;                 ///< [tokens, H], the position that it replaced, or -1
  State state;
  Slots kv;
  int32_t num_kv_heads;
  int32_t group_size;
  int32_t head_dim;
  int32_t capacity;
  int32_t padded_capacity;
  int32_t num_sink_tokens;
  int32_t recent_window;
  int32_t oldest_first;         ///< ties: the smallest position, else the lowest slot
  int32_t projection_per_head;  ///< 0: one projection for all heads
  core::StepFacts facts;        ///< kv_head: global index of head 0; token_position is set by each step
};

}  // namespace hashevict::kernels
