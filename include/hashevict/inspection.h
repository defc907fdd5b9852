/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file inspection.h
 * Views of the state, counters, and the abilities of a build.
 */
#ifndef HASHEVICT_INSPECTION_H
#define HASHEVICT_INSPECTION_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hashevict/cache.h"
#include "hashevict/config.h"
#include "hashevict/status.h"
#include "hashevict/tensor.h"
#include "hashevict/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Tensors over the state of one KV head, for foreign attention kernels: each (sequence, KV head) is a request with
 *  `num_qo_heads / num_kv_heads` query heads. Pointers stay valid as long as the cache. Strides count elements. */
typedef struct hashevict_view {
  size_t struct_size;
  /** Storage dtype `[num_sequences, capacity, head_dim]`, strided; with pages
   *  `[num_pages, page_size, head_dim]`: the head's part of each page, or all of it in PAGED_PER_HEAD. */
  hashevict_tensor keys;
  hashevict_tensor values;
  hashevict_tensor codes;       /**< UINT8 `[num_sequences, capacity, hash_bits / 8]`, hash_bits of the layer's rule */
  hashevict_tensor positions;   /**< INT32 `[num_sequences, capacity]`, -1 where empty */
  hashevict_tensor lengths;     /**< INT32 `[num_sequences]`, stride num_kv_heads: `min(tokens seen, capacity)` */
  hashevict_tensor tokens_seen; /**< INT32, likewise: the position of the next token, equal over a layer's heads */
} hashevict_view;

/** Sets every field to zero, so that hashevict_get_view() can fill it, and struct_size. */
static inline void hashevict_view_init(hashevict_view* view) {
  memset(view, 0, sizeof *view);
  view->struct_size = sizeof *view;
}

/** Fills `view` with tensors over a head of this shard. O(1), touches no device. Backend memory; treat all of it as
 *  read-only, except that an engine that uses hashevict_evict() writes keys and values of the slots it was given. */
HASHEVICT_API hashevict_status hashevict_get_view(const hashevict_cache* cache, int32_t layer, int32_t kv_head,
                                                  hashevict_view* view, hashevict_error* error);

/** Counters of a cache. */
typedef struct hashevict_statistics {
  size_t struct_size;
  int64_t tokens_seen;    /**< tokens that heads took in, summed over the layers, KV heads and sequences asked for */
  int64_t slots_used;     /**< valid slots, summed likewise */
  int64_t slots_total;    /**< capacities, summed likewise */
  int64_t evictions;      /**< tokens no longer held, summed likewise: tokens_seen - slots_used */
  uint64_t kv_bytes;      /**< bytes of keys and values in the slots used */
  uint64_t kv_bytes_full; /**< bytes that all tokens seen would take */
} hashevict_statistics;

/** Sets every field to zero, so that hashevict_get_statistics() can fill it, and struct_size. */
static inline void hashevict_statistics_init(hashevict_statistics* statistics) {
  memset(statistics, 0, sizeof *statistics);
  statistics->struct_size = sizeof *statistics;
}

/** Counters of one layer, KV head and sequence; -1 sums over all. Synchronises: keep it out of decode loops. */
HASHEVICT_API hashevict_status hashevict_get_statistics(hashevict_cache* cache, int32_t layer, int32_t kv_head,
                                                        int32_t sequence, hashevict_statistics* statistics,
                                                        hashevict_error* error, hashevict_stream stream);

/** The abilities of this build on this machine. */
typedef struct hashevict_capabilities {
  size_t struct_size;
  int32_t version_major, version_minor, version_patch;
  int32_t has_cuda_build;       /**< 1 if CUDA kernels are in this build */
  int32_t num_cuda_devices;     /**< devices it can use now: those that its kernels were compiled for */
  int32_t max_head_dim;         /**< head_dim is any multiple of 8 up to it */
  int32_t num_hardware_threads; /**< that this process may use: its affinity mask and its cgroups' CPU quota */
  uint32_t hash_bits_mask;      /**< bit b set: hash_bits == 2^b is available (8 .. 128) */
  uint32_t policy_mask;         /**< bit p set: ::hashevict_policy p is available; the masks below likewise */
  uint32_t prefill_mode_mask;
  uint32_t layout_mask;
  uint32_t storage_dtype_mask;
  char cpu_target[32]; /**< the SIMD instruction set chosen at run time, such as "AVX2" or "AVX3, bf16 products" */
  uint64_t host_memory_bytes; /**< that this process may use: the machine's, its cgroups' and its resource limits */
} hashevict_capabilities;

/** Sets every field to zero, so that hashevict_get_capabilities() can fill it, and struct_size. */
static inline void hashevict_capabilities_init(hashevict_capabilities* capabilities) {
  memset(capabilities, 0, sizeof *capabilities);
  capabilities->struct_size = sizeof *capabilities;
}

/** Describes `backend`, or for HASHEVICT_BACKEND_AUTO the backend that AUTO would choose. Cheap; needs no cache. */
HASHEVICT_API hashevict_status hashevict_get_capabilities(hashevict_backend backend,
                                                          hashevict_capabilities* capabilities, hashevict_error* error);

#ifdef __cplusplus
}
#endif

#endif /* HASHEVICT_INSPECTION_H */
