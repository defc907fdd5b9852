/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hashevict.h
 * The C ABI of hashevict: a key-value cache of fixed size for language-model inference.
 *
 * HashEvict (arXiv 2412.16187) keeps `capacity` slots per layer, sequence and KV head. At every decode step the new
 * token overwrites the slot whose binary code is farthest in Hamming distance from the current queries' codes, before
 * attention is computed. Heads evict independently of each other.
 *
 * Rules that hold for every function below:
 *  - It returns a ::hashevict_status and, on failure, writes one line into `error` (which may be NULL) that names the
 *    argument, its value and what was expected. A call that fails prints nothing and changes no state.
 *  - hashevict_cache_create() allocates all memory that lives as long as the cache. Operations (prefill, evict, append,
 *    attend, decode, encode, reset, fork) that succeed neither allocate nor synchronise. Other calls say where they
 *    synchronise, and may use host memory until they return. So may a failing call, for its message.
 *  - All tensors of an operation live in the memory space of the cache's backend (host for CPU, device for CUDA).
 *    An "optional" tensor is absent if its `data` is NULL. Any other tensor may have NULL `data` only if an extent of
 *    its shape is 0: a batch of no tokens needs no memory.
 *  - No two elements of a written tensor share memory, and a written tensor overlaps no other tensor of the call, no
 *    index array and no memory of the cache. One exception: `out` may be `q` itself, with the same data, dtype and
 *    strides. Tensors that are only read may overlap each other, but not memory of the cache that the call writes
 *    (attend and encode: the workspace; others: keys, values, state and workspace). Every call checks this first. Two
 *    tensors whose address ranges meet count as disjoint if they interleave with common strides, as the parts of a
 *    fused buffer do. Strides of a written tensor are nested: each stride of an extent above 1 is at least what the
 *    smaller ones span. The gaps between the cache's slots count as memory of the cache.
 *  - Operations on one cache are issued on one stream at a time, which orders them. To change streams, make the new one
 *    wait for an event that the old one recorded after the last operation. Calls on one cache from several host threads
 *    need the caller's own lock; different caches are independent. Nothing is global.
 *  - Codes, and with them victims, are exact in the default floating-point environment: rounding to nearest, subnormal
 *    numbers kept (on x86 neither FTZ nor DAZ). On the CPU the caller sets it on every thread that calls an
 *    operation, creates a cache or runs tasks of hashevict_execution::parallel_for.
 *  - `struct_size` is the version of a struct that begins with it. Start from the struct's init function. Later
 *    releases append fields, whose value 0 keeps the earlier behaviour. The library reads and writes at most
 *    `struct_size` bytes. It takes fields that the caller lacks for 0, sets fields that it lacks itself to 0, and
 *    refuses a struct smaller than that of 0.2. A part of such a struct never changes its size: new fields take
 *    `reserved` words, which must be 0 until then.
 *  - Strides of tensors count elements. Strides of lent memory (::hashevict_memory) count bytes.
 *
 * Symbols in `[brackets]` are shapes: `rows` of a batch, `tokens` in it, `num_qo_heads`, `num_kv_heads`, `head_dim`.
 */
#ifndef HASHEVICT_HASHEVICT_H
#define HASHEVICT_HASHEVICT_H

#include "hashevict/cache.h"
#include "hashevict/config.h"
#include "hashevict/enums.h"
#include "hashevict/inspection.h"
#include "hashevict/memory.h"
#include "hashevict/operations.h"
#include "hashevict/sequences.h"
#include "hashevict/status.h"
#include "hashevict/tensor.h"
#include "hashevict/version.h"

#endif /* HASHEVICT_HASHEVICT_H */
