/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file memory.h
 * The memory that a cache needs, and memory lent to it.
 */
#ifndef HASHEVICT_MEMORY_H
#define HASHEVICT_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hashevict/config.h"
#include "hashevict/status.h"
#include "hashevict/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The memory that a config needs, in bytes. */
typedef struct hashevict_bytes {
  size_t struct_size;
  uint64_t keys;      /**< key slots of all layers and sequences (0 if paged: the engine owns the pages) */
  uint64_t values;    /**< value slots, likewise */
  uint64_t codes;     /**< within `state`: packed codes */
  uint64_t positions; /**< within `state`: token positions */
  uint64_t state;     /**< all of codes, positions, accumulators, importances, lengths, projections, centres */
  uint64_t workspace; /**< scratch memory of a running operation */
  uint64_t total;     /**< keys + values + state + workspace */
} hashevict_bytes;

/** Sets every field to zero, so that hashevict_required_bytes() can fill it, and struct_size. */
static inline void hashevict_bytes_init(hashevict_bytes* bytes) {
  memset(bytes, 0, sizeof *bytes);
  bytes->struct_size = sizeof *bytes;
}

/** Alignment of the `state` and `workspace` memory a caller lends, and of every part within. */
#define HASHEVICT_ALIGNMENT 256

/**
 * Memory lent to a cache. hashevict_cache_create() allocates every part that is NULL, and frees it with the cache. Lent
 * memory must outlive the cache and is never freed by it.
 *
 * The parts are disjoint: the keys of each layer, the values of each, state, workspace, block table and its offsets.
 * Keys and values of any layers and heads may interleave in one buffer, with the same strides: two of them are disjoint
 * if their slots are. In PAGED_PER_HEAD alone, layers may also share a pool of pages: they have the same keys and the
 * same values. The caller guarantees that a buffer is large enough and is memory of the backend.
 *
 * "Paged" stands for the layouts PAGED and PAGED_PER_HEAD.
 */
typedef struct hashevict_memory {
  size_t struct_size;
  /**
   * `[num_layers]` base pointers (the array itself is host memory and is copied), or both NULL (not if paged). Offsets
   * and strides count bytes, in multiples of the element's size. Slots are at
   * `base + sequence * sequence_strides[layer] + head_offsets[layer][head] + slot * slot_stride`; SLOT_MAJOR has
   * `head * head_stride` for the offset.
   * PAGED: `base + page * page_stride + head * head_stride + (slot % page_size) * slot_stride` with
   * `page = block_table[sequence][slot / page_size]`.
   * PAGED_PER_HEAD: `base + page * page_stride + (slot % page_size) * slot_stride` with
   * `page = block_table[layer][sequence][head][slot / page_size]`; a dense page is `[page_size, head_dim]`.
   * A row's elements are contiguous. Interleaved keys and values are two base pointers into one buffer. All strides in
   * use 0 or NULL: dense, in the order that `layout` names.
   *
   * Otherwise each stride in use is at least a row's bytes, `head_dim` elements, and no two slots share memory: a
   * stride with a count above 1 (num_kv_heads; the head's capacity, or page_size; num_sequences, or num_pages) is at
   * least a row's bytes plus the sum of `stride * (count - 1)` over the smaller ones, and its own
   * `stride * (count - 1)` is at most 2^48 bytes. Gaps are allowed, so values may lie between keys. */
  void* const* keys;
  void* const* values;
  /** HEAD_MAJOR only: `[num_layers, num_kv_heads]`, host, copied: bytes from the sequence's base to the head's slot 0,
   *  0 .. 2^48; NULL: the heads of a layer follow one another, `capacity * slot_stride` bytes each. */
  const int64_t* head_offsets;
  const int64_t* sequence_strides; /**< `[num_layers]`, host, copied; bytes, unused if paged */
  int64_t head_stride;             /**< bytes, unused if HEAD_MAJOR or PAGED_PER_HEAD */
  int64_t slot_stride;             /**< bytes */
  int64_t page_stride;             /**< bytes, unused unless paged */

  /** Paged: `int32`, backend memory, read at every call and never written: eviction replaces slots in place, so a
   *  table stays valid. PAGED has a row for each sequence, `[num_sequences]`, which all heads and layers share;
   *  PAGED_PER_HEAD has rows `[num_layers, num_sequences, num_kv_heads]`. Padded: `[rows, block_table_stride]`.
   *  CSR: page lists back to back, row r owns entries `block_table_offsets[r] .. block_table_offsets[r+1]-1`. A row
   *  needs entries only for the slots in use.
   *
   *  No page occurs twice among those in use by all rows; in PAGED_PER_HEAD, by all rows of layers that share a pool.
   *  The CPU backend checks that among the rows that a call uses: the batch's in its layer; for fork, save and load
   *  those of their sequences in all layers. It also checks that offsets lie within the table, with enough pages, and
   *  that pages are below num_pages. On CUDA save and load check offsets and pages, and the kernels skip a sequence of
   *  which a row in the layer leaves the table or holds too few pages. The caller guarantees the rest. */
  const int32_t* block_table;
  int64_t block_table_stride;         /**< padded: entries from one row to the next; times the rows at most 2^48 */
  const int32_t* block_table_offsets; /**< CSR: `[rows + 1]`, backend memory; NULL: padded */
  int64_t block_table_length;         /**< CSR: entries behind block_table, at least 1; unused if padded */
  int64_t num_pages;                  /**< pages behind each base pointer */

  void* state; /**< bytes.state of HASHEVICT_ALIGNMENT-aligned backend memory, or NULL */
  uint64_t state_bytes;
  void* workspace; /**< bytes.workspace, likewise, or NULL */
  uint64_t workspace_bytes;
} hashevict_memory;

/** Sets every field to zero (nothing is lent) and struct_size. */
static inline void hashevict_memory_init(hashevict_memory* memory) {
  memset(memory, 0, sizeof *memory);
  memory->struct_size = sizeof *memory;
}

/** Measures the memory that `config` needs, before a cache is made. O(num_layers * num_kv_heads); holds a few bytes a
 *  head while it runs. @return INVALID_ARGUMENT for a config that is not valid, or needs 2^62 bytes or more. */
HASHEVICT_API hashevict_status hashevict_required_bytes(const hashevict_config* config, hashevict_bytes* bytes,
                                                        hashevict_error* error);

#ifdef __cplusplus
}
#endif

#endif /* HASHEVICT_MEMORY_H */
