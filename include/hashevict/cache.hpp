// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>
#include <hashevict/config.hpp>
#include <hashevict/status.hpp>
#include <hashevict/stream.hpp>
#include <hashevict/tensor.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace hashevict {

/// How a prompt longer than the capacity is reduced; shorter ones are kept whole.
enum class PrefillMode : int32_t {
  replay = HASHEVICT_PREFILL_REPLAY,  ///< what one decode step per prompt token would have left, whatever the chunking
  window = HASHEVICT_PREFILL_WINDOW,  ///< sinks, the last `prefill_window` tokens, the others nearest to their queries
  recent = HASHEVICT_PREFILL_RECENT   ///< sinks and the last `capacity - sinks`, whatever the chunking
};

/// What Cache::encode() hashes: decides the centre and which head's projection is used.
enum class EncodeAs : int32_t { keys = HASHEVICT_ENCODE_KEYS, queries = HASHEVICT_ENCODE_QUERIES };

static_assert(static_cast<int>(PrefillMode::recent) == 2 && static_cast<int>(EncodeAs::queries) == 1,
              "an enumerator was added to hashevict.h: add it here");

/// Arguments of the five operations on a batch: the fields of ::hashevict_step, the batch spelt out.
///
/// Each operation reads the fields that its comment names and ignores the others. `rows` of the batch bring `tokens`
/// tokens, back to back. All tensors lie in the backend's memory (host for CPU, device for CUDA). A tensor without
/// elements needs no memory: its data may be null.
struct Step {
  int32_t layer = 0;
  Tensor row_to_sequence;       ///< int32 `[rows]`, read-only, optional (row r is sequence r); -1 skips a row
  Tensor cu_seqlens;            ///< int32 `[rows + 1]`, read-only, optional (one token a row): token offsets
  Tensor q;                     ///< `[tokens, num_qo_heads, head_dim]`, read-only, RoPE applied
  Tensor k;                     ///< `[tokens, num_kv_heads, head_dim]`, read-only, RoPE applied
  Tensor v;                     ///< `[tokens, num_kv_heads, head_dim]`, read-only
  Tensor out;                   ///< `[tokens, num_qo_heads, head_dim]`, written; rows that are skipped stay as they are
  Tensor lse;                   ///< float32 `[tokens, num_qo_heads]`, written, optional: natural log of the softmax sum
  Tensor slots;                 ///< int32 `[tokens, num_kv_heads]`, written, optional: slot the token went to, or -1
  Tensor victims;               ///< int32 `[tokens, num_kv_heads]`, written, optional: position evicted, or -1
  float softmax_scale = 0.0F;   ///< 0: 1 / sqrt(head_dim)
  float logit_soft_cap = 0.0F;  ///< > 0: logits become cap * tanh(logit / cap); 0: off
  PrefillMode prefill_mode = PrefillMode::replay;  ///< read by prefill only
  int32_t prefill_window = 32;                     ///< queries and tokens of PrefillMode::window

  /// The same as a step of the C ABI. Refers to nothing but the tensors' memory.
  [[nodiscard]] hashevict_step c_step() const noexcept {
    hashevict_step c;
    static_cast<void>(hashevict_step_init_sized(&c, sizeof c, nullptr));
    c.layer = layer;
    c.batch.row_to_sequence = row_to_sequence;
    c.batch.cu_seqlens = cu_seqlens;
    c.q = q;
    c.k = k;
    c.v = v;
    c.out = out;
    c.lse = lse;
    c.slots = slots;
    c.victims = victims;
    c.softmax_scale = softmax_scale;
    c.logit_soft_cap = logit_soft_cap;
    c.prefill_mode = static_cast<int32_t>(prefill_mode);
    c.prefill_window = prefill_window;
    return c;
  }
};

/// What a config needs, in bytes; see ::hashevict_bytes for the parts.
struct Bytes : hashevict_bytes {
  Bytes() noexcept : hashevict_bytes{} { struct_size = sizeof(hashevict_bytes); }
};

/// Counters that show what a cache has done; see ::hashevict_statistics.
struct Statistics : hashevict_statistics {
  Statistics() noexcept : hashevict_statistics{} { struct_size = sizeof(hashevict_statistics); }
};

/// What this build on this machine can do; see ::hashevict_capabilities.
struct Capabilities : hashevict_capabilities {
  Capabilities() noexcept : hashevict_capabilities{} { struct_size = sizeof(hashevict_capabilities); }

  [[nodiscard]] bool supports(Policy policy) const noexcept { return has(policy_mask, static_cast<int>(policy)); }
  [[nodiscard]] bool supports(PrefillMode mode) const noexcept {
    return has(prefill_mode_mask, static_cast<int>(mode));
  }
  [[nodiscard]] bool supports(Layout layout) const noexcept { return has(layout_mask, static_cast<int>(layout)); }
  /// Whether keys and values can be stored as `dtype`.
  [[nodiscard]] bool supports(DType dtype) const noexcept { return has(storage_dtype_mask, static_cast<int>(dtype)); }

 private:
  static bool has(uint32_t mask, int bit) noexcept { return bit >= 0 && bit < 32 && ((mask >> bit) & 1U) != 0; }
};

/// Where a layer's state lies, for foreign attention kernels; see ::hashevict_view. Owns nothing: valid as long as the
/// cache. Read-only, except that an engine that uses Cache::evict() writes keys and values of the slots it was told.
struct View {
  Tensor keys;         ///< `[num_sequences, num_kv_heads, capacity, head_dim]`, strided;
                       ///< paged: `[num_pages, num_kv_heads, page_size, head_dim]`
  Tensor values;       ///< likewise
  Tensor codes;        ///< uint8 `[num_sequences, num_kv_heads, capacity, hash_bits / 8]`
  Tensor positions;    ///< int32 `[num_sequences, num_kv_heads, capacity]`, -1 where empty
  Tensor lengths;      ///< int32 `[num_sequences]`: valid slots, min(tokens seen, capacity)
  Tensor tokens_seen;  ///< int32 `[num_sequences]`: logical length, the position of the next token
};

/// A key-value cache of fixed size: `capacity` slots per layer, sequence and KV head, in which every new token takes
/// the place of the one that the config's policy can best do without. Owns one ::hashevict_cache.
///
/// The cache's memory is allocated by the constructor, or lent to it. Operations on a batch (prefill, evict, append,
/// attend, decode, encode, reset, fork) are put into the stream, neither synchronise nor allocate, and are validated on
/// the host first: one that throws has changed nothing. Other functions may use host memory of their own until they
/// return. Operations on one cache from several host threads need the caller's lock; different caches are independent.
///
/// Every function throws Error with the status of the C function that it wraps. A cache that was moved from owns
/// nothing; using it for anything but assignment and destruction throws Error invalid_argument.
///
/// @code
/// hashevict::Config config;
/// config.num_layers = 1;
/// config.num_qo_heads = 4;
/// config.num_kv_heads = 2;
/// config.head_dim = 64;
/// config.capacity = 256;
/// hashevict::Cache cache{config};
///
/// hashevict::Step step;                                  // one token of one sequence
/// step.q = hashevict::Tensor{q.data(), {1, 4, 64}};
/// step.k = hashevict::Tensor{k.data(), {1, 2, 64}};
/// step.v = hashevict::Tensor{v.data(), {1, 2, 64}};
/// step.out = hashevict::Tensor{out.data(), {1, 4, 64}};
/// cache.decode(step, hashevict::Stream{});               // evicts if full, stores, attends
/// @endcode
class Cache {
 public:
  /// Creates a cache with all sequences empty, over the memory lent and memory of its own for the rest, and draws the
  /// projections. Allocates; synchronises the device once. O(num_layers * hash_bits * head_dim), and the memory's size.
  /// @param memory copied; what it points to must outlive the cache
  /// @throws Error invalid_argument, unsupported (backend not in this build, or no device), out_of_memory (also where
  ///         the system gives fewer threads than Config::num_threads asks for), backend_error
  explicit Cache(const Config& config, const Memory& memory = {}) {
    const hashevict_config c_config = config.c_config();
    const hashevict_memory c_memory = memory.c_memory(config.num_layers);
    hashevict_cache* cache = nullptr;
    detail::check([&](hashevict_error* error) { return hashevict_cache_create(&c_config, &c_memory, &cache, error); });
    handle_.reset(cache);
  }

  Cache(const Cache&) = delete;             // two owners of one state would each evict under the other's feet;
  Cache& operator=(const Cache&) = delete;  // fork() and save()/load() copy sequences
  Cache(Cache&&) noexcept = default;
  Cache& operator=(Cache&&) noexcept = default;

  /// Frees the cache. The caller has made sure that no operation on it is still running.
  ~Cache() = default;

  /// What a config needs, before a cache is made. O(num_layers).
  /// @throws Error invalid_argument for a config that is not valid
  [[nodiscard]] static Bytes required_bytes(const Config& config) {
    const hashevict_config c_config = config.c_config();
    Bytes bytes;
    detail::check([&](hashevict_error* error) { return hashevict_required_bytes(&c_config, &bytes, error); });
    return bytes;
  }

  /// What this build on this machine can do. Truthful and cheap.
  [[nodiscard]] static Capabilities capabilities(Backend backend = Backend::automatic) {
    Capabilities capabilities;
    detail::check([&](hashevict_error* error) {
      return hashevict_get_capabilities(static_cast<hashevict_backend>(backend), &capabilities, error);
    });
    return capabilities;
  }

  /// Replaces the projection of a layer: learned hashes come in this way. Synchronises.
  /// @param projection float32 `[hash_bits, head_dim]` for all heads, or `[num_kv_heads, hash_bits, head_dim]` (needs
  ///        Config::projection_per_head), host, read-only
  /// @throws Error invalid_argument; invalid_state if a sequence holds tokens in that layer: their codes would be stale
  void set_projection(int32_t layer, const Tensor& projection) {
    detail::check(
        [&](hashevict_error* error) { return hashevict_set_projection(handle_.get(), layer, &projection, error); });
  }

  /// Copies a layer's projection to host memory of the shapes of set_projection(), written. Synchronises.
  /// @throws Error invalid_argument
  void get_projection(int32_t layer, const Tensor& projection) const {
    detail::check(
        [&](hashevict_error* error) { return hashevict_get_projection(handle_.get(), layer, &projection, error); });
  }

  /// Sets the centres that are subtracted before hashing (Config::centering fixed or prompt). Synchronises.
  /// @param key_center float32 `[num_kv_heads, head_dim]`, host, read-only
  /// @param query_center float32 `[num_qo_heads, head_dim]`, host, read-only
  /// @throws Error invalid_argument; invalid_state if the sequence holds tokens in that layer
  void set_center(int32_t layer, int32_t sequence, const Tensor& key_center, const Tensor& query_center) {
    detail::check([&](hashevict_error* error) {
      return hashevict_set_center(handle_.get(), layer, sequence, &key_center, &query_center, error);
    });
  }

  /// Takes a prompt, or a chunk of one, into a layer. Reads layer, the batch, q, k, v, prefill_mode, prefill_window;
  /// writes slots and victims. O(tokens * capacity * hash_bits) bit operations per head in mode replay.
  /// @throws Error invalid_argument; invalid_state for a chunk of mode window, or with centring `prompt`, that cannot
  ///         be done exactly
  void prefill(const Step& step, Stream stream) { run(hashevict_prefill, step, stream); }

  /// Takes the step's tokens into codes and positions and tells the slot each must be stored in, without touching keys
  /// or values: for engines whose own kernel writes the cache. Reads layer, the batch, q (not needed by rules that do
  /// not look at queries), k; writes slots and victims. O(tokens * capacity * hash_bits) bit operations per head.
  /// @throws Error invalid_argument
  void evict(const Step& step, Stream stream) { run(hashevict_evict, step, stream); }

  /// evict(), and stores k and v: a step without attention. Reads layer, the batch, q, k, v; writes slots and victims.
  /// @throws Error invalid_argument
  void append(const Step& step, Stream stream) { run(hashevict_append, step, stream); }

  /// Attention of queries over what the cache holds. Reads layer, the batch, q, softmax_scale, logit_soft_cap; writes
  /// out and lse. The n tokens of a row stand at the last n positions of its sequence, and each sees slots up to its
  /// own position. Changes no state. O(tokens * capacity * head_dim) per head.
  /// @throws Error invalid_argument
  void attend(const Step& step, Stream stream) { run(hashevict_attend, step, stream); }

  /// One decode step: append(), then attend(). Several tokens of a row are several steps, each attending over the
  /// state that its own step left. Reads and writes every field but the prefill ones.
  /// @throws Error invalid_argument
  void decode(const Step& step, Stream stream) { run(hashevict_decode, step, stream); }

  /// The codes of vectors: bit i is 1 iff `<r_i, x - center> >= 0`. Changes no state.
  /// @param sequence whose centre is subtracted
  /// @param x `[tokens, heads, head_dim]`, read-only; heads = num_kv_heads (keys) or num_qo_heads (queries)
  /// @param codes uint8 `[tokens, heads, hash_bits / 8]`, written; bit i of a code is bit i % 8 of byte i / 8
  /// @throws Error invalid_argument
  void encode(int32_t layer, int32_t sequence, EncodeAs as, const Tensor& x, const Tensor& codes, Stream stream) {
    detail::check([&](hashevict_error* error) {
      return hashevict_encode(handle_.get(), layer, sequence, static_cast<hashevict_encode_as>(as), &x, &codes, error,
                              stream.get());
    });
  }

  /// Makes all sequences empty in every layer, centres included.
  void reset(Stream stream) { reset(-1, stream); }

  /// Makes a sequence empty in every layer, its centre included; -1: all sequences.
  /// @throws Error invalid_argument
  void reset(int32_t sequence, Stream stream) {
    detail::check(
        [&](hashevict_error* error) { return hashevict_reset(handle_.get(), sequence, error, stream.get()); });
  }

  /// Copies all of `source`'s state, keys and values included, over `target`. If paged, the block table must already
  /// hold pages for the target that are not the source's.
  /// @throws Error invalid_argument
  void fork(int32_t source, int32_t target, Stream stream) {
    detail::check(
        [&](hashevict_error* error) { return hashevict_fork(handle_.get(), source, target, error, stream.get()); });
  }

  /// Bytes that save() never exceeds: enough for any state of a sequence of this cache.
  [[nodiscard]] uint64_t save_bytes() const {
    uint64_t bytes = 0;
    detail::check([&](hashevict_error* error) { return hashevict_save_bytes(handle_.get(), &bytes, error); });
    return bytes;
  }

  /// A sequence's whole state, in a form that either backend, any layout and any batch can load. Synchronises, and
  /// allocates the result.
  /// @throws Error invalid_argument
  [[nodiscard]] std::vector<std::byte> save(int32_t sequence, Stream stream) {
    std::vector<std::byte> bytes(static_cast<size_t>(save_bytes()));
    bytes.resize(static_cast<size_t>(save(sequence, bytes.data(), bytes.size(), stream)));
    return bytes;
  }

  /// As above, into host memory of the caller; allocates nothing.
  /// @return bytes of `buffer` that were written
  /// @throws Error invalid_argument, also if the state that the sequence has now takes more than `buffer_bytes`;
  ///         save_bytes() is always enough
  uint64_t save(int32_t sequence, void* buffer, uint64_t buffer_bytes, Stream stream) {
    uint64_t written = 0;
    detail::check([&](hashevict_error* error) {
      return hashevict_save(handle_.get(), sequence, buffer, buffer_bytes, &written, error, stream.get());
    });
    return written;
  }

  /// Replaces a sequence's state by a saved one; it then continues exactly as the saved one would have. Synchronises.
  /// @param data `[bytes]`, host, read-only
  /// @throws Error invalid_data if the bytes are damaged or were saved by a cache of another shape, rule or projection
  void load(int32_t sequence, const void* data, size_t bytes, Stream stream) {
    detail::check([&](hashevict_error* error) {
      return hashevict_load(handle_.get(), sequence, data, bytes, error, stream.get());
    });
  }

  /// Where a layer's state lies. O(1), touches no device. Valid as long as the cache.
  /// @throws Error invalid_argument
  [[nodiscard]] View view(int32_t layer) const& {
    hashevict_view c{};
    c.struct_size = sizeof c;
    detail::check([&](hashevict_error* error) { return hashevict_get_view(handle_.get(), layer, &c, error); });
    return View{Tensor{c.keys},      Tensor{c.values},  Tensor{c.codes},
                Tensor{c.positions}, Tensor{c.lengths}, Tensor{c.tokens_seen}};
  }
  View view(int32_t layer) const&& = delete;  // would point into the temporary cache that is about to go

  /// Statistics summed over all layers and sequences. Synchronises.
  [[nodiscard]] Statistics statistics(Stream stream) { return statistics(-1, -1, stream); }

  /// Statistics of one layer and sequence, or summed over all where -1. Synchronises.
  /// @throws Error invalid_argument
  [[nodiscard]] Statistics statistics(int32_t layer, int32_t sequence, Stream stream) {
    Statistics statistics;
    detail::check([&](hashevict_error* error) {
      return hashevict_get_statistics(handle_.get(), layer, sequence, &statistics, error, stream.get());
    });
    return statistics;
  }

  /// The config the cache was created with: backend resolved, fractions and defaults left as given.
  [[nodiscard]] Config config() const {
    hashevict_config c{};
    c.struct_size = sizeof c;
    detail::check([&](hashevict_error* error) { return hashevict_get_config(handle_.get(), &c, error); });
    return Config{c};
  }

  /// The C ABI's handle, for calls from other languages; stays owned by this object.
  [[nodiscard]] hashevict_cache* handle() const& noexcept { return handle_.get(); }
  hashevict_cache* handle() const&& = delete;  // the temporary frees its handle at the end of the expression

 private:
  using Operation = decltype(hashevict_decode);

  struct Destroy {
    void operator()(hashevict_cache* cache) const noexcept { hashevict_cache_destroy(cache); }
  };

  void run(Operation* operation, const Step& step, Stream stream) {
    const hashevict_step c_step = step.c_step();
    detail::check([&](hashevict_error* error) { return operation(handle_.get(), &c_step, error, stream.get()); });
  }

  std::unique_ptr<hashevict_cache, Destroy> handle_;
};

}  // namespace hashevict
