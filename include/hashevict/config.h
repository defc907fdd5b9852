/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file config.h
 * The description of a cache in four parts: shape, rule, placement, execution.
 */
#ifndef HASHEVICT_CONFIG_H
#define HASHEVICT_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "hashevict/enums.h"
#include "hashevict/status.h"
#include "hashevict/tensor.h"
#include "hashevict/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The most threads that hashevict_execution::num_threads may ask for. */
#define HASHEVICT_MAX_THREADS 1024

/** The model's shape and the slots that the cache keeps of it. */
typedef struct hashevict_shape {
  int32_t num_layers;    /**< 1 .. 2^16 */
  int32_t num_sequences; /**< cache rows, default 1 */
  int32_t num_qo_heads;  /**< a multiple of num_kv_heads */
  int32_t num_kv_heads;  /**< the heads of this shard, 1 .. 2^14, and at most 2^22 over all layers */
  int32_t head_dim;      /**< a multiple of 8, 8 .. 256 */
  int32_t dtype;         /**< storage of keys and values: FLOAT32, FLOAT16 or BFLOAT16 (default) */
  /** Global index of this shard's first KV head, default 0. Random numbers are keyed by the global index, so that a
   *  shard evicts exactly as the whole model would. */
  int32_t kv_head_offset;
  int32_t capacity; /**< slots of each KV head, at least sinks + recent window + 1 */
  /** `[num_layers, num_kv_heads]`, host, copied, or NULL (default): `capacity` for every KV head. If given, `capacity`
   *  is ignored. Keys, values and state take the sum over the heads. Heads of a layer may differ in HEAD_MAJOR and
   *  PAGED_PER_HEAD only. */
  const int32_t* capacities;
  uint64_t reserved[3]; /**< 0 */
} hashevict_shape;

/**
 * Selects victims, protects slots and defines the codes. Assign a named rule with hashevict_rule_preset(), then change
 * its fields. The size of this struct never changes, so that arrays of rules keep their stride.
 */
typedef struct hashevict_rule {
  int32_t policy;      /**< ::hashevict_policy, default HASH */
  int32_t hash_bits;   /**< 8, 16 (default), 32, 64 or 128; a code takes hash_bits / 8 bytes */
  int32_t hash_source; /**< ::hashevict_hash_source, default QUERY; read by HASH only */
  int32_t tie;         /**< ::hashevict_tie, default OLDEST */

  int32_t num_sink_tokens; /**< positions below it are never evicted, default 4 */
  int32_t recent_window;   /**< the last tokens that are never evicted, besides the new one, default 10 */
  float sink_fraction;     /**< >= 0: sinks as this fraction of each head's capacity, instead of num_sink_tokens; < 0
                                (default): unused. The product is rounded to fp32 and then down: 0.9f of 10 are 9 */
  float recent_fraction;   /**< the same for recent_window */

  /** Non-zero: decode, append and evict take a pinned position only if no other one is evictable. A prefill ignores
   *  pins, so that chunks of a prompt give the same state as the whole. A prefill with tokens ends by pinning all
   *  positions that the sequence has seen, decoded ones included. Default 0. */
  int32_t pin_prompt;
  int32_t centering;           /**< ::hashevict_centering, default NONE */
  int32_t projection_kind;     /**< ::hashevict_projection_kind, default GAUSSIAN */
  int32_t projection_per_head; /**< 0 (default): one projection per layer; else one per KV head */

  uint64_t seed;             /**< of drawn projections and of the RANDOM policy, default 0 */
  int32_t importance_source; /**< ::hashevict_importance_source, default GIVEN; IMPORTANCE alone reads it */
  int32_t importance_slopes; /**< non-zero: each step brings args.importance_slope; default 0: b is 0 */
  uint64_t reserved[4];      /**< 0 */
} hashevict_rule;

/** The backend and the device, and the order of slots in its memory. */
typedef struct hashevict_placement {
  int32_t backend;      /**< ::hashevict_backend, default AUTO */
  int32_t device;       /**< CUDA device ordinal, default 0 */
  int32_t layout;       /**< ::hashevict_layout, default HEAD_MAJOR */
  int32_t page_size;    /**< slots per page, default 16; read by PAGED and PAGED_PER_HEAD only */
  uint64_t reserved[2]; /**< 0 */
} hashevict_placement;

/** The largest batch, and the threads of the CPU backend. */
typedef struct hashevict_execution {
  /** Tokens, over all rows, of the largest batch that prefill, append, evict, attend or decode will be given, at most
   *  2^30. Sizes the workspace. 0 (default): the larger of num_sequences and 8192. */
  int64_t max_batch_tokens;
  hashevict_parallel_for parallel_for; /**< CPU: the caller's own loop instead of the cache's pool, or NULL (default) */
  void* parallel_for_context;          /**< passed to parallel_for */
  int32_t num_threads;                 /**< CPU: 0 (default) all that this process may use; 1 only the calling one */
  int32_t reserved[5];                 /**< 0 */
} hashevict_execution;

/** Describes a cache. Fill it with hashevict_config_init(), then change its fields. */
typedef struct hashevict_config {
  size_t struct_size;
  hashevict_shape shape;
  hashevict_rule rule;
  /** `[num_layers]`, host, copied, or NULL (default): `rule` for every layer. Each layer follows its own rule, with
   *  its own hash_bits: local layers (sliding windows) may take WINDOW and the others HASH. If given, `rule` is
   *  ignored. */
  const hashevict_rule* layer_rules;
  hashevict_placement placement;
  hashevict_execution execution;
} hashevict_config;

/** Named rules. */
typedef enum hashevict_preset {
  HASHEVICT_PRESET_PAPER = 0,   /**< the paper: query distances, oldest first, 16 bits, 4 sinks, 10 recent */
  HASHEVICT_PRESET_AUTHORS = 1, /**< the authors' public code: the new key's distance, lowest slot first */
  /** SUPERSEDED with 64 bits and half of the capacity recent: evicts keys that newer ones have made redundant. */
  HASHEVICT_PRESET_SUPERSEDED = 2,
  /** VOTES over learned codes of 32 bits; half of the capacity is recent. projection_kind LEARNED,
   *  projection_per_head and centring FIXED: before a layer's first token the caller sets its projection with
   *  hashevict_set_projection() and its centres with hashevict_set_center(). A calibration gives both. */
  HASHEVICT_PRESET_RECALL = 3
} hashevict_preset;

/** hashevict_config_init() for languages that do not compile this header: `struct_size` is the size of the caller's
 *  own struct. @return INVALID_ARGUMENT for a size that no version of the struct has. */
HASHEVICT_API hashevict_status hashevict_config_init_sized(hashevict_config* config, size_t struct_size,
                                                           hashevict_error* error);

/** Sets every field to its default (rule: preset PAPER) and struct_size. Layers, heads, head_dim and capacity are 0.
 *  NULL is allowed. Compiled into the caller, whose header knows the size of its struct. */
static inline void hashevict_config_init(hashevict_config* config) {
  hashevict_error unread; /* linters of C++ object to a NULL here */
  (void)hashevict_config_init_sized(config, sizeof *config, &unread);
}

/** Assigns a named rule: sets every field of `rule`, seed included. `rule` may be uninitialised.
 *  @return INVALID_ARGUMENT for an unknown preset; `rule` is then unchanged. */
HASHEVICT_API hashevict_status hashevict_rule_preset(hashevict_rule* rule, hashevict_preset preset,
                                                     hashevict_error* error);

/**
 * Divides slots among the heads of a model by the importance of their keys (algorithm.md, *Slots for each head*): every
 * head gets `floor`, and each further slot goes to the head whose next key is the most important, up to `length`; of
 * equals, to the lowest layer, then head. Host memory; allocates nothing. O(heads * (num_quantiles + 64 log2(length))).
 * @param quantiles FLOAT32 `[num_layers, num_kv_heads, num_quantiles]`, read-only: of the importance of a head's keys,
 *        entry i at level i / (num_quantiles - 1); finite, ascending, comparable across heads; 2 .. 2^20 of them
 * @param total_slots over all layers and heads; capacities add up to it. `floor` to `length` times the heads
 * @param length tokens of the sequences that the slots are for, 1 .. 2^28
 * @param floor 0 .. length; a cache needs sinks + recent window + 1
 * @param capacities `[num_layers, num_kv_heads]`, written
 */
HASHEVICT_API hashevict_status hashevict_divide_slots(const hashevict_tensor* quantiles, int64_t total_slots,
                                                      int32_t length, int32_t floor, int32_t* capacities,
                                                      hashevict_error* error);

#ifdef __cplusplus
}
#endif

#endif /* HASHEVICT_CONFIG_H */
