// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/layer.hpp"

/// The parameters of kernels: trivially copyable, passed by value. All pointers are device memory; strides count
/// elements. S sequences, H KV heads, G query heads a KV head; of a layer, P padded slots and N splits of all heads.
namespace hashevict::kernels {

using core::counter_of;
using core::DType;
using core::Head;
using core::Layer;

using core::kMostSplits;

/// Vectors to read: `[tokens, heads, head_dim]` of any float type.
struct Vectors {
  const void* data;
  DType dtype;
  int64_t stride[3];
};

/// Vectors to write: `[tokens, heads, head_dim]` of any float type.
struct MutableVectors {
  void* data;
  DType dtype;
  int64_t stride[3];
};

/// Numbers to write, or constant ones to read: `[tokens, heads]`; `data == nullptr`: the caller did not ask for them,
/// or brings none.
template <class T>
struct Numbers {
  T* data;
  int64_t stride[2];
};

/// The tokens of each row of a launch, and the sequence of each row. Read on the device alone.
struct Batch {
  const int32_t* row_to_sequence;  ///< [rows]; nullptr: row r is sequence r; -1 skips a row
  const int32_t* cu_seqlens;       ///< [rows + 1]; nullptr: one token a row
  int32_t rows;
  int32_t tokens;
  int32_t num_sequences;  ///< of the cache; a row with a larger number is skipped
};

/// encode: codes of vectors; the cache stays as it is.
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
  Batch batch;  ///< rows > 0: each token is encoded with the centre of its row's sequence, and skipped rows are not
                ///< encoded
};

/// evict and append: steps without attention, the tokens of a row in order.
struct EvictParams {
  Layer layer;
  Batch batch;
  Vectors q;                              ///< [tokens, H * G, head_dim], read for probe `queries` only
  Vectors k;                              ///< [tokens, H, head_dim]
  Vectors v;                              ///< [tokens, H, head_dim], read if `store`
  Numbers<int32_t> slots;                 ///< [tokens, H] the slot of each token
  Numbers<int32_t> victims;               ///< [tokens, H] the position that the token replaced, or -1
  int32_t store;                          ///< 0: the caller stores keys and values
  Numbers<const float> importance;        ///< [tokens, H], for rules that need it and do not weigh keys
  Numbers<const float> importance_slope;  ///< [tokens, H]; absent: 0
};

/// Partial results of the splits, for the block that combines them; workspace. Items are tokens for attend and
/// sequences for decode, at most num_sequences in both cases.
struct Partials {
  float* values;   ///< [items, N, G, head_dim], weighted
  float* maxima;   ///< [items, N, G] of the logits
  float* sums;     ///< [items, N, G] of the weights
  uint64_t* keys;  ///< [items, N] of each split's candidate; 0: no candidate
  int32_t* slots;  ///< [items, N] of the candidates
  float* logits;   ///< [items, N, G] of the candidates
};

/// The scaling of logits.
struct Softmax {
  float scale;
  float soft_cap;  ///< 0: off
};

/// attend: query tokens over the slots of a layer.
struct AttendParams {
  Layer layer;
  Batch batch;
  Vectors q;           ///< [tokens, H * G, head_dim]
  MutableVectors out;  ///< [tokens, H * G, head_dim]
  Numbers<float> lse;  ///< [tokens, H * G], natural log of the softmax sum
  Softmax softmax;
  Partials partials;
  int32_t split;  ///< 0: one block goes through all splits of its token, and `partials` is unused
  int32_t after;  ///< the queries stand behind all tokens: each sees every valid slot
};

/// decode: evict and attend in one launch.
struct DecodeParams {
  EvictParams evict;
  core::HeadArrays heads;  ///< of `evict.layer`
  MutableVectors out;
  Numbers<float> lse;
  Softmax softmax;
  Partials partials;
};

/// prefill: a prompt, or a chunk of one.
struct PrefillParams {
  EvictParams evict;       ///< q is read for probe `queries`, for mode WINDOW and for attention
  int32_t mode;            ///< ::hashevict_prefill_mode
  int32_t window;          ///< of mode WINDOW, before each head clips it to capacity - sinks
  int32_t by_prompt_mean;  ///< centring PROMPT: a sequence that starts here takes its centre from these tokens
  uint8_t* key_codes;      ///< [tokens, H, hash_bits / 8], workspace
  uint8_t* query_codes;    ///< [tokens, H * G, hash_bits / 8], workspace, where queries are encoded
  float* importances;      ///< [tokens, H], workspace, for rules that weigh keys
  uint32_t* scores;    ///< [S, P] of cached slots, then [H, tokens] of the batch's tokens, or their deaths; workspace
  MutableVectors out;  ///< [tokens, H * G, head_dim]; absent: no attention
  Numbers<float> lse;  ///< [tokens, H * G]
  Softmax softmax;     ///< of `out`
  int32_t streamed;    ///< the queries see the states after their own steps; 0: all earlier tokens
};

/// fork: copies keys and values of the slots that a sequence holds.
struct CopyParams {
  Layer layer;
  int32_t source, target;  ///< sequences
};

}  // namespace hashevict::kernels
