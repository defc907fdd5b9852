/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file sequences.h
 * Whole sequences: emptied, copied, saved and loaded.
 */
#ifndef HASHEVICT_SEQUENCES_H
#define HASHEVICT_SEQUENCES_H

#include <stdint.h>

#include "hashevict/cache.h"
#include "hashevict/status.h"
#include "hashevict/tensor.h"
#include "hashevict/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Empties a sequence in every layer, its centre included; -1: all sequences. */
HASHEVICT_API hashevict_status hashevict_reset(hashevict_cache* cache, int32_t sequence, hashevict_error* error,
                                               hashevict_stream stream);

/** Copies all of `source`'s state, keys and values included, over `target`. In PAGED and PAGED_PER_HEAD the block table
 *  must already hold pages for the target that are not the source's. The CPU backend refuses a page that occurs twice
 *  among those that both need for the source's tokens; on CUDA the caller guarantees that none does. */
HASHEVICT_API hashevict_status hashevict_fork(hashevict_cache* cache, int32_t source, int32_t target,
                                              hashevict_error* error, hashevict_stream stream);

/** Sets `bytes` to the most that hashevict_save() writes for any sequence of this cache. */
HASHEVICT_API hashevict_status hashevict_save_bytes(const hashevict_cache* cache, uint64_t* bytes,
                                                    hashevict_error* error);

/**
 * Writes a sequence's whole state to host memory, in a form that either backend, any layout and any batch can load.
 * @param buffer host memory of `buffer_bytes`; `*written` bytes of it are used. Synchronises.
 * @return INVALID_ARGUMENT, nothing written, if the state that the sequence has now takes more than `buffer_bytes`.
 */
HASHEVICT_API hashevict_status hashevict_save(hashevict_cache* cache, int32_t sequence, void* buffer,
                                              uint64_t buffer_bytes, uint64_t* written, hashevict_error* error,
                                              hashevict_stream stream);

/** Replaces a sequence's state by a saved one; it then continues exactly as the saved one would have.
 *  @return INVALID_DATA if the bytes are damaged or were saved by a cache of another shape, rule, projection or
 *          importance weights; INVALID_STATE if a layer waits for a LEARNED projection or for importance weights. */
HASHEVICT_API hashevict_status hashevict_load(hashevict_cache* cache, int32_t sequence, const void* buffer,
                                              uint64_t buffer_bytes, hashevict_error* error, hashevict_stream stream);

#ifdef __cplusplus
}
#endif

#endif /* HASHEVICT_SEQUENCES_H */
