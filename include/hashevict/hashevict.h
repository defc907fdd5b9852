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

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HASHEVICT_VERSION_MAJOR 0
#define HASHEVICT_VERSION_MINOR 2
#define HASHEVICT_VERSION_PATCH 0

/* HASHEVICT_HIDDEN is defined by packages of a static library that was built with -DHASHEVICT_HIDDEN=ON. */
#if defined(_WIN32)
#define HASHEVICT_API
#elif defined(HASHEVICT_HIDDEN) && (defined(__GNUC__) || defined(__clang__))
#define HASHEVICT_API __attribute__((visibility("hidden")))
#elif defined(__GNUC__) || defined(__clang__)
#define HASHEVICT_API __attribute__((visibility("default")))
#else
#define HASHEVICT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- status */

/** The status of a call. */
typedef enum hashevict_status {
  HASHEVICT_OK = 0,
  HASHEVICT_INVALID_ARGUMENT = 1, /**< an argument is out of its range, or arguments contradict each other */
  HASHEVICT_INVALID_STATE = 2,    /**< the arguments are valid, but not in the cache's present state */
  HASHEVICT_UNSUPPORTED = 3,      /**< this build, backend or device cannot do it; see hashevict_get_capabilities() */
  HASHEVICT_OUT_OF_MEMORY = 4,    /**< the system gave no memory, or not the threads asked for */
  HASHEVICT_INVALID_DATA = 5,     /**< bytes given to hashevict_load() are not a state of this cache */
  HASHEVICT_BACKEND_ERROR = 6,    /**< the device's runtime reported an error */
  HASHEVICT_INTERNAL = 7          /**< a defect of this library; please report it */
} hashevict_status;

/** Size of hashevict_error::message, terminating zero included. */
#define HASHEVICT_MESSAGE_BYTES 512

/** Receives the one-line message of a failing call. Owned by the caller; a call that succeeds leaves it unchanged. */
typedef struct hashevict_error {
  char message[HASHEVICT_MESSAGE_BYTES];
} hashevict_error;

/** Short constant name of a status, such as `"invalid_argument"`. Never NULL. */
HASHEVICT_API const char* hashevict_status_name(hashevict_status status);

/* --------------------------------------------------------------- tensors */

/** Element types. */
typedef enum hashevict_dtype {
  HASHEVICT_FLOAT32 = 0,
  HASHEVICT_FLOAT16 = 1,
  HASHEVICT_BFLOAT16 = 2,
  HASHEVICT_INT32 = 3,
  HASHEVICT_UINT8 = 4
} hashevict_dtype;

/** Largest rank of a ::hashevict_tensor. */
#define HASHEVICT_MAX_RANK 5

/** A strided view of memory that somebody else owns. Strides count elements. `data == NULL` means "absent". */
typedef struct hashevict_tensor {
  void* data;
  int32_t dtype; /**< ::hashevict_dtype */
  int32_t rank;
  int64_t shape[HASHEVICT_MAX_RANK];
  int64_t stride[HASHEVICT_MAX_RANK];
} hashevict_tensor;

/**
 * A dense, row-major tensor: the last index is contiguous. Compiled into the caller.
 * @param data the parameter that takes the tensor says whether it is read or written
 * @param shape `[rank]`; may be NULL if rank is 0. Calls refuse a rank that they do not expect.
 */
static inline hashevict_tensor hashevict_tensor_dense(const void* data, hashevict_dtype dtype, int32_t rank,
                                                      const int64_t* shape) {
  hashevict_tensor tensor;
  uint64_t step = 1; /* unsigned: extents that overflow are the library's to refuse */
  int32_t axis;
  memset(&tensor, 0, sizeof tensor);
  memcpy(&tensor.data, &data, sizeof data); /* one tensor type serves read and written memory */
  tensor.dtype = (int32_t)dtype;
  tensor.rank = rank;
  for (axis = rank < HASHEVICT_MAX_RANK ? rank : HASHEVICT_MAX_RANK; axis-- > 0;) {
    tensor.shape[axis] = shape[axis];
    tensor.stride[axis] = (int64_t)step;
    step *= (uint64_t)shape[axis];
  }
  return tensor;
}

/** A CUDA stream (`cudaStream_t`) as an opaque pointer; NULL is the default stream. Ignored by the CPU backend. */
typedef void* hashevict_stream;

/* ---------------------------------------------------------------- config */

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
  HASHEVICT_LAYOUT_PAGED = 2       /**< pages of `page_size` slots, found through an `int32` block table */
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
   *  is ignored. Keys, values and state take the sum over the heads. Heads of a layer may differ in HEAD_MAJOR only. */
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
  int32_t page_size;    /**< slots per page, default 16; read by PAGED only */
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
  /** VOTES over learned codes of 32 bits; a fifth of the capacity is recent. projection_kind LEARNED,
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

/* ---------------------------------------------------------------- memory */

/** The memory that a config needs, in bytes. */
typedef struct hashevict_bytes {
  size_t struct_size;
  uint64_t keys;      /**< key slots of all layers and sequences (0 if PAGED: the engine owns the pages) */
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
 * if their slots are. The caller guarantees that a buffer is large enough and is memory of the backend.
 */
typedef struct hashevict_memory {
  size_t struct_size;
  /**
   * `[num_layers]` base pointers (the array itself is host memory and is copied), or both NULL (not if PAGED). Offsets
   * and strides count bytes, in multiples of the element's size. Slots are at
   * `base + sequence * sequence_strides[layer] + head_offsets[layer][head] + slot * slot_stride`; SLOT_MAJOR has
   * `head * head_stride` for the offset.
   * PAGED: `base + page * page_stride + head * head_stride + (slot % page_size) * slot_stride` with
   * `page = block_table[sequence][slot / page_size]`. A row's elements are contiguous. Interleaved keys and values
   * are two base pointers into one buffer. All strides in use 0 or NULL: dense, in the order that `layout` names.
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
  const int64_t* sequence_strides; /**< `[num_layers]`, host, copied; bytes, unused if PAGED */
  int64_t head_stride;             /**< bytes, unused if HEAD_MAJOR */
  int64_t slot_stride;             /**< bytes */
  int64_t page_stride;             /**< bytes, unused unless PAGED */

  /** PAGED: `int32`, backend memory, read at every call and never written: eviction replaces slots in place, so a
   *  table shared by all heads and layers stays valid. Padded: `[num_sequences, block_table_stride]`.
   *  CSR: page lists back to back, sequence s owns entries `block_table_offsets[s] .. block_table_offsets[s+1]-1`.
   *  The CPU backend checks offsets and pages at the calls that use them. On CUDA the kernels skip a row whose offsets
   *  leave the table or hold too few pages, and the caller guarantees that pages are below num_pages. On both the
   *  caller guarantees that no page occurs twice among those in use; hashevict_fork() alone checks part of it. */
  const int32_t* block_table;
  int64_t block_table_stride;         /**< padded: entries from one sequence to the next, times num_sequences <= 2^48 */
  const int32_t* block_table_offsets; /**< CSR: `[num_sequences + 1]`, backend memory; NULL: padded */
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

/* ----------------------------------------------------------------- cache */

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

/* ------------------------------------------------------------ operations */

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
  hashevict_tensor q;       /**< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied; optional for rules whose
                                 probe is not the query, in modes REPLAY and RECENT */
  hashevict_tensor k;       /**< `[tokens, num_kv_heads, head_dim]`, read-only, RoPE applied */
  hashevict_tensor v;       /**< `[tokens, num_kv_heads, head_dim]`, read-only */
  hashevict_tensor slots;   /**< INT32 `[tokens, num_kv_heads]`, written, optional. REPLAY: the slot that the token
                                 took at its own step. Else its slot after the call, or -1 if it was dropped */
  hashevict_tensor victims; /**< INT32 `[tokens, num_kv_heads]`, written, optional. REPLAY: the position that the
                               token's step evicted, or -1. Else -1 */
  int32_t mode;             /**< ::hashevict_prefill_mode, default REPLAY */
  int32_t window;           /**< queries and tokens of mode WINDOW, clipped to capacity - sinks; 0 (default): 32 */
  hashevict_tensor importance;       /**< FLOAT32 `[tokens, num_kv_heads]`, read-only: a of IMPORTANCE */
  hashevict_tensor importance_slope; /**< FLOAT32 `[tokens, num_kv_heads]`, read-only: b, per token of age */
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
 * Adds a prompt, or a chunk of one, to a layer. Keys and values are copied once, after the survivors are known.
 * O(tokens * capacity * hash_bits) bit operations per head for REPLAY.
 * @return INVALID_STATE for a chunk of mode WINDOW, or with centring PROMPT, that cannot be done exactly. On CUDA,
 *         where only the device knows the sequence's length, such a row leaves its sequence unchanged, and its slots
 *         and victims are -1.
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
 * its sequence, and each sees slots up to its own position. Changes no state. A row whose sequence is empty gives zeros
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

/* ------------------------------------------------------------- sequences */

/** Empties a sequence in every layer, its centre included; -1: all sequences. */
HASHEVICT_API hashevict_status hashevict_reset(hashevict_cache* cache, int32_t sequence, hashevict_error* error,
                                               hashevict_stream stream);

/** Copies all of `source`'s state, keys and values included, over `target`. If PAGED, the block table must already
 *  hold pages for the target that are not the source's. The CPU backend refuses a page of both among those that the
 *  source's tokens need; on CUDA the caller guarantees it. */
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

/* ------------------------------------------------------------ inspection */

/** Tensors over the state of one KV head, for foreign attention kernels: each (sequence, KV head) is a request with
 *  `num_qo_heads / num_kv_heads` query heads. Pointers stay valid as long as the cache. Strides count elements. */
typedef struct hashevict_view {
  size_t struct_size;
  /** Storage dtype `[num_sequences, capacity, head_dim]`, strided; PAGED: `[num_pages, page_size, head_dim]`. */
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
  char cpu_target[32];        /**< the SIMD instruction set chosen at run time, such as "AVX2" */
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

#endif /* HASHEVICT_HASHEVICT_H */
