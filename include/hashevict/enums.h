/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file enums.h
 * The choices of a config.
 */
#ifndef HASHEVICT_ENUMS_H
#define HASHEVICT_ENUMS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The device that stores the cache and runs its operations. */
typedef enum hashevict_backend {
  HASHEVICT_BACKEND_AUTO = 0, /**< CUDA where this build has kernels for `device`, else CPU */
  HASHEVICT_BACKEND_CPU = 1,
  HASHEVICT_BACKEND_CUDA = 2
} hashevict_backend;

/**
 * Selects the slot to evict. Every policy is one rule, `victim = argmax over evictable slots of score`, see
 * `docs/algorithm.md`. ::hashevict_tie breaks ties.
 */
typedef enum hashevict_policy {
  HASHEVICT_POLICY_HASH = 0,       /**< farthest from the probe named by ::hashevict_hash_source (the paper's rule) */
  HASHEVICT_POLICY_WINDOW = 1,     /**< the oldest: sinks and the most recent stay */
  HASHEVICT_POLICY_RANDOM = 2,     /**< uniform, from (seed, layer, global KV head, step, position) */
  HASHEVICT_POLICY_SUPERSEDED = 3, /**< the slot that some later key has come closest to, the new one included */
  HASHEVICT_POLICY_MEAN = 4,       /**< closest to the code of the mean of all keys seen, the new one included */
  HASHEVICT_POLICY_VOTES = 5,      /**< fewest bits set: each bit of a learned code is a vote to keep its key */
  HASHEVICT_POLICY_IMPORTANCE = 6  /**< least important: a + b * age, from the steps or from the keys */
} hashevict_policy;

/** The probe of HASHEVICT_POLICY_HASH. */
typedef enum hashevict_hash_source {
  HASHEVICT_HASH_SOURCE_QUERY = 0, /**< distances to the group's query codes, summed (paper, section 3) */
  HASHEVICT_HASH_SOURCE_KEY = 1    /**< distance to the new key's code (the authors' public code) */
} hashevict_hash_source;

/** The source of the importance `a` of a key under HASHEVICT_POLICY_IMPORTANCE. */
typedef enum hashevict_importance_source {
  HASHEVICT_IMPORTANCE_SOURCE_GIVEN = 0, /**< each step brings it: args.importance */
  HASHEVICT_IMPORTANCE_SOURCE_KEY = 1    /**< linear in the key, see hashevict_set_importance_weights() */
} hashevict_importance_source;

/** Selects the victim if several slots have the largest score. */
typedef enum hashevict_tie {
  HASHEVICT_TIE_OLDEST = 0,     /**< the smallest position */
  HASHEVICT_TIE_LOWEST_SLOT = 1 /**< the smallest slot index (the authors' public code) */
} hashevict_tie;

/** Selects the centre that is subtracted from keys and queries before they are hashed. */
typedef enum hashevict_centering {
  HASHEVICT_CENTERING_NONE = 0,   /**< the paper */
  HASHEVICT_CENTERING_PROMPT = 1, /**< per head, the mean over the one prefill call that starts the sequence */
  HASHEVICT_CENTERING_FIXED = 2   /**< set by hashevict_set_center(); zero until then */
} hashevict_centering;

/** The source of projection rows. */
typedef enum hashevict_projection_kind {
  HASHEVICT_PROJECTION_GAUSSIAN = 0,   /**< drawn: independent standard normal entries (paper, section 3) */
  HASHEVICT_PROJECTION_ORTHOGONAL = 1, /**< the same rows, orthogonalised in blocks of `head_dim`, norms kept */
  /** Not drawn: the caller sets them with hashevict_set_projection(). Until then they are zeros, and calls that need
   *  the layer's codes (prefill, evict, append, decode, encode, load) return INVALID_STATE. */
  HASHEVICT_PROJECTION_LEARNED = 2
} hashevict_projection_kind;

/** The order of slots in memory. */
typedef enum hashevict_layout {
  HASHEVICT_LAYOUT_HEAD_MAJOR = 0, /**< `[sequence][head][slot][dim]`; heads may have different capacities */
  HASHEVICT_LAYOUT_SLOT_MAJOR = 1, /**< `[sequence][slot][head][dim]` */
  HASHEVICT_LAYOUT_PAGED = 2, /**< pages of `page_size` slots, found through an `int32` block table that all heads and
                                   layers share */
  /** Pages of `page_size` slots of one head, found through an `int32` block table with a row for each layer, sequence
   *  and head. Heads may have different capacities, and layers may share one pool of pages. */
  HASHEVICT_LAYOUT_PAGED_PER_HEAD = 3
} hashevict_layout;

/**
 * The caller's own parallel loop: runs `task(argument, i)` exactly once for every `i` in `[0, num_tasks)`, in any order
 * and on any threads, and returns when all are done. `task` does not throw, and the loop must not throw either. A task
 * that never runs leaves half a step behind; one that runs after the loop has returned touches freed memory. num_tasks
 * may be 0.
 *
 * Every thread that runs tasks, the calling one included, has the default floating-point environment, as the rules at
 * the top say. The cache's own threads have the environment of the thread that created it.
 */
typedef void (*hashevict_parallel_for)(void* context, int64_t num_tasks, void (*task)(void* argument, int64_t index),
                                       void* argument);

#ifdef __cplusplus
}
#endif

#endif /* HASHEVICT_ENUMS_H */
