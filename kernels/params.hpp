// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/rule.hpp"

/// What kernels are given: trivially copyable, passed by value. All pointers are device memory; strides count elements.
/// S sequences, H KV heads, G query heads a KV head, C padded capacity.
namespace hashevict::kernels {

/// Slots of one split of attention. Fixed, so that results depend on a head's own length alone.
inline constexpr int32_t kSplitSlots = 256;

/// Vectors to read: `[tokens, heads, head_dim]` of any float type.
struct Vectors {
  const void* data;
  int32_t dtype;  ///< ::hashevict_dtype
  int64_t stride[3];
};

/// Vectors to write, likewise.
struct MutableVectors {
  void* data;
  int32_t dtype;
  int64_t stride[3];
};

/// Numbers to write: `[tokens, heads]`; `data == nullptr`: not wanted.
template <class T>
struct Numbers {
  T* data;
  int64_t stride[2];
};

/// Which tokens of a launch belong to which sequence. Read on the device alone.
struct Batch {
  const int32_t* row_to_sequence;  ///< [rows]; nullptr: row r is sequence r; -1 skips a row
  const int32_t* cu_seqlens;       ///< [rows + 1]; nullptr: one token a row
  int32_t rows;
  int32_t tokens;
  int32_t num_sequences;  ///< of the cache: larger numbers in row_to_sequence are skipped
};

/// Where the slots of a layer lie; the addresses themselves are made by core::SlotAddress.
struct Slots {
  void* keys;
  void* values;
  int32_t dtype;
  int32_t page_size;
  int64_t sequence_stride;  ///< unused if paged
  int64_t head_stride;
  int64_t slot_stride;
  int64_t page_stride;                 ///< paged only
  const int32_t* block_table;          ///< nullptr: strided
  int64_t block_table_stride;          ///< padded table: entries from one sequence to the next
  const int32_t* block_table_offsets;  ///< CSR table: [S + 1]; nullptr: padded
};

/// One layer's state, in the shapes of core::LayerState.
struct State {
  uint8_t* codes;           ///< [S, H, C, hash_bits / 8], each head's part aligned to 16 bytes
  int32_t* positions;       ///< [S, H, C], -1 where empty
  uint8_t* accumulators;    ///< [S, H, C] of the rule's type, for rules that have one
  float* key_sums;          ///< [S, H, head_dim], probe mean_key only
  int32_t* bit_counts;      ///< [S, H, hash_bits], probe majority only
  float* key_centers;       ///< [S, H, head_dim]; nullptr: not centred
  float* query_centers;     ///< [S, H * G, head_dim]; likewise
  int32_t* lengths;         ///< [S] valid slots
  int32_t* tokens_seen;     ///< [S] the position of the next token
  int32_t* prompt_lengths;  ///< [S] tokens seen when the last prefill ended
  int32_t* center_set;      ///< [S] a core::CenterOrigin
  uint32_t* tickets;        ///< [S, H + 1], zero before a launch; every launch leaves them zero
  const float* projection;  ///< [num_projections, head_dim, hash_bits]: transposed, bits contiguous
};

/// One layer of a cache: the same for every operation and every call.
struct Layer {
  State state;
  Slots kv;
  core::RuleKind rule;
  core::StepFacts facts;  ///< kv_head: global index of head 0; token_position is set by each step
  int32_t num_kv_heads;
  int32_t group_size;
  int32_t head_dim;  ///< a multiple of 8, up to 256
  int32_t capacity;
  int32_t padded_capacity;
  int32_t num_sink_tokens;
  int32_t recent_window;
  int32_t oldest_first;         ///< ties: the smallest position, else the lowest slot
  int32_t projection_per_head;  ///< 0: one projection for all heads
  int32_t pin_prompt;           ///< positions of the prompt are evicted only when nothing else can be
};

/// Codes of vectors, and nothing else.
struct EncodeParams {
  Vectors x;                ///< [tokens, heads, head_dim]
  const float* center;      ///< [heads, head_dim] of `sequence`, or [S, heads, head_dim]; nullptr: none is subtracted
  const float* projection;  ///< [num_projections, head_dim, hash_bits]
  uint8_t* codes;           ///< [tokens, heads, hash_bits / 8], written
  int64_t codes_stride[3];
  int32_t tokens;
  int32_t heads;
  int32_t heads_per_projection;  ///< heads that share a projection; INT32_MAX: all of them
  int32_t head_dim;
  int32_t hash_bits;
  Batch batch;  ///< rows > 0: a token's centre is that of its row's sequence, and skipped rows are not encoded
};

/// evict, and append: steps without attention, a row's tokens one after the other.
struct EvictParams {
  Layer layer;
  Batch batch;
  Vectors q;                 ///< [tokens, H * G, head_dim], read for probe `queries` only
  Vectors k;                 ///< [tokens, H, head_dim]
  Vectors v;                 ///< [tokens, H, head_dim], read if `store`
  Numbers<int32_t> slots;    ///< [tokens, H], the slot each token went to
  Numbers<int32_t> victims;  ///< [tokens, H], the position that it replaced, or -1
  int32_t store;             ///< 0: keys and values are left to the caller
};

/// What splits of attention leave for the block that combines them; workspace. Items are tokens for attend, sequences
/// for decode: never more than the cache has sequences.
struct Partials {
  float* states;       ///< [items, H, splits, G, 2 + head_dim]: maximum logit, sum of weights, weighted values
  uint64_t* keys;      ///< [items, H, splits] of each split's candidate, 0: none
  int32_t* slots;      ///< [items, H, splits] of the candidates
  float* logits;       ///< [items, H, splits, G] of the candidates
  int32_t num_splits;  ///< of a full layer
};

/// What attention does to a logit.
struct Softmax {
  float scale;
  float soft_cap;  ///< 0: none
};

/// attend: query tokens over what a layer holds.
struct AttendParams {
  Layer layer;
  Batch batch;
  Vectors q;           ///< [tokens, H * G, head_dim]
  MutableVectors out;  ///< [tokens, H * G, head_dim]
  Numbers<float> lse;  ///< [tokens, H * G], natural log of the softmax sum
  Softmax softmax;
  Partials partials;
  int32_t split;  ///< 0: a block goes through all splits of its token itself, and `partials` is not used
};

/// decode: evict and attend in one launch.
struct DecodeParams {
  EvictParams evict;
  MutableVectors out;
  Numbers<float> lse;
  Softmax softmax;
  Partials partials;
};

/// prefill: a prompt, or a chunk of one.
struct PrefillParams {
  EvictParams evict;       ///< q is read for probe `queries` and for mode WINDOW
  int32_t mode;            ///< ::hashevict_prefill_mode
  int32_t window;          ///< of mode WINDOW, clipped to capacity - sinks
  int32_t by_prompt_mean;  ///< centring PROMPT: a sequence that starts here gets its centre from these tokens
  uint8_t* key_codes;      ///< [tokens, H, hash_bits / 8], workspace
  uint8_t* query_codes;    ///< [tokens, H * G, hash_bits / 8], workspace, where queries are encoded
  uint32_t* scores;        ///< [H, S * C + tokens], workspace: of cached slots, then of the batch's tokens
};

/// fork: copies keys and values of the slots that a sequence holds.
struct CopyParams {
  Layer layer;
  int32_t source, target;  ///< sequences
};

}  // namespace hashevict::kernels
