/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file operations.h
 * The operations of a step, and encode.
 */
#ifndef HASHEVICT_OPERATIONS_H
#define HASHEVICT_OPERATIONS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hashevict/cache.h"
#include "hashevict/status.h"
#include "hashevict/tensor.h"
#include "hashevict/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Assigns a sequence and a number of tokens to each row of a batch. Tokens of a batch lie back to back, row by row. A
 * sequence occurs in at most one row.
 * The CPU backend checks the contents of both arrays and refuses a batch that breaks these rules. On CUDA only the
 * device reads them: the kernels skip a row whose sequence or offsets are out of range, and the caller guarantees that
 * each sequence occurs at most once.
 */
typedef struct hashevict_batch {
  hashevict_tensor row_to_sequence; /**< INT32 `[rows]`, read-only, optional (row r is sequence r); -1 skips a row */
  hashevict_tensor cu_seqlens;      /**< INT32 `[rows + 1]`, read-only, optional (one token a row): token offsets */
} hashevict_batch;

/** Scales and caps the logits of attention. */
typedef struct hashevict_softmax {
  float scale;          /**< 0 (default): 1 / sqrt(head_dim) */
  float logit_soft_cap; /**< > 0: logits become cap * tanh(logit / cap); 0 (default): off */
} hashevict_softmax;

/** Selects the tokens that stay of a prompt longer than the capacity. A shorter prompt is kept whole. */
typedef enum hashevict_prefill_mode {
  /** The state that one decode step per prompt token would have left. Any chunking gives the same state. */
  HASHEVICT_PREFILL_REPLAY = 0,
  /** Sinks, the last `window` tokens, and the others nearest to the codes of the last `window` queries, in token
   *  order. A later chunk that exceeds the capacity needs `window` tokens and a sequence without evictions. */
  HASHEVICT_PREFILL_WINDOW = 1,
  /** Sinks and the last `capacity - sinks`. Any chunking keeps the same tokens. */
  HASHEVICT_PREFILL_RECENT = 2
} hashevict_prefill_mode;

/** Selects the keys that the queries of a prompt see. */
typedef enum hashevict_prefill_attention {
  /** Each query sees what hashevict_decode() of its token would have seen: the state that the token's own step leaves.
   *  Mode REPLAY alone, of rules without `pin_prompt` and without centring PROMPT. */
  HASHEVICT_PREFILL_STREAMED = 0,
  /** Each query sees all tokens that the cache held before the call, and those of the call up to its own. */
  HASHEVICT_PREFILL_FULL = 1
} hashevict_prefill_attention;

/** The place of attend's queries in their sequence. */
typedef enum hashevict_attend_queries {
  HASHEVICT_QUERIES_LAST = 0, /**< at its last positions: each sees the slots of positions up to its own */
  HASHEVICT_QUERIES_AFTER = 1 /**< behind every token that it has seen: each sees all valid slots */
} hashevict_attend_queries;

/*
 * Each operation takes a struct with exactly the tensors that it reads and writes; a name means the same in all of
 * them. q, k, v and out may have any float dtype. Codes are computed from the inputs as given, before keys are rounded
 * to the storage dtype.
 *
 * The steps of policy IMPORTANCE bring `importance` (importance_source GIVEN) and `importance_slope` (importance_slopes
 * non-zero); a call that lacks one, or brings it for another rule, is refused. The CPU refuses elements that are not
 * finite. On CUDA, where nobody waits for them, they count as the least important.
 */

/** Arguments of hashevict_prefill(). */
typedef struct hashevict_prefill_args {
  size_t struct_size;
  int32_t layer;
  hashevict_batch batch;
  hashevict_tensor q;          /**< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied; optional without `out`
                                    for rules whose probe is not the query, in modes REPLAY and RECENT */
  hashevict_tensor k;          /**< `[tokens, num_kv_heads, head_dim]`, read-only, RoPE applied */
  hashevict_tensor v;          /**< `[tokens, num_kv_heads, head_dim]`, read-only */
  hashevict_tensor slots;      /**< INT32 `[tokens, num_kv_heads]`, written, optional. REPLAY: the slot that the token
                                    took at its own step. Else its slot after the call, or -1 if it was dropped */
  hashevict_tensor victims;    /**< INT32 `[tokens, num_kv_heads]`, written, optional. REPLAY: the position that the
                                  token's step evicted, or -1. Else -1 */
  int32_t mode;                /**< ::hashevict_prefill_mode, default REPLAY */
  int32_t window;              /**< queries and tokens of mode WINDOW, clipped to capacity - sinks; 0 (default): 32 */
  hashevict_tensor importance; /**< FLOAT32 `[tokens, num_kv_heads]`, read-only: a of IMPORTANCE */
  hashevict_tensor importance_slope; /**< FLOAT32 `[tokens, num_kv_heads]`, read-only: b, per token of age */
  hashevict_tensor out; /**< `[tokens, num_qo_heads, head_dim]`, written, optional: without it no attention is computed;
                             rows that are skipped stay as they are; may be q itself */
  hashevict_tensor lse; /**< FLOAT32 `[tokens, num_qo_heads]`, written, optional, absent without `out`: natural log of
                             the softmax sum */
  hashevict_softmax softmax;
  int32_t attention; /**< ::hashevict_prefill_attention of `out`, default STREAMED */
} hashevict_prefill_args;

/** Arguments of hashevict_evict(). */
typedef struct hashevict_evict_args {
  size_t struct_size;
  int32_t layer;
  hashevict_batch batch;
  hashevict_tensor q;       /**< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied; optional for rules whose
                                 probe is not the query */
  hashevict_tensor k;       /**< `[tokens, num_kv_heads, head_dim]`, read-only, RoPE applied */
  hashevict_tensor slots;   /**< INT32 `[tokens, num_kv_heads]`, written, optional: the slot that takes the token */
  hashevict_tensor victims; /**< INT32 `[tokens, num_kv_heads]`, written, optional: position evicted, or -1 */
  hashevict_tensor importance;       /**< FLOAT32 `[tokens, num_kv_heads]`, read-only: a of IMPORTANCE */
  hashevict_tensor importance_slope; /**< FLOAT32 `[tokens, num_kv_heads]`, read-only: b, per token of age */
} hashevict_evict_args;

/** Arguments of hashevict_append(). */
typedef struct hashevict_append_args {
  size_t struct_size;
  int32_t layer;
  hashevict_batch batch;
  hashevict_tensor q;       /**< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied; optional for rules whose
                                 probe is not the query */
  hashevict_tensor k;       /**< `[tokens, num_kv_heads, head_dim]`, read-only, RoPE applied */
  hashevict_tensor v;       /**< `[tokens, num_kv_heads, head_dim]`, read-only */
  hashevict_tensor slots;   /**< INT32 `[tokens, num_kv_heads]`, written, optional: the slot that took the token */
  hashevict_tensor victims; /**< INT32 `[tokens, num_kv_heads]`, written, optional: position evicted, or -1 */
  hashevict_tensor importance;       /**< FLOAT32 `[tokens, num_kv_heads]`, read-only: a of IMPORTANCE */
  hashevict_tensor importance_slope; /**< FLOAT32 `[tokens, num_kv_heads]`, read-only: b, per token of age */
} hashevict_append_args;

/** Arguments of hashevict_attend(). */
typedef struct hashevict_attend_args {
  size_t struct_size;
  int32_t layer;
  hashevict_batch batch;
  hashevict_tensor q;   /**< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied */
  hashevict_tensor out; /**< `[tokens, num_qo_heads, head_dim]`, written; rows that are skipped stay as they are */
  hashevict_tensor lse; /**< FLOAT32 `[tokens, num_qo_heads]`, written, optional: natural log of the softmax sum */
  hashevict_softmax softmax;
  int32_t queries; /**< ::hashevict_attend_queries, default LAST */
} hashevict_attend_args;

/** Arguments of hashevict_decode(). */
typedef struct hashevict_decode_args {
  size_t struct_size;
  int32_t layer;
  hashevict_batch batch;
  hashevict_tensor q;       /**< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied */
  hashevict_tensor k;       /**< `[tokens, num_kv_heads, head_dim]`, read-only, RoPE applied */
  hashevict_tensor v;       /**< `[tokens, num_kv_heads, head_dim]`, read-only */
  hashevict_tensor out;     /**< `[tokens, num_qo_heads, head_dim]`, written; rows that are skipped stay as they are */
  hashevict_tensor lse;     /**< FLOAT32 `[tokens, num_qo_heads]`, written, optional: natural log of the softmax sum */
  hashevict_tensor slots;   /**< INT32 `[tokens, num_kv_heads]`, written, optional: the slot that took the token */
  hashevict_tensor victims; /**< INT32 `[tokens, num_kv_heads]`, written, optional: position evicted, or -1 */
  hashevict_softmax softmax;
  hashevict_tensor importance;       /**< FLOAT32 `[tokens, num_kv_heads]`, read-only: a of IMPORTANCE */
  hashevict_tensor importance_slope; /**< FLOAT32 `[tokens, num_kv_heads]`, read-only: b, per token of age */
} hashevict_decode_args;

/** Sets every field to zero, its default, and struct_size. */
static inline void hashevict_prefill_args_init(hashevict_prefill_args* args) {
  memset(args, 0, sizeof *args);
  args->struct_size = sizeof *args;
}

/** Sets every field to zero, its default, and struct_size. */
static inline void hashevict_evict_args_init(hashevict_evict_args* args) {
  memset(args, 0, sizeof *args);
  args->struct_size = sizeof *args;
}

/** Sets every field to zero, its default, and struct_size. */
static inline void hashevict_append_args_init(hashevict_append_args* args) {
  memset(args, 0, sizeof *args);
  args->struct_size = sizeof *args;
}

/** Sets every field to zero, its default, and struct_size. */
static inline void hashevict_attend_args_init(hashevict_attend_args* args) {
  memset(args, 0, sizeof *args);
  args->struct_size = sizeof *args;
}

/** Sets every field to zero, its default, and struct_size. */
static inline void hashevict_decode_args_init(hashevict_decode_args* args) {
  memset(args, 0, sizeof *args);
  args->struct_size = sizeof *args;
}

/**
 * Adds a prompt, or a chunk of one, to a layer, and computes its attention if `out` is given (algorithm.md, *A prompt's
 * attention*). Keys and values are copied once, after the survivors are known. O(tokens * capacity * hash_bits) bit
 * operations per head for REPLAY. Attention: O(tokens * keys * head_dim), where a query sees at most `capacity` keys if
 * STREAMED, and all earlier tokens of the call beside the cache's if FULL.
 * @return INVALID_STATE for a chunk of mode WINDOW, or with centring PROMPT, that cannot be done exactly. On CUDA,
 *         where only the device knows the sequence's length, such a row leaves its sequence, out and lse unchanged, and
 *         its slots and victims are -1.
 */
HASHEVICT_API hashevict_status hashevict_prefill(hashevict_cache* cache, const hashevict_prefill_args* args,
                                                 hashevict_error* error, hashevict_stream stream);

/**
 * Chooses a slot for each token and records the token's code and position there, but stores no key or value: for
 * engines whose own kernel writes the cache. Several tokens of a row are taken one after the other.
 * O(tokens * capacity * hash_bits) bit operations per head.
 */
HASHEVICT_API hashevict_status hashevict_evict(hashevict_cache* cache, const hashevict_evict_args* args,
                                               hashevict_error* error, hashevict_stream stream);

/** hashevict_evict() that also stores k and v: a step without attention. */
HASHEVICT_API hashevict_status hashevict_append(hashevict_cache* cache, const hashevict_append_args* args,
                                                hashevict_error* error, hashevict_stream stream);

/**
 * Computes attention of queries over the cached tokens. The n query tokens of a row stand at the last n positions of
 * its sequence, and each sees slots up to its own position; with `queries` AFTER each of any number of tokens sees all
 * valid slots, and the restrictions below do not apply. Changes no state. A row whose sequence is empty gives zeros
 * and lse = -infinity. The CPU refuses more query tokens than the sequence has seen (than one, if it is empty); on CUDA
 * the first of them, which see no slot, give zeros and -infinity. O(tokens * capacity * head_dim) per head.
 *
 * A sequence that has seen more tokens than some head's capacity takes one query token: the latest step has evicted a
 * key that an earlier query must see. For several, hashevict_decode() attends after each token's own step.
 * @return INVALID_STATE for a row of several query tokens of such a sequence. On CUDA, where only the device knows the
 *         sequence's length, the row's out and lse are NaN.
 */
HASHEVICT_API hashevict_status hashevict_attend(hashevict_cache* cache, const hashevict_attend_args* args,
                                                hashevict_error* error, hashevict_stream stream);

/** One decode step: hashevict_append(), then hashevict_attend(). Several tokens of a row are several steps: each
 * token's attention sees the state that its own step left. */
HASHEVICT_API hashevict_status hashevict_decode(hashevict_cache* cache, const hashevict_decode_args* args,
                                                hashevict_error* error, hashevict_stream stream);

/** The heads whose centre (of `sequence`) and projections hashevict_encode() uses. */
typedef enum hashevict_encode_as { HASHEVICT_ENCODE_KEYS = 0, HASHEVICT_ENCODE_QUERIES = 1 } hashevict_encode_as;

/**
 * Computes the codes of vectors (algorithm.md, *Code*): bit i is 1 iff `<r_i, x - center> >= 0`. Changes no state.
 * @param x `[tokens, heads, head_dim]` with heads = num_kv_heads (KEYS) or num_qo_heads (QUERIES), read-only
 * @param codes UINT8 `[tokens, heads, hash_bits / 8]` with the hash_bits of the layer's rule, written; bit i of a code
 *        is bit i % 8 of byte i / 8
 */
HASHEVICT_API hashevict_status hashevict_encode(hashevict_cache* cache, int32_t layer, int32_t sequence,
                                                hashevict_encode_as as, const hashevict_tensor* x,
                                                const hashevict_tensor* codes, hashevict_error* error,
                                                hashevict_stream stream);

#ifdef __cplusplus
}
#endif

#endif /* HASHEVICT_OPERATIONS_H */
