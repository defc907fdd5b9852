/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file cache.h
 * A cache, from its creation to its destruction, and the tensors of a model that it is given.
 */
#ifndef HASHEVICT_CACHE_H
#define HASHEVICT_CACHE_H

#include <stdint.h>

#include "hashevict/config.h"
#include "hashevict/memory.h"
#include "hashevict/status.h"
#include "hashevict/tensor.h"
#include "hashevict/version.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hashevict_cache hashevict_cache;

/**
 * Creates a cache with all sequences empty. Allocates all memory that the cache will ever need, except for the parts
 * that `memory` (may be NULL) lends, and draws the projections. Synchronises the device once.
 * @return INVALID_ARGUMENT, UNSUPPORTED (backend not in this build or on this device), OUT_OF_MEMORY (also where the
 * system gives fewer threads than config.execution.num_threads asks for), BACKEND_ERROR; `*cache` is then NULL.
 */
HASHEVICT_API hashevict_status hashevict_cache_create(const hashevict_config* config, const hashevict_memory* memory,
                                                      hashevict_cache** cache, hashevict_error* error);

/** Frees a cache (NULL is allowed). No operation on it may still be running. */
HASHEVICT_API void hashevict_cache_destroy(hashevict_cache* cache);

/** Copies the config a cache was created with: backend resolved, fractions and defaults left as given.
 *  `shape.capacities` and `layer_rules` point into the cache. */
HASHEVICT_API hashevict_status hashevict_get_config(const hashevict_cache* cache, hashevict_config* config,
                                                    hashevict_error* error);

/**
 * Replaces the projection of a layer, for example by a learned one.
 * @param projection FLOAT32 `[hash_bits, head_dim]` for all heads of the layer, or
 *        `[num_kv_heads, hash_bits, head_dim]` if projection_per_head; hash_bits and projection_per_head of the layer's
 *        rule. Read-only, **host** memory. Every entry must be finite.
 * @return INVALID_STATE if a sequence of that layer holds tokens: their codes would be stale. Synchronises.
 */
HASHEVICT_API hashevict_status hashevict_set_projection(hashevict_cache* cache, int32_t layer,
                                                        const hashevict_tensor* projection, hashevict_error* error);

/** Copies a layer's projection to host memory: FLOAT32, the shapes of hashevict_set_projection(). Zeros where
 *  projection_kind is LEARNED and none was set. Synchronises. */
HASHEVICT_API hashevict_status hashevict_get_projection(const hashevict_cache* cache, int32_t layer,
                                                        const hashevict_tensor* projection, hashevict_error* error);

/**
 * Sets the centres that are subtracted before hashing (the layer's rule has centering FIXED or PROMPT) for one
 * sequence of a layer.
 * @param key_center FLOAT32 `[num_kv_heads, head_dim]`, host, read-only
 * @param query_center FLOAT32 `[num_qo_heads, head_dim]`, host, read-only. Every element of both must be finite.
 * @return INVALID_STATE if the sequence holds tokens in that layer. Synchronises.
 */
HASHEVICT_API hashevict_status hashevict_set_center(hashevict_cache* cache, int32_t layer, int32_t sequence,
                                                    const hashevict_tensor* key_center,
                                                    const hashevict_tensor* query_center, hashevict_error* error);

/**
 * Sets the weights by which a layer computes the importance of its keys (its rule has policy IMPORTANCE and
 * importance_source KEY): `a = <weight, key> + bias`, of the key as given, before it is rounded. Until then the calls
 * that take tokens, and load, are INVALID_STATE. Synchronises.
 * @param weight FLOAT32 `[num_kv_heads, head_dim]`, **host**, read-only
 * @param bias FLOAT32 `[num_kv_heads]`, **host**, read-only. Every element of both is finite.
 * @return INVALID_STATE if a sequence of that layer holds tokens: their importances would be stale.
 */
HASHEVICT_API hashevict_status hashevict_set_importance_weights(hashevict_cache* cache, int32_t layer,
                                                                const hashevict_tensor* weight,
                                                                const hashevict_tensor* bias, hashevict_error* error);

#ifdef __cplusplus
}
#endif

#endif /* HASHEVICT_CACHE_H */
