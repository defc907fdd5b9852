// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>
#include <hashevict/config.hpp>
#include <hashevict/divide_slots.hpp>
#include <hashevict/inspection.hpp>
#include <hashevict/memory.hpp>
#include <hashevict/operations.hpp>
#include <hashevict/status.hpp>
#include <hashevict/stream.hpp>
#include <hashevict/tensor.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace hashevict {

/// A key-value cache of fixed size: `capacity` slots per layer, sequence and KV head. In a full cache every new token
/// replaces the one that the layer's rule evicts. Owns one ::hashevict_cache.
///
/// The constructor allocates the cache's memory, except for parts lent to it. Operations (prefill, evict, append,
/// attend, decode, encode, reset, fork) check their arguments on the host, then run in the stream; they neither
/// synchronise nor allocate. One that throws has changed nothing. Other functions may use host memory of their own
/// until they return. Operations on one cache from several host threads need the caller's lock; different caches are
/// independent.
///
/// Every function throws Error with the status of the C function that it wraps. A cache that was moved from owns
/// nothing: it may be assigned to or destroyed; every other use throws Error invalid_argument.
///
/// Rule::projection_kind learned (preset `recall`): prefill(), evict(), append(), decode(), encode() and load() throw
/// invalid_state until set_projection() has set the layer's projection.
///
/// @code
/// hashevict::Config config;
/// config.shape.num_layers = 1;
/// config.shape.num_qo_heads = 4;
/// config.shape.num_kv_heads = 2;
/// config.shape.head_dim = 64;
/// config.shape.capacity = 256;
/// config.placement.backend = hashevict::Backend::cpu;    // the vectors below are host memory
/// hashevict::Cache cache{config};
///
/// hashevict::DecodeArgs args;                            // one token of one sequence
/// args.q = hashevict::Tensor{q.data(), {1, 4, 64}};
/// args.k = hashevict::Tensor{k.data(), {1, 2, 64}};
/// args.v = hashevict::Tensor{v.data(), {1, 2, 64}};
/// args.out = hashevict::Tensor{out.data(), {1, 4, 64}};
/// cache.decode(args, hashevict::kDefaultStream);         // evicts if full, stores, attends
/// @endcode
class Cache {
 public:
  /// Creates a cache with all sequences empty: allocates the memory that is not lent and draws the projections.
  /// Synchronises the device once. O(num_layers * hash_bits * head_dim), and the memory's size.
  /// @param memory copied; the memory that it points to must outlive the cache
  /// @throws Error invalid_argument, unsupported (backend not in this build, or on this device), out_of_memory (also
  ///         where the system gives fewer threads than Execution::num_threads asks for), backend_error
  explicit Cache(const Config& config, const Memory& memory = {}) {
    std::vector<hashevict_rule> rules;
    const hashevict_config c_config = config.c_config(rules);
    const hashevict_memory c_memory = memory.c_memory(config.shape.num_layers, config.shape.num_kv_heads);
    hashevict_cache* cache = nullptr;
    detail::check([&](hashevict_error* error) { return hashevict_cache_create(&c_config, &c_memory, &cache, error); });
    handle_.reset(cache);
  }

  Cache(const Cache&) = delete;             // two owners of one state would evict each other's tokens;
  Cache& operator=(const Cache&) = delete;  // fork() and save()/load() copy sequences
  Cache(Cache&&) noexcept = default;
  Cache& operator=(Cache&&) noexcept = default;

  /// Frees the cache. No operation on it may still be running.
  ~Cache() = default;

  /// Measures the memory that a config needs, before a cache is made. O(num_layers * num_kv_heads).
  /// @throws Error invalid_argument for a config that is not valid, or needs 2^62 bytes or more
  [[nodiscard]] static Bytes required_bytes(const Config& config) {
    std::vector<hashevict_rule> rules;
    const hashevict_config c_config = config.c_config(rules);
    Bytes bytes;
    detail::check([&](hashevict_error* error) { return hashevict_required_bytes(&c_config, &bytes, error); });
    return bytes;
  }

  /// Describes what this build can do on this machine. Cheap; needs no cache.
  [[nodiscard]] static Capabilities capabilities(Backend backend = Backend::automatic) {
    Capabilities capabilities;
    detail::check([&](hashevict_error* error) {
      return hashevict_get_capabilities(static_cast<hashevict_backend>(backend), &capabilities, error);
    });
    return capabilities;
  }

  /// Replaces a layer's projection, for example by a learned one. Synchronises.
  /// @param projection float32 `[hash_bits, head_dim]` for all heads, or `[num_kv_heads, hash_bits, head_dim]` if the
  ///        layer's rule has projection_per_head, host, read-only
  /// @throws Error invalid_argument, also for an entry that is not finite; invalid_state if a sequence holds tokens in
  ///         that layer: their codes would be stale
  void set_projection(int32_t layer, const Tensor& projection) {
    detail::check(
        [&](hashevict_error* error) { return hashevict_set_projection(handle_.get(), layer, &projection, error); });
  }

  /// Copies a layer's projection to host memory. Synchronises.
  /// @param projection float32, the shapes of set_projection(), host, written
  /// @throws Error invalid_argument
  void get_projection(int32_t layer, const Tensor& projection) const {
    detail::check(
        [&](hashevict_error* error) { return hashevict_get_projection(handle_.get(), layer, &projection, error); });
  }

  /// Sets the centres that are subtracted before hashing (Rule::centering fixed or prompt). Synchronises.
  /// @param key_center float32 `[num_kv_heads, head_dim]`, host, read-only
  /// @param query_center float32 `[num_qo_heads, head_dim]`, host, read-only
  /// @throws Error invalid_argument, also for an element that is not finite; invalid_state if the sequence holds tokens
  ///         in that layer
  void set_center(int32_t layer, int32_t sequence, const Tensor& key_center, const Tensor& query_center) {
    detail::check([&](hashevict_error* error) {
      return hashevict_set_center(handle_.get(), layer, sequence, &key_center, &query_center, error);
    });
  }

  /// Sets the weights by which a layer computes its keys' importances (Policy::importance, ImportanceSource::key):
  /// `<weight, key> + bias`, of the key as given. Its calls that take tokens, and load(), throw invalid_state until
  /// then. Synchronises.
  /// @param weight float32 `[num_kv_heads, head_dim]`, host, read-only
  /// @param bias float32 `[num_kv_heads]`, host, read-only
  /// @throws Error invalid_argument, also for an element that is not finite; invalid_state if a sequence of the layer
  ///         holds tokens
  void set_importance_weights(int32_t layer, const Tensor& weight, const Tensor& bias) {
    detail::check([&](hashevict_error* error) {
      return hashevict_set_importance_weights(handle_.get(), layer, &weight, &bias, error);
    });
  }

  /// Adds a prompt, or a chunk of one, to a layer, and computes its attention if `args.out` is given. O(tokens *
  /// capacity * hash_bits) bit operations per head in mode replay; attention O(tokens * keys * head_dim), where a query
  /// sees at most `capacity` keys if streamed, else also all earlier tokens of the call.
  /// @throws Error invalid_argument; invalid_state for a chunk of mode window, or with centring `prompt`, that cannot
  ///         be done exactly
  void prefill(const PrefillArgs& args, Stream stream) { run(hashevict_prefill, args, stream); }

  /// Chooses a slot for each token and records the token's code and position there, but stores no key or value: for
  /// engines whose own kernel writes the cache. O(tokens * capacity * hash_bits) bit operations per head.
  /// @throws Error invalid_argument
  void evict(const EvictArgs& args, Stream stream) { run(hashevict_evict, args, stream); }

  /// evict() that also stores k and v: a step without attention.
  /// @throws Error invalid_argument
  void append(const AppendArgs& args, Stream stream) { run(hashevict_append, args, stream); }

  /// Computes attention of queries over the cached tokens. The n tokens of a row stand at the last n positions of its
  /// sequence, and each sees slots up to its own position; with AttendQueries::after any number of tokens see all valid
  /// slots. Changes no state. O(tokens * capacity * head_dim) per head.
  /// @throws Error invalid_argument; invalid_state for a row of several tokens whose sequence has evicted (on CUDA its
  ///         out and lse are NaN)
  void attend(const AttendArgs& args, Stream stream) { run(hashevict_attend, args, stream); }

  /// One decode step: append(), then attend(). Several tokens of a row are several steps, each attending over the
  /// state that its own step left.
  /// @throws Error invalid_argument
  void decode(const DecodeArgs& args, Stream stream) { run(hashevict_decode, args, stream); }

  /// Computes the codes of vectors: bit i is 1 iff `<r_i, x - center> >= 0`. Changes no state.
  /// @param sequence whose centre is subtracted
  /// @param x `[tokens, heads, head_dim]`, read-only; heads = num_kv_heads (keys) or num_qo_heads (queries)
  /// @param codes uint8 `[tokens, heads, hash_bits / 8]` with the hash_bits of the layer's rule, written; bit i of a
  /// code is bit i % 8 of byte i / 8
  /// @throws Error invalid_argument
  void encode(int32_t layer, int32_t sequence, EncodeAs as, const Tensor& x, const Tensor& codes, Stream stream) {
    detail::check([&](hashevict_error* error) {
      return hashevict_encode(handle_.get(), layer, sequence, static_cast<hashevict_encode_as>(as), &x, &codes, error,
                              stream.get());
    });
  }

  /// Empties all sequences in every layer, their centres included.
  void reset(Stream stream) { reset(-1, stream); }

  /// Empties a sequence in every layer, its centre included; -1: all sequences.
  /// @throws Error invalid_argument
  void reset(int32_t sequence, Stream stream) {
    detail::check(
        [&](hashevict_error* error) { return hashevict_reset(handle_.get(), sequence, error, stream.get()); });
  }

  /// Copies all of `source`'s state, keys and values included, over `target`. If paged, the block table must already
  /// hold pages for the target that are not the source's; only the CPU backend checks it.
  /// @throws Error invalid_argument
  void fork(int32_t source, int32_t target, Stream stream) {
    detail::check(
        [&](hashevict_error* error) { return hashevict_fork(handle_.get(), source, target, error, stream.get()); });
  }

  /// The most bytes that save() writes for any sequence of this cache.
  [[nodiscard]] uint64_t save_bytes() const {
    uint64_t bytes = 0;
    detail::check([&](hashevict_error* error) { return hashevict_save_bytes(handle_.get(), &bytes, error); });
    return bytes;
  }

  /// Saves a sequence's whole state, in a form that either backend, any layout and any batch can load. Synchronises and
  /// allocates the result.
  /// @throws Error invalid_argument
  [[nodiscard]] std::vector<std::byte> save(int32_t sequence, Stream stream) {
    std::vector<std::byte> bytes(static_cast<size_t>(save_bytes()));
    bytes.resize(static_cast<size_t>(save(sequence, bytes.data(), bytes.size(), stream)));
    return bytes;
  }

  /// As above, into host memory of the caller; allocates nothing.
  /// @return the number of bytes written
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
  /// @throws Error invalid_data if the bytes are damaged or were saved by a cache of another shape, rule, projection or
  ///         importance weights; invalid_state if a layer waits for a learned projection or for importance weights
  void load(int32_t sequence, const void* data, size_t bytes, Stream stream) {
    detail::check([&](hashevict_error* error) {
      return hashevict_load(handle_.get(), sequence, data, bytes, error, stream.get());
    });
  }

  /// Returns tensors over the state of one KV head of a layer. O(1), touches no device. Valid as long as the cache.
  /// @throws Error invalid_argument
  [[nodiscard]] View view(int32_t layer, int32_t kv_head) const& {
    hashevict_view c;
    hashevict_view_init(&c);
    detail::check([&](hashevict_error* error) { return hashevict_get_view(handle_.get(), layer, kv_head, &c, error); });
    return View{c};
  }
  View view(int32_t layer, int32_t kv_head) const&& = delete;  // would point into the temporary cache

  /// Counters summed over all layers, KV heads and sequences. Synchronises.
  [[nodiscard]] Statistics statistics(Stream stream) { return statistics(-1, -1, -1, stream); }

  /// Counters of one layer, KV head and sequence; -1 sums over all of them. Synchronises.
  /// @throws Error invalid_argument
  [[nodiscard]] Statistics statistics(int32_t layer, int32_t kv_head, int32_t sequence, Stream stream) {
    Statistics statistics;
    detail::check([&](hashevict_error* error) {
      return hashevict_get_statistics(handle_.get(), layer, kv_head, sequence, &statistics, error, stream.get());
    });
    return statistics;
  }

  /// The config the cache was created with: backend resolved, fractions and defaults left as given.
  [[nodiscard]] Config config() const {
    hashevict_config c = detail::default_config();
    detail::check([&](hashevict_error* error) { return hashevict_get_config(handle_.get(), &c, error); });
    return Config{c};
  }

  /// The C ABI's handle, for calls from other languages. This object keeps owning it.
  [[nodiscard]] hashevict_cache* handle() const& noexcept { return handle_.get(); }
  hashevict_cache* handle() const&& = delete;  // the temporary frees its handle at the end of the expression

 private:
  struct Destroy {
    void operator()(hashevict_cache* cache) const noexcept { hashevict_cache_destroy(cache); }
  };

  template <class Operation, class Args>
  void run(Operation* operation, const Args& args, Stream stream) {
    const auto c_args = args.c_args();
    detail::check([&](hashevict_error* error) { return operation(handle_.get(), &c_args, error, stream.get()); });
  }

  std::unique_ptr<hashevict_cache, Destroy> handle_;
};

}  // namespace hashevict
