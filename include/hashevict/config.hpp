// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>
#include <hashevict/status.hpp>
#include <hashevict/tensor.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace hashevict {

/// Where the cache lives and computes.
enum class Backend : int32_t {
  automatic = HASHEVICT_BACKEND_AUTO,  ///< CUDA where this build has it and a device is present, else CPU
  cpu = HASHEVICT_BACKEND_CPU,
  cuda = HASHEVICT_BACKEND_CUDA
};

/// Which slot is evicted: the evictable one with the largest score.
enum class Policy : int32_t {
  hash = HASHEVICT_POLICY_HASH,             ///< farthest from the probe that HashSource names (the paper's rule)
  window = HASHEVICT_POLICY_WINDOW,         ///< the oldest: sinks and the most recent stay
  random = HASHEVICT_POLICY_RANDOM,         ///< uniform, from (seed, layer, global KV head, step, position)
  key_norm = HASHEVICT_POLICY_KEY_NORM,     ///< largest squared L2 norm of the key
  mean = HASHEVICT_POLICY_MEAN,             ///< closest to the code of the mean of all keys seen
  majority = HASHEVICT_POLICY_MAJORITY,     ///< closest to the bitwise majority of all key codes seen
  superseded = HASHEVICT_POLICY_SUPERSEDED  ///< the slot that some later key has come closest to
};

/// The probe of Policy::hash.
enum class HashSource : int32_t {
  query = HASHEVICT_HASH_SOURCE_QUERY,  ///< distances to the group's query codes, summed (the paper)
  key = HASHEVICT_HASH_SOURCE_KEY       ///< distance to the new key's code (the authors' public code)
};

/// Which of several slots with the largest score is evicted.
enum class Tie : int32_t { oldest = HASHEVICT_TIE_OLDEST, lowest_slot = HASHEVICT_TIE_LOWEST_SLOT };

/// Whether a mean is subtracted from keys and queries before they are hashed.
enum class Centering : int32_t {
  none = HASHEVICT_CENTERING_NONE,      ///< the paper
  prompt = HASHEVICT_CENTERING_PROMPT,  ///< per head, the mean over the one prefill call that starts the sequence
  fixed = HASHEVICT_CENTERING_FIXED     ///< what Cache::set_center() gave; zero until then
};

/// How projection rows are drawn.
enum class ProjectionKind : int32_t {
  gaussian = HASHEVICT_PROJECTION_GAUSSIAN,     ///< independent standard normal entries (the paper)
  orthogonal = HASHEVICT_PROJECTION_ORTHOGONAL  ///< the same rows, orthogonalised in blocks of head_dim, norms kept
};

/// How slots lie in memory.
enum class Layout : int32_t {
  head_major = HASHEVICT_LAYOUT_HEAD_MAJOR,  ///< `[sequence][head][slot][dim]`
  slot_major = HASHEVICT_LAYOUT_SLOT_MAJOR,  ///< `[sequence][slot][head][dim]`
  paged = HASHEVICT_LAYOUT_PAGED             ///< pages of page_size slots, found through an `int32` block table
};

/// Named settings of a Config.
enum class Preset : int32_t {
  paper = HASHEVICT_PRESET_PAPER,            ///< query distances, oldest first, 16 bits, 4 sinks, 10 recent
  authors = HASHEVICT_PRESET_AUTHORS,        ///< the authors' public code: the new key's distance, lowest slot first
  superseded = HASHEVICT_PRESET_SUPERSEDED,  ///< what newer keys have made redundant goes: 64 bits, half of it recent
  recall = HASHEVICT_PRESET_RECALL           ///< keeps what a learned projection votes for; needs one, see hashevict.h
};

static_assert(static_cast<int>(Backend::cuda) == 2 && static_cast<int>(Policy::superseded) == 6 &&
                  static_cast<int>(HashSource::key) == 1 && static_cast<int>(Tie::lowest_slot) == 1 &&
                  static_cast<int>(Centering::fixed) == 2 && static_cast<int>(ProjectionKind::orthogonal) == 1 &&
                  static_cast<int>(Layout::paged) == 2 && static_cast<int>(Preset::recall) == 3,
              "an enumerator was added to hashevict.h: add it here");

/// Everything a cache is: the fields of ::hashevict_config, typed. Says nothing about memory, see Memory.
///
/// A new Config holds the defaults of hashevict_config_init(), the preset `paper`; the five shape fields and the
/// capacity are zero and must be set. Nothing is checked here: Cache and Cache::required_bytes() do.
///
/// @code
/// hashevict::Config config = hashevict::Config::preset(hashevict::Preset::superseded);
/// config.num_layers = 32;
/// config.num_qo_heads = 32;
/// config.num_kv_heads = 8;
/// config.head_dim = 128;
/// config.capacity = 4096;
/// @endcode
struct Config {
  Backend backend;  ///< default automatic
  int32_t device;   ///< CUDA device ordinal, default 0

  int32_t num_layers;
  int32_t num_sequences;   ///< cache rows, default 1
  int32_t num_qo_heads;    ///< a multiple of num_kv_heads
  int32_t num_kv_heads;    ///< the heads of this shard
  int32_t head_dim;        ///< a multiple of 8, 8 .. 256
  DType dtype;             ///< storage of keys and values: float32, float16 or bfloat16 (default)
  int32_t kv_head_offset;  ///< global index of this shard's first KV head, default 0

  int32_t capacity;                       ///< slots per KV head, at least sinks + recent window + 1
  std::vector<int32_t> layer_capacities;  ///< `[num_layers]`, or empty (default): `capacity` for every layer

  Policy policy;           ///< default hash
  int32_t hash_bits;       ///< 8, 16 (default), 32, 64 or 128
  HashSource hash_source;  ///< default query; read by Policy::hash only
  Tie tie;                 ///< default oldest

  int32_t num_sink_tokens;  ///< positions below it are never evicted, default 4
  int32_t recent_window;    ///< the last tokens that are never evicted, besides the new one, default 10
  float sink_fraction;      ///< >= 0: sinks as this fraction of each layer's capacity, the product rounded to fp32 and
                            ///< then down (0.9f of 10 are 9 slots); < 0: unused
  float recent_fraction;    ///< the same for the recent window
  bool pin_prompt;          ///< default false; true: decode, append and evict take pinned positions only when nothing
                            ///< else can go. A prefill looks at no pins; when one that brought tokens ends, all
                            ///< positions that its sequence has seen are pinned, decoded ones included
  int32_t score_decay_shift;  ///< 0 (default): off; s in 1 .. 8: Policy::hash scores are averaged over steps

  uint64_t seed;                   ///< of projections and of Policy::random, default 0
  Centering centering;             ///< default none
  ProjectionKind projection_kind;  ///< default gaussian
  bool projection_per_head;        ///< false (default): one projection per layer; else one per KV head

  Layout layout;             ///< default head_major
  int32_t page_size;         ///< slots per page, default 16; read by Layout::paged only
  int64_t max_batch_tokens;  ///< tokens of the largest batch, up to 2^30; 0 (default): the larger of num_sequences and
                             ///< 8192

  int32_t num_threads;  ///< CPU: 0 (default) all hardware threads; 1 only the calling one
  /// CPU: the caller's own loop instead of the cache's pool, or null (default). Runs every task exactly once before it
  /// returns, and does not throw: see ::hashevict_parallel_for. What it throws is reported as Error internal at best,
  /// and half a step is left behind.
  hashevict_parallel_for parallel_for;
  void* parallel_for_context;

  /// The defaults: preset `paper`, without a shape.
  Config() : Config{defaults()} {}

  /// Takes over a config of the C ABI; its `layer_capacities`, if any, are copied.
  explicit Config(const hashevict_config& c)
      : backend{static_cast<Backend>(c.backend)},
        device{c.device},
        num_layers{c.num_layers},
        num_sequences{c.num_sequences},
        num_qo_heads{c.num_qo_heads},
        num_kv_heads{c.num_kv_heads},
        head_dim{c.head_dim},
        dtype{static_cast<DType>(c.dtype)},
        kv_head_offset{c.kv_head_offset},
        capacity{c.capacity},
        policy{static_cast<Policy>(c.policy)},
        hash_bits{c.hash_bits},
        hash_source{static_cast<HashSource>(c.hash_source)},
        tie{static_cast<Tie>(c.tie)},
        num_sink_tokens{c.num_sink_tokens},
        recent_window{c.recent_window},
        sink_fraction{c.sink_fraction},
        recent_fraction{c.recent_fraction},
        pin_prompt{c.pin_prompt != 0},
        score_decay_shift{c.score_decay_shift},
        seed{c.seed},
        centering{static_cast<Centering>(c.centering)},
        projection_kind{static_cast<ProjectionKind>(c.projection_kind)},
        projection_per_head{c.projection_per_head != 0},
        layout{static_cast<Layout>(c.layout)},
        page_size{c.page_size},
        max_batch_tokens{c.max_batch_tokens},
        num_threads{c.num_threads},
        parallel_for{c.parallel_for},
        parallel_for_context{c.parallel_for_context} {
    if (c.layer_capacities != nullptr && c.num_layers > 0) {
      layer_capacities.assign(c.layer_capacities, c.layer_capacities + c.num_layers);
    }
  }

  /// The defaults with a preset applied.
  [[nodiscard]] static Config preset(Preset preset) {
    Config config;
    config.apply(preset);
    return config;
  }

  /// Sets the fields that a preset speaks of (policy, hash_bits, hash_source, tie, sinks, recents, centring, decay,
  /// pin, projection_per_head) and leaves the others.
  /// @throws Error invalid_argument for an unknown preset
  Config& apply(Preset preset) {
    hashevict_config c = without_layer_capacities();
    detail::check([&](hashevict_error* error) {
      return hashevict_config_apply_preset(&c, static_cast<hashevict_preset>(preset), error);
    });
    Config applied{c};
    applied.layer_capacities = std::move(layer_capacities);
    return *this = std::move(applied);
  }

  /// The same as a config of the C ABI. Its `layer_capacities` points into this object, which must outlive it.
  /// @throws Error invalid_argument if `layer_capacities` has neither no element nor one per layer
  [[nodiscard]] hashevict_config c_config() const& {
    hashevict_config c = without_layer_capacities();
    if (layer_capacities.empty()) return c;
    if (num_layers < 0 || layer_capacities.size() != static_cast<size_t>(num_layers)) {
      throw Error{Status::invalid_argument, "layer_capacities.size() = " + std::to_string(layer_capacities.size()) +
                                                ": expected num_layers = " + std::to_string(num_layers) + " or 0"};
    }
    c.layer_capacities = layer_capacities.data();
    return c;
  }
  hashevict_config c_config() const&& = delete;  // the result would point into the temporary that is about to go

 private:
  static hashevict_config defaults() noexcept {
    hashevict_config c;
    static_cast<void>(hashevict_config_init_sized(&c, sizeof c, nullptr));
    return c;
  }

  [[nodiscard]] hashevict_config without_layer_capacities() const noexcept {
    hashevict_config c = defaults();
    c.backend = static_cast<int32_t>(backend);
    c.device = device;
    c.num_layers = num_layers;
    c.num_sequences = num_sequences;
    c.num_qo_heads = num_qo_heads;
    c.num_kv_heads = num_kv_heads;
    c.head_dim = head_dim;
    c.dtype = static_cast<int32_t>(dtype);
    c.kv_head_offset = kv_head_offset;
    c.capacity = capacity;
    c.policy = static_cast<int32_t>(policy);
    c.hash_bits = hash_bits;
    c.hash_source = static_cast<int32_t>(hash_source);
    c.tie = static_cast<int32_t>(tie);
    c.num_sink_tokens = num_sink_tokens;
    c.recent_window = recent_window;
    c.sink_fraction = sink_fraction;
    c.recent_fraction = recent_fraction;
    c.pin_prompt = pin_prompt ? 1 : 0;
    c.score_decay_shift = score_decay_shift;
    c.seed = seed;
    c.centering = static_cast<int32_t>(centering);
    c.projection_kind = static_cast<int32_t>(projection_kind);
    c.projection_per_head = projection_per_head ? 1 : 0;
    c.layout = static_cast<int32_t>(layout);
    c.page_size = page_size;
    c.max_batch_tokens = max_batch_tokens;
    c.num_threads = num_threads;
    c.parallel_for = parallel_for;
    c.parallel_for_context = parallel_for_context;
    return c;
  }
};

/// Memory lent to a Cache: the fields of ::hashevict_memory. What is left empty or null the cache allocates itself.
///
/// Lent memory must outlive the cache and is never freed by it. The two vectors are copied by the cache's constructor;
/// what they point to is not. Strides count elements; all that are in use zero means dense in the order that
/// Config::layout names; others must keep slots apart, as ::hashevict_memory says. Slots are found at
///  - head_major, slot_major: `keys[layer] + sequence * sequence_stride + head * head_stride + slot * slot_stride`
///  - paged: `keys[layer] + page * page_stride + head * head_stride + (slot % page_size) * slot_stride` with
///    `page = block_table[sequence][slot / page_size]`
///
/// @code
/// hashevict::Memory memory;                       // an engine that owns its pages
/// memory.keys = key_pages;                        // one base pointer per layer
/// memory.values = value_pages;
/// memory.num_pages = num_pages;
/// memory.block_table = block_table;               // int32 [num_sequences, pages_per_sequence]; never written
/// memory.block_table_stride = pages_per_sequence;
/// hashevict::Cache cache{config, memory};
/// @endcode
struct Memory {
  std::vector<void*> keys;      ///< `[num_layers]` base pointers into backend memory, or empty (not if paged)
  std::vector<void*> values;    ///< likewise
  int64_t sequence_stride = 0;  ///< unused if paged
  int64_t head_stride = 0;
  int64_t slot_stride = 0;
  int64_t page_stride = 0;  ///< unused unless paged

  /// Paged: backend memory, read at every call and never written. Padded: `[num_sequences, block_table_stride]`. CSR:
  /// sequence s owns entries `block_table_offsets[s] .. block_table_offsets[s + 1] - 1`.
  const int32_t* block_table = nullptr;
  int64_t block_table_stride = 0;                ///< padded: entries from one sequence to the next
  const int32_t* block_table_offsets = nullptr;  ///< CSR: `[num_sequences + 1]`, backend memory; null: padded
  int64_t num_pages = 0;                         ///< pages behind each base pointer

  void* state = nullptr;  ///< Bytes::state of HASHEVICT_ALIGNMENT-aligned backend memory
  uint64_t state_bytes = 0;
  void* workspace = nullptr;  ///< Bytes::workspace, likewise; contents disposable between operations
  uint64_t workspace_bytes = 0;

  /// The same as a memory of the C ABI. Its `keys` and `values` point into this object, which must outlive it.
  /// @throws Error invalid_argument if `keys` or `values` has neither no element nor `num_layers`
  [[nodiscard]] hashevict_memory c_memory(int32_t num_layers) const& {
    require_per_layer("keys", keys, num_layers);
    require_per_layer("values", values, num_layers);
    hashevict_memory c;
    static_cast<void>(hashevict_memory_init_sized(&c, sizeof c, nullptr));
    c.keys = keys.empty() ? nullptr : keys.data();
    c.values = values.empty() ? nullptr : values.data();
    c.sequence_stride = sequence_stride;
    c.head_stride = head_stride;
    c.slot_stride = slot_stride;
    c.page_stride = page_stride;
    c.block_table = block_table;
    c.block_table_stride = block_table_stride;
    c.block_table_offsets = block_table_offsets;
    c.num_pages = num_pages;
    c.state = state;
    c.state_bytes = state_bytes;
    c.workspace = workspace;
    c.workspace_bytes = workspace_bytes;
    return c;
  }
  hashevict_memory c_memory(int32_t) const&& = delete;  // the result would point into the temporary's vectors

 private:
  static void require_per_layer(const char* name, const std::vector<void*>& pointers, int32_t num_layers) {
    if (pointers.empty() || (num_layers >= 0 && pointers.size() == static_cast<size_t>(num_layers))) return;
    throw Error{Status::invalid_argument, std::string{name} + ".size() = " + std::to_string(pointers.size()) +
                                              ": expected num_layers = " + std::to_string(num_layers) + " or 0"};
  }
};

}  // namespace hashevict
