/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hashevict.h
 * The C ABI of hashevict: a key-value cache of fixed size for language-model inference.
 *
 * HashEvict (arXiv 2412.16187) keeps `capacity` slots per layer, sequence and KV head. At every decode step the slot
 * whose binary code is farthest in Hamming distance from the current queries' codes is overwritten by the new token,
 * before attention is computed. Everything here is per layer, sequence and KV head: heads evict independently.
 *
 * Rules that hold for every function below:
 *  - It returns a ::hashevict_status and, on failure, writes one line into `error` (which may be NULL) that names the
 *    argument, its value and what was expected. Nothing is printed and no state is changed by a call that fails.
 *  - What lives as long as a cache is allocated by hashevict_cache_create(). Operations (prefill, evict, append,
 *    attend, decode, encode, reset, fork) that succeed neither allocate nor synchronise. Other calls say where they
 *    synchronise, and may use host memory until they return, as a call that fails may for its message.
 *  - All tensors of an operation live in the memory space of the cache's backend (host for CPU, device for CUDA).
 *    Tensors named "optional" are absent when their `data` is NULL. Others may have `data` NULL only where an extent of
 *    their shape is 0: a batch of no tokens needs no memory.
 *  - Operations on one cache are ordered by the stream they are given. Calls on one cache from several host threads
 *    need the caller's own lock; different caches are independent. Nothing is global.
 *
 * Symbols in `[brackets]` are shapes: `rows` of a batch, `tokens` in it, `num_qo_heads`, `num_kv_heads`, `head_dim`.
 */
#ifndef HASHEVICT_HASHEVICT_H
#define HASHEVICT_HASHEVICT_H

#include <stddef.h>
#include <stdint.h>

#define HASHEVICT_VERSION_MAJOR 0
#define HASHEVICT_VERSION_MINOR 1
#define HASHEVICT_VERSION_PATCH 0

#if defined(_WIN32)
#define HASHEVICT_API
#elif defined(__GNUC__) || defined(__clang__)
#define HASHEVICT_API __attribute__((visibility("default")))
#else
#define HASHEVICT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- status */

/** What a call came to. */
typedef enum hashevict_status {
  HASHEVICT_OK = 0,
  HASHEVICT_INVALID_ARGUMENT = 1, /**< an argument is out of its range, or arguments contradict each other */
  HASHEVICT_INVALID_STATE = 2,    /**< the arguments are fine, the cache's present state does not admit the call */
  HASHEVICT_UNSUPPORTED = 3,      /**< this build, backend or device cannot do it; see hashevict_get_capabilities() */
  HASHEVICT_OUT_OF_MEMORY = 4,    /**< the system gave no memory, or not the threads asked for */
  HASHEVICT_INVALID_DATA = 5,     /**< bytes given to hashevict_load() are not a state of this cache */
  HASHEVICT_BACKEND_ERROR = 6,    /**< the device's runtime reported an error */
  HASHEVICT_INTERNAL = 7          /**< a defect of this library; please report it */
} hashevict_status;

/** Size of hashevict_error::message, terminating zero included. */
#define HASHEVICT_MESSAGE_BYTES 512

/** Where a failing call leaves its one-line message. Owned by the caller; left as it was by a call that succeeds. */
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

/** A CUDA stream (`cudaStream_t`) as an opaque pointer; NULL is the default stream. Ignored by the CPU backend. */
typedef void* hashevict_stream;

/* ---------------------------------------------------------------- config */

/** Where the cache lives and computes. */
typedef enum hashevict_backend {
  HASHEVICT_BACKEND_AUTO = 0, /**< CUDA where this build has it and a device is present, else CPU */
  HASHEVICT_BACKEND_CPU = 1,
  HASHEVICT_BACKEND_CUDA = 2
} hashevict_backend;

/**
 * Which slot is evicted. Every policy is one rule, `victim = argmax over evictable slots of score`, see
 * `docs/algorithm.md`. Ties are broken by ::hashevict_tie.
 */
typedef enum hashevict_policy {
  HASHEVICT_POLICY_HASH = 0,      /**< farthest from the probe named by ::hashevict_hash_source (the paper's rule) */
  HASHEVICT_POLICY_WINDOW = 1,    /**< the oldest: sinks and the most recent stay */
  HASHEVICT_POLICY_RANDOM = 2,    /**< uniform, from (seed, layer, global KV head, step, position) */
  HASHEVICT_POLICY_KEY_NORM = 3,  /**< largest squared L2 norm of the key */
  HASHEVICT_POLICY_MEAN = 4,      /**< closest to the code of the mean of all keys seen, the new one included */
  HASHEVICT_POLICY_MAJORITY = 5,  /**< closest to the bitwise majority of all key codes seen, the new one included */
  HASHEVICT_POLICY_SUPERSEDED = 6 /**< the slot that some later key has come closest to, the new one included */
} hashevict_policy;

/** The probe of HASHEVICT_POLICY_HASH. */
typedef enum hashevict_hash_source {
  HASHEVICT_HASH_SOURCE_QUERY = 0, /**< distances to the group's query codes, summed (paper, section 3) */
  HASHEVICT_HASH_SOURCE_KEY = 1    /**< distance to the new key's code (the authors' public code) */
} hashevict_hash_source;

/** Which of several slots with the largest score is evicted. */
typedef enum hashevict_tie {
  HASHEVICT_TIE_OLDEST = 0,     /**< the smallest position */
  HASHEVICT_TIE_LOWEST_SLOT = 1 /**< the smallest slot index (the authors' public code) */
} hashevict_tie;

/** Whether a mean is subtracted from keys and queries before they are hashed. */
typedef enum hashevict_centering {
  HASHEVICT_CENTERING_NONE = 0,   /**< the paper */
  HASHEVICT_CENTERING_PROMPT = 1, /**< per head, the mean over the one prefill call that starts the sequence */
  HASHEVICT_CENTERING_FIXED = 2   /**< what hashevict_set_center() gave; zero until then */
} hashevict_centering;

/** How projection rows are drawn. */
typedef enum hashevict_projection_kind {
  HASHEVICT_PROJECTION_GAUSSIAN = 0,  /**< independent standard normal entries (paper, section 3) */
  HASHEVICT_PROJECTION_ORTHOGONAL = 1 /**< the same rows, orthogonalised in blocks of `head_dim`, norms kept */
} hashevict_projection_kind;

/** How slots lie in memory. */
typedef enum hashevict_layout {
  HASHEVICT_LAYOUT_HEAD_MAJOR = 0, /**< `[sequence][head][slot][dim]` */
  HASHEVICT_LAYOUT_SLOT_MAJOR = 1, /**< `[sequence][slot][head][dim]` */
  HASHEVICT_LAYOUT_PAGED = 2       /**< pages of `page_size` slots, found through an `int32` block table */
} hashevict_layout;

/**
 * The caller's own parallel loop: runs `task(argument, i)` exactly once for every `i` in `[0, num_tasks)`, in any order
 * and on any threads, and returns when all are done. `task` does not throw, and neither may the loop: tasks that did
 * not run, or still run when it returns or throws, leave half a step behind and touch memory that is gone. num_tasks
 * may be 0.
 *
 * On every thread that runs tasks, the calling one included, the floating-point environment is the default one:
 * rounding to nearest, subnormal numbers kept (on x86 neither FTZ nor DAZ). Otherwise codes, and with them victims, may
 * differ from those of other threads and machines. The cache's own threads have the environment of the thread that
 * created it.
 */
typedef void (*hashevict_parallel_for)(void* context, int64_t num_tasks, void (*task)(void* argument, int64_t index),
                                       void* argument);

/**
 * Everything a cache is. Fill it with hashevict_config_init(), then change what you need.
 * `struct_size` carries the version, here and in the other structs that have it: fields may be appended in later
 * releases, where 0 keeps the behaviour from before. The library reads and writes no more than `struct_size` bytes of a
 * struct, takes fields that the caller lacks for 0, and sets those that it lacks itself to 0. It refuses a struct that
 * is smaller than that of 0.1.
 */
typedef struct hashevict_config {
  size_t struct_size;

  int32_t backend; /**< ::hashevict_backend, default AUTO */
  int32_t device;  /**< CUDA device ordinal, default 0 */

  int32_t num_layers;
  int32_t num_sequences; /**< cache rows, default 1 */
  int32_t num_qo_heads;  /**< a multiple of num_kv_heads */
  int32_t num_kv_heads;  /**< the heads of this shard */
  int32_t head_dim;      /**< a multiple of 8, 8 .. 256 */
  int32_t dtype;         /**< storage of keys and values: FLOAT32, FLOAT16 or BFLOAT16 (default) */

  /** Global index of this shard's first KV head. Random numbers are keyed by the global index, so that a shard evicts
   *  exactly what the whole model would. */
  int32_t kv_head_offset;

  int32_t capacity;                /**< slots per KV head, at least sinks + recent window + 1 */
  const int32_t* layer_capacities; /**< `[num_layers]`, host, or NULL: `capacity` for every layer. Copied. */

  int32_t policy;      /**< ::hashevict_policy, default HASH */
  int32_t hash_bits;   /**< 8, 16 (default), 32, 64 or 128; a code takes hash_bits / 8 bytes */
  int32_t hash_source; /**< ::hashevict_hash_source, default QUERY; read by HASH only */
  int32_t tie;         /**< ::hashevict_tie, default OLDEST */

  int32_t num_sink_tokens; /**< positions below it are never evicted, default 4 */
  int32_t recent_window;   /**< the last tokens that are never evicted, besides the new one, default 10 */
  float sink_fraction;     /**< >= 0: sinks as this fraction of each layer's capacity; < 0: unused. The product, rounded
                                to fp32 and then down, counts: 0.9f of 10 are 9 slots */
  float recent_fraction;   /**< the same for the recent window */

  /** Non-zero: decode, append and evict take pinned positions only when nothing else can go. A prefill ignores pins,
   *  so that chunks of a prompt give what the whole does; when one that brought tokens ends, all positions that the
   *  sequence has seen are pinned, those that were decoded before it included. */
  int32_t pin_prompt;
  /** 0: off. s in 1 .. 8: HASH scores are averaged over steps, `a += (D - a) / 2^s` in 24.8 fixed point. */
  int32_t score_decay_shift;

  uint64_t seed;               /**< of projections and of the RANDOM policy, default 0 */
  int32_t centering;           /**< ::hashevict_centering, default NONE */
  int32_t projection_kind;     /**< ::hashevict_projection_kind, default GAUSSIAN */
  int32_t projection_per_head; /**< 0 (default): one projection per layer; else one per KV head */

  int32_t layout;    /**< ::hashevict_layout, default HEAD_MAJOR */
  int32_t page_size; /**< slots per page; read by PAGED only, default 16 */

  /** Tokens, over all rows, of the largest batch that prefill, append, evict, attend or decode will be given, at most
   *  2^30. Sizes the workspace. 0 (default): the larger of num_sequences and 8192. */
  int64_t max_batch_tokens;

  int32_t num_threads;                 /**< CPU: 0 (default) all hardware threads; 1 only the calling one */
  hashevict_parallel_for parallel_for; /**< CPU: the caller's own loop instead of the cache's pool, or NULL */
  void* parallel_for_context;
} hashevict_config;

/** Named settings of a config. */
typedef enum hashevict_preset {
  HASHEVICT_PRESET_PAPER = 0,   /**< the paper: query distances, oldest first, 16 bits, 4 sinks, 10 recent */
  HASHEVICT_PRESET_AUTHORS = 1, /**< the authors' public code: the new key's distance, lowest slot first */
  /** SUPERSEDED with 64 bits and half of the capacity recent: evicts what newer keys have made redundant. */
  HASHEVICT_PRESET_SUPERSEDED = 2,
  /** MAJORITY over learned codes of 32 bits, each a vote that a later query will want the key: evicts the fewest votes.
   *  A fifth of the capacity is recent; projection_per_head and centring FIXED carry what was learned, which
   *  hashevict_set_projection() and hashevict_set_center() must bring; how the layers share the slots is learned, too
   *  (layer_capacities). */
  HASHEVICT_PRESET_RECALL = 3
} hashevict_preset;

/** What hashevict_config_init() does to a struct of `struct_size` bytes, which need not be this header's: for languages
 *  that call the library without it. @return INVALID_ARGUMENT for a size that no version of the struct has. */
HASHEVICT_API hashevict_status hashevict_config_init_sized(hashevict_config* config, size_t struct_size,
                                                           hashevict_error* error);

/** Sets every field to its default (preset `paper`); the shape fields (layers, heads, capacity) are left zero. NULL is
 *  allowed. Compiled into the caller, since the caller's header knows how large its struct is. */
static inline void hashevict_config_init(hashevict_config* config) {
  hashevict_error unread; /* a NULL here is what linters of C++ object to */
  (void)hashevict_config_init_sized(config, sizeof *config, &unread);
}

/** Sets the fields that a preset speaks of (policy, hash_bits, hash_source, tie, sinks, recents, centring, decay,
 *  pin, projection_per_head) and leaves the others.
 *  @return INVALID_ARGUMENT for an unknown preset, or a config that was not initialised. */
HASHEVICT_API hashevict_status hashevict_config_apply_preset(hashevict_config* config, hashevict_preset preset,
                                                             hashevict_error* error);

/* ---------------------------------------------------------------- memory */

/** What a config needs, in bytes. To know it costs no memory but a few bytes a layer while the call runs.
 *  O(num_layers). */
typedef struct hashevict_bytes {
  size_t struct_size;
  uint64_t keys;      /**< key slots of all layers and sequences (0 if PAGED: the engine owns the pages) */
  uint64_t values;    /**< value slots, likewise */
  uint64_t codes;     /**< within `state`: packed codes */
  uint64_t positions; /**< within `state`: token positions */
  uint64_t state;     /**< all of codes, positions, accumulators, lengths, projections, centres */
  uint64_t workspace; /**< disposable contents, needed while an operation runs */
  uint64_t total;     /**< keys + values + state + workspace */
} hashevict_bytes;

/** Alignment of the `state` and `workspace` memory a caller lends, and of every part within. */
#define HASHEVICT_ALIGNMENT 256

/**
 * Memory lent to a cache. Every NULL part is allocated by hashevict_cache_create() and freed with the cache; lent
 * memory must outlive the cache and is never freed by it.
 */
typedef struct hashevict_memory {
  size_t struct_size;
  /**
   * `[num_layers]` base pointers of the layers' keys and values (the array itself is host memory and is copied), or
   * both NULL (not if PAGED). HEAD_MAJOR and SLOT_MAJOR: slot address
   * `base + sequence * sequence_stride + head * head_stride + slot * slot_stride`, in elements.
   * PAGED: `base + page * page_stride + head * head_stride + (slot % page_size) * slot_stride` with
   * `page = block_table[sequence][slot / page_size]`. The last dimension is contiguous. Interleaved keys and values
   * are two base pointers into one buffer. All strides in use 0: dense, in the order that `layout` names.
   *
   * Otherwise each stride in use is at least `head_dim`, and no two slots may share memory: a stride with a count above
   * 1 (num_kv_heads; the layer's capacity, or page_size; num_sequences, or num_pages) is at least `head_dim` plus the
   * sum of `stride * (count - 1)` over the smaller ones. Gaps are free, so values may lie between keys.
   */
  void* const* keys;
  void* const* values;
  int64_t sequence_stride; /**< unused if PAGED */
  int64_t head_stride;
  int64_t slot_stride;
  int64_t page_stride; /**< unused unless PAGED */

  /** PAGED: `int32`, backend memory, read at every call and never written: eviction replaces slots in place, so a
   *  table shared by all heads and layers stays valid. Padded: `[num_sequences, block_table_stride]`.
   *  CSR: page lists back to back, sequence s owns entries `block_table_offsets[s] .. block_table_offsets[s+1]-1`. */
  const int32_t* block_table;
  int64_t block_table_stride;         /**< padded: entries from one sequence to the next */
  const int32_t* block_table_offsets; /**< CSR: `[num_sequences + 1]`, backend memory; NULL: padded */
  int64_t num_pages;                  /**< pages behind each base pointer */

  void* state; /**< bytes.state of HASHEVICT_ALIGNMENT-aligned backend memory, or NULL */
  uint64_t state_bytes;
  void* workspace; /**< bytes.workspace, likewise, or NULL */
  uint64_t workspace_bytes;
} hashevict_memory;

/** What hashevict_memory_init() does to a struct of `struct_size` bytes, see hashevict_config_init_sized(). */
HASHEVICT_API hashevict_status hashevict_memory_init_sized(hashevict_memory* memory, size_t struct_size,
                                                           hashevict_error* error);

/** Sets every field to zero (= "allocate everything") and struct_size. NULL is allowed. */
static inline void hashevict_memory_init(hashevict_memory* memory) {
  hashevict_error unread;
  (void)hashevict_memory_init_sized(memory, sizeof *memory, &unread);
}

/** Tells what `config` needs before a cache is made. @return INVALID_ARGUMENT for a config that is not valid, or needs
 *  2^62 bytes or more. */
HASHEVICT_API hashevict_status hashevict_required_bytes(const hashevict_config* config, hashevict_bytes* bytes,
                                                        hashevict_error* error);

/* ----------------------------------------------------------------- cache */

typedef struct hashevict_cache hashevict_cache;

/**
 * Creates a cache with all sequences empty; allocates what `memory` (may be NULL) does not lend, draws the
 * projections. All that the cache will ever need is allocated here. Synchronises the device once.
 * @return INVALID_ARGUMENT, UNSUPPORTED (backend not in this build or no device), OUT_OF_MEMORY (also where the system
 *         gives fewer threads than config.num_threads asks for), BACKEND_ERROR; `*cache` is then NULL.
 */
HASHEVICT_API hashevict_status hashevict_cache_create(const hashevict_config* config, const hashevict_memory* memory,
                                                      hashevict_cache** cache, hashevict_error* error);

/** Frees a cache (NULL is allowed). The caller has made sure that no operation on it is still running. */
HASHEVICT_API void hashevict_cache_destroy(hashevict_cache* cache);

/** Copies the config a cache was created with: backend resolved, fractions and defaults left as given.
 *  `layer_capacities` points into the cache. */
HASHEVICT_API hashevict_status hashevict_get_config(const hashevict_cache* cache, hashevict_config* config,
                                                    hashevict_error* error);

/**
 * Replaces the projection of a layer. Learned hashes come in this way.
 * @param projection FLOAT32 `[hash_bits, head_dim]` for all heads of the layer or
 *        `[num_kv_heads, hash_bits, head_dim]` (needs projection_per_head), read-only, **host** memory.
 * @return INVALID_STATE if a sequence of that layer holds tokens: their codes would be stale. Synchronises.
 */
HASHEVICT_API hashevict_status hashevict_set_projection(hashevict_cache* cache, int32_t layer,
                                                        const hashevict_tensor* projection, hashevict_error* error);

/** Copies a layer's projection to host memory: FLOAT32, the shapes of hashevict_set_projection(). */
HASHEVICT_API hashevict_status hashevict_get_projection(const hashevict_cache* cache, int32_t layer,
                                                        const hashevict_tensor* projection, hashevict_error* error);

/**
 * Sets the centres that are subtracted before hashing (config.centering FIXED or PROMPT) for one sequence of a layer.
 * @param key_center FLOAT32 `[num_kv_heads, head_dim]`, host, read-only
 * @param query_center FLOAT32 `[num_qo_heads, head_dim]`, host, read-only
 * @return INVALID_STATE if the sequence holds tokens in that layer. Synchronises.
 */
HASHEVICT_API hashevict_status hashevict_set_center(hashevict_cache* cache, int32_t layer, int32_t sequence,
                                                    const hashevict_tensor* key_center,
                                                    const hashevict_tensor* query_center, hashevict_error* error);

/* ------------------------------------------------------------ operations */

/**
 * Which rows of a batch belong to which sequences, and how many tokens each brings. Tokens of a batch lie back to
 * back, row by row. A sequence occurs in at most one row.
 * The CPU backend checks the contents of both arrays and refuses a batch that breaks these rules. On CUDA they are read
 * by the device alone, and nobody waits for it: a row with a sequence or offsets out of range is skipped, and that each
 * sequence occurs at most once is the caller's word.
 */
typedef struct hashevict_batch {
  hashevict_tensor row_to_sequence; /**< INT32 `[rows]`, read-only, optional (row r is sequence r); -1 skips a row */
  hashevict_tensor cu_seqlens;      /**< INT32 `[rows + 1]`, read-only, optional (one token a row): token offsets */
} hashevict_batch;

/** How a prompt longer than the capacity is reduced; shorter ones are kept whole. */
typedef enum hashevict_prefill_mode {
  /** What one decode step per prompt token would have left. Any chunking gives the same state. */
  HASHEVICT_PREFILL_REPLAY = 0,
  /** Sinks, the last `window` tokens, and the others nearest to the codes of the last `window` queries; survivors
   *  lie in token order. One call per prompt, or chunks as long as nothing had to be dropped before the last one. */
  HASHEVICT_PREFILL_WINDOW = 1,
  /** Sinks and the last `capacity - sinks`. Any chunking keeps the same tokens. */
  HASHEVICT_PREFILL_RECENT = 2
} hashevict_prefill_mode;

/**
 * Arguments of prefill, evict, append, attend and decode; each reads the fields that its comment names. Any float
 * dtype is accepted for q, k, v and out. Codes are computed from the inputs as they are, before keys are rounded to the
 * storage dtype.
 */
typedef struct hashevict_step {
  size_t struct_size;
  int32_t layer;
  hashevict_batch batch;
  hashevict_tensor q;       /**< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied */
  hashevict_tensor k;       /**< `[tokens, num_kv_heads, head_dim]`, read-only, RoPE applied */
  hashevict_tensor v;       /**< `[tokens, num_kv_heads, head_dim]`, read-only */
  hashevict_tensor out;     /**< `[tokens, num_qo_heads, head_dim]`, written; rows that are skipped stay as they are */
  hashevict_tensor lse;     /**< FLOAT32 `[tokens, num_qo_heads]`, written, optional: natural log of the softmax sum */
  hashevict_tensor slots;   /**< INT32 `[tokens, num_kv_heads]`, written, optional: slot the token went to, or -1 */
  hashevict_tensor victims; /**< INT32 `[tokens, num_kv_heads]`, written, optional: position evicted, or -1 */
  float softmax_scale;      /**< 0 (default): 1 / sqrt(head_dim) */
  float logit_soft_cap;     /**< > 0: logits become cap * tanh(logit / cap); 0 (default): off */
  int32_t prefill_mode;     /**< ::hashevict_prefill_mode, read by prefill only */
  int32_t prefill_window;   /**< queries and tokens of mode WINDOW, default 32; clipped to capacity - sinks */
} hashevict_step;

/** What hashevict_step_init() does to a struct of `struct_size` bytes, see hashevict_config_init_sized(). */
HASHEVICT_API hashevict_status hashevict_step_init_sized(hashevict_step* step, size_t struct_size,
                                                         hashevict_error* error);

/** Sets every field to its default and struct_size. NULL is allowed. */
static inline void hashevict_step_init(hashevict_step* step) {
  hashevict_error unread;
  (void)hashevict_step_init_sized(step, sizeof *step, &unread);
}

/**
 * Takes a prompt, or a chunk of one, into a layer. Reads layer, batch, q, k, v, prefill_mode, prefill_window; writes
 * slots and victims: in mode REPLAY those of each token's step, else the slot a survivor lies in at the end (-1 if it
 * was dropped) and -1. Keys and values are moved once, after the survivors are known.
 * O(tokens * capacity * hash_bits) bit operations per head for REPLAY.
 * @return INVALID_STATE for a chunk of mode WINDOW, or with centring PROMPT, that cannot be done exactly. On CUDA,
 * where only the device knows the sequence's length, such a row leaves its sequence as it was and tells slots and
 *         victims of -1.
 */
HASHEVICT_API hashevict_status hashevict_prefill(hashevict_cache* cache, const hashevict_step* step,
                                                 hashevict_error* error, hashevict_stream stream);

/**
 * Takes the step's tokens into codes and positions and tells the slot each must be stored in, without touching keys
 * or values: for engines whose own kernel writes the cache. Reads layer, batch, q (not needed by rules that do not
 * look at queries), k; writes slots and victims. Several tokens of a row are taken one after the other.
 */
HASHEVICT_API hashevict_status hashevict_evict(hashevict_cache* cache, const hashevict_step* step,
                                               hashevict_error* error, hashevict_stream stream);

/** hashevict_evict(), and stores k and v: a step without attention. Reads layer, batch, q, k, v; writes slots and
 *  victims. */
HASHEVICT_API hashevict_status hashevict_append(hashevict_cache* cache, const hashevict_step* step,
                                                hashevict_error* error, hashevict_stream stream);

/**
 * Attention of queries over what the cache holds. Reads layer, batch, q, softmax_scale, logit_soft_cap; writes out and
 * lse. The n query tokens of a row stand at the last n positions of its sequence, and each sees slots up to its own
 * position. Changes no state. A row whose sequence is empty gives zeros and lse = -infinity. More query tokens than the
 * sequence has seen (than one, if it is empty) are refused by the CPU; on CUDA the first of them see nothing, likewise.
 */
HASHEVICT_API hashevict_status hashevict_attend(hashevict_cache* cache, const hashevict_step* step,
                                                hashevict_error* error, hashevict_stream stream);

/** One decode step: append, then attend. Reads and writes every field but the prefill ones. Several tokens of a row
 *  are several steps: each token's attention sees the state that its own step left. */
HASHEVICT_API hashevict_status hashevict_decode(hashevict_cache* cache, const hashevict_step* step,
                                                hashevict_error* error, hashevict_stream stream);

/** What hashevict_encode() hashes: decides the centre (of `sequence`) and which head's projection is used. */
typedef enum hashevict_encode_as { HASHEVICT_ENCODE_KEYS = 0, HASHEVICT_ENCODE_QUERIES = 1 } hashevict_encode_as;

/**
 * The codes of vectors (algorithm.md, *Code*): bit i is 1 iff `<r_i, x - center> >= 0`. Changes no state.
 * @param x `[tokens, heads, head_dim]` with heads = num_kv_heads (KEYS) or num_qo_heads (QUERIES), read-only
 * @param codes UINT8 `[tokens, heads, hash_bits / 8]`, written; bit i of a code is bit i % 8 of byte i / 8
 */
HASHEVICT_API hashevict_status hashevict_encode(hashevict_cache* cache, int32_t layer, int32_t sequence,
                                                hashevict_encode_as as, const hashevict_tensor* x,
                                                const hashevict_tensor* codes, hashevict_error* error,
                                                hashevict_stream stream);

/* ------------------------------------------------------------- sequences */

/** Makes a sequence empty in every layer, centre included; -1: all sequences. */
HASHEVICT_API hashevict_status hashevict_reset(hashevict_cache* cache, int32_t sequence, hashevict_error* error,
                                               hashevict_stream stream);

/** Copies all of `source`'s state, keys and values included, over `target`. If PAGED, the block table must already
 *  hold pages for the target that are not the source's. */
HASHEVICT_API hashevict_status hashevict_fork(hashevict_cache* cache, int32_t source, int32_t target,
                                              hashevict_error* error, hashevict_stream stream);

/** Bytes that hashevict_save() never exceeds: enough for any state of a sequence of this cache. */
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
 *  @return INVALID_DATA if the bytes are damaged or were saved by a cache of another shape, rule or projection. */
HASHEVICT_API hashevict_status hashevict_load(hashevict_cache* cache, int32_t sequence, const void* buffer,
                                              uint64_t buffer_bytes, hashevict_error* error, hashevict_stream stream);

/* ------------------------------------------------------------ inspection */

/** Where a layer's state lies, for foreign attention kernels. Pointers stay valid as long as the cache. */
typedef struct hashevict_view {
  size_t struct_size;
  /** `[num_sequences, num_kv_heads, capacity, head_dim]` with the strides of the layout;
   *  PAGED: `[num_pages, num_kv_heads, page_size, head_dim]`. Storage dtype. */
  hashevict_tensor keys;
  hashevict_tensor values;
  hashevict_tensor codes;       /**< UINT8 `[num_sequences, num_kv_heads, capacity, hash_bits / 8]` */
  hashevict_tensor positions;   /**< INT32 `[num_sequences, num_kv_heads, capacity]`, -1 where empty */
  hashevict_tensor lengths;     /**< INT32 `[num_sequences]`: valid slots, `min(tokens seen, capacity)` */
  hashevict_tensor tokens_seen; /**< INT32 `[num_sequences]`: logical length, the position of the next token */
} hashevict_view;

/** Tells where a layer's state lies. O(1), touches no device. Backend memory; treat all of it as read-only, except
 *  that an engine that uses hashevict_evict() writes keys and values of the slots it was told. */
HASHEVICT_API hashevict_status hashevict_get_view(const hashevict_cache* cache, int32_t layer, hashevict_view* view,
                                                  hashevict_error* error);

/** Counters that show what the cache has done. */
typedef struct hashevict_statistics {
  size_t struct_size;
  int64_t tokens_seen;    /**< tokens taken in, summed over the layers and sequences asked for */
  int64_t slots_used;     /**< valid slots per head, summed likewise */
  int64_t slots_total;    /**< capacity, summed likewise */
  int64_t evictions;      /**< tokens no longer held, per head, summed likewise: tokens_seen - slots_used */
  uint64_t kv_bytes;      /**< bytes of keys and values in the slots used, all heads */
  uint64_t kv_bytes_full; /**< bytes that all tokens seen would take */
} hashevict_statistics;

/** Statistics of one layer and sequence, or summed over all where -1. Synchronises; never call it in a decode loop
 *  that must not. */
HASHEVICT_API hashevict_status hashevict_get_statistics(hashevict_cache* cache, int32_t layer, int32_t sequence,
                                                        hashevict_statistics* statistics, hashevict_error* error,
                                                        hashevict_stream stream);

/** What this build on this machine can do. */
typedef struct hashevict_capabilities {
  size_t struct_size;
  int32_t version_major, version_minor, version_patch;
  int32_t has_cuda_build;   /**< 1 if CUDA kernels are in this build */
  int32_t num_cuda_devices; /**< devices it can use now */
  int32_t max_head_dim;     /**< head_dim is any multiple of 8 up to it */
  int32_t num_hardware_threads;
  uint32_t hash_bits_mask; /**< bit b set: hash_bits == 2^b is available (8 .. 128) */
  uint32_t policy_mask;    /**< bit p set: ::hashevict_policy p is available; the masks below likewise */
  uint32_t prefill_mode_mask;
  uint32_t layout_mask;
  uint32_t storage_dtype_mask;
  char cpu_target[32]; /**< the SIMD instruction set chosen at run time, such as "AVX2" */
} hashevict_capabilities;

/** Truthful, and cheap: no cache is needed. For HASHEVICT_BACKEND_AUTO, of the backend that AUTO would choose. */
HASHEVICT_API hashevict_status hashevict_get_capabilities(hashevict_backend backend,
                                                          hashevict_capabilities* capabilities, hashevict_error* error);

#ifdef __cplusplus
}
#endif

#endif /* HASHEVICT_HASHEVICT_H */
