// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>
#include <hashevict/enums.hpp>
#include <hashevict/tensor.hpp>
#include <hashevict/twin.hpp>

#include <cstdint>

/// Arguments of the five operations on a batch. Each struct has exactly the tensors that its operation reads and
/// writes; a name means the same in all of them. `rows` of the batch bring `tokens` tokens, back to back. All tensors
/// lie in the backend's memory (host for CPU, device for CUDA). A tensor without elements needs no memory: its data may
/// be null. q, k, v and out may have any float dtype. `importance` and `importance_slope` are for Policy::importance
/// alone: its rule says which of them every step brings; one that is missing or not asked for is refused. The CPU
/// refuses elements that are not finite; on CUDA they count as the least important.
namespace hashevict {

/// Assigns a sequence and a number of tokens to each row of a batch: the twin of ::hashevict_batch.
struct Batch {
  Tensor row_to_sequence;  ///< int32 `[rows]`, read-only, optional (row r is sequence r); -1 skips a row
  Tensor cu_seqlens;       ///< int32 `[rows + 1]`, read-only, optional (one token a row): token offsets
};

/// Scales and caps the logits of attention: the fields of ::hashevict_softmax.
struct Softmax : hashevict_softmax {
  /// The defaults.
  Softmax() noexcept : hashevict_softmax{} {}
};

/// Arguments of Cache::prefill(): the twin of ::hashevict_prefill_args.
struct PrefillArgs {
  int32_t layer = 0;
  Batch batch;
  Tensor q;      ///< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied; optional without `out` for rules
                 ///< whose probe is not the query, in modes replay and recent
  Tensor k;      ///< `[tokens, num_kv_heads, head_dim]`, read-only, RoPE applied
  Tensor v;      ///< `[tokens, num_kv_heads, head_dim]`, read-only
  Tensor slots;  ///< int32 `[tokens, num_kv_heads]`, written, optional. Mode replay: the slot that the token's own step
                 ///< gave it. Else its slot after the call, or -1 if it was dropped
  Tensor victims;  ///< int32 `[tokens, num_kv_heads]`, written, optional. Mode replay: the position that the token's
                   ///< step evicted, or -1. Else -1
  PrefillMode mode = PrefillMode::replay;
  int32_t window = 0;       ///< queries and tokens of PrefillMode::window, clipped to capacity - sinks; 0: 32
  Tensor importance;        ///< float32 `[tokens, num_kv_heads]`, read-only: a of Policy::importance
  Tensor importance_slope;  ///< float32 `[tokens, num_kv_heads]`, read-only: b, per token of age
  Tensor out;  ///< `[tokens, num_qo_heads, head_dim]`, written, optional: without it no attention is computed; rows
               ///< that are skipped stay as they are; may be q itself
  Tensor lse;  ///< float32 `[tokens, num_qo_heads]`, written, optional, absent without `out`: natural log of the
               ///< softmax sum
  Softmax softmax;
  PrefillAttention attention = PrefillAttention::streamed;  ///< the keys that `out` sees

  /// Converts to the C ABI's struct, which points only to the tensors' memory.
  [[nodiscard]] hashevict_prefill_args c_args() const noexcept {
    return detail::versioned<hashevict_prefill_args>(*this);
  }
};

/// Arguments of Cache::evict(): the twin of ::hashevict_evict_args.
struct EvictArgs {
  int32_t layer = 0;
  Batch batch;
  Tensor q;        ///< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied; optional for rules whose probe is
                   ///< not the query
  Tensor k;        ///< `[tokens, num_kv_heads, head_dim]`, read-only, RoPE applied
  Tensor slots;    ///< int32 `[tokens, num_kv_heads]`, written, optional: the slot that takes the token
  Tensor victims;  ///< int32 `[tokens, num_kv_heads]`, written, optional: position evicted, or -1
  Tensor importance;        ///< float32 `[tokens, num_kv_heads]`, read-only: a of Policy::importance
  Tensor importance_slope;  ///< float32 `[tokens, num_kv_heads]`, read-only: b, per token of age

  /// Converts to the C ABI's struct, which points only to the tensors' memory.
  [[nodiscard]] hashevict_evict_args c_args() const noexcept { return detail::versioned<hashevict_evict_args>(*this); }
};

/// Arguments of Cache::append(): the twin of ::hashevict_append_args.
struct AppendArgs {
  int32_t layer = 0;
  Batch batch;
  Tensor q;        ///< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied; optional for rules whose probe is
                   ///< not the query
  Tensor k;        ///< `[tokens, num_kv_heads, head_dim]`, read-only, RoPE applied
  Tensor v;        ///< `[tokens, num_kv_heads, head_dim]`, read-only
  Tensor slots;    ///< int32 `[tokens, num_kv_heads]`, written, optional: the slot that took the token
  Tensor victims;  ///< int32 `[tokens, num_kv_heads]`, written, optional: position evicted, or -1
  Tensor importance;        ///< float32 `[tokens, num_kv_heads]`, read-only: a of Policy::importance
  Tensor importance_slope;  ///< float32 `[tokens, num_kv_heads]`, read-only: b, per token of age

  /// Converts to the C ABI's struct, which points only to the tensors' memory.
  [[nodiscard]] hashevict_append_args c_args() const noexcept {
    return detail::versioned<hashevict_append_args>(*this);
  }
};

/// Arguments of Cache::attend(): the twin of ::hashevict_attend_args.
struct AttendArgs {
  int32_t layer = 0;
  Batch batch;
  Tensor q;    ///< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied
  Tensor out;  ///< `[tokens, num_qo_heads, head_dim]`, written; rows that are skipped stay as they are
  Tensor lse;  ///< float32 `[tokens, num_qo_heads]`, written, optional: natural log of the softmax sum
  Softmax softmax;
  AttendQueries queries = AttendQueries::last;  ///< the queries' place in their sequence

  /// Converts to the C ABI's struct, which points only to the tensors' memory.
  [[nodiscard]] hashevict_attend_args c_args() const noexcept {
    return detail::versioned<hashevict_attend_args>(*this);
  }
};

/// Arguments of Cache::decode(): the twin of ::hashevict_decode_args.
struct DecodeArgs {
  int32_t layer = 0;
  Batch batch;
  Tensor q;        ///< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied
  Tensor k;        ///< `[tokens, num_kv_heads, head_dim]`, read-only, RoPE applied
  Tensor v;        ///< `[tokens, num_kv_heads, head_dim]`, read-only
  Tensor out;      ///< `[tokens, num_qo_heads, head_dim]`, written; rows that are skipped stay as they are
  Tensor lse;      ///< float32 `[tokens, num_qo_heads]`, written, optional: natural log of the softmax sum
  Tensor slots;    ///< int32 `[tokens, num_kv_heads]`, written, optional: the slot that took the token
  Tensor victims;  ///< int32 `[tokens, num_kv_heads]`, written, optional: position evicted, or -1
  Softmax softmax;
  Tensor importance;        ///< float32 `[tokens, num_kv_heads]`, read-only: a of Policy::importance
  Tensor importance_slope;  ///< float32 `[tokens, num_kv_heads]`, read-only: b, per token of age

  /// Converts to the C ABI's struct, which points only to the tensors' memory.
  [[nodiscard]] hashevict_decode_args c_args() const noexcept {
    return detail::versioned<hashevict_decode_args>(*this);
  }
};

}  // namespace hashevict
