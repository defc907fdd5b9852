// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/cache.hpp>
#include <memory>
#include <vector>

#include "support/array.hpp"
#include "support/inputs.hpp"

namespace hashevict::test {

/// Whose memory slots lie in, and how.
enum class Arrangement {
  owned,         ///< the cache's own, in Config::layout
  strided,       ///< lent, in the order of Config::layout, with gaps after slots, heads and sequences
  interleaved,   ///< lent, every key next to its value
  padded_pages,  ///< pages in shuffled order, padded block table
  csr_pages      ///< the same with a table of back-to-back page lists
};

enum class Operation { prefill, evict, append, attend, decode };

/// What one row of a batch brings. Sequence -1: a row to skip.
struct Row {
  int32_t sequence;
  Tokens tokens;
};
using Batch = std::vector<Row>;

/// The arguments of a step that are not its batch.
struct Options {
  int32_t layer = 0;
  DType input = DType::float32;
  DType output = DType::float32;
  float softmax_scale = 0.0F;
  float logit_soft_cap = 0.0F;
  PrefillMode mode = PrefillMode::replay;
  int32_t window = 32;
};

/// What an operation wrote for one row, in bits: comparable even where there are NaNs. Poison where it wrote nothing.
struct Outcome {
  std::vector<int32_t> slots;    ///< [count, num_kv_heads]
  std::vector<int32_t> victims;  ///< [count, num_kv_heads]
  std::vector<float> out;        ///< [count, num_qo_heads, head_dim]
  std::vector<float> lse;        ///< [count, num_qo_heads]
};

/// What a layer holds of one sequence, in no particular layout.
struct State {
  int32_t length = 0;
  int32_t tokens_seen = 0;
  std::vector<int32_t> positions;  ///< [num_kv_heads, capacity]
  std::vector<std::byte> codes;    ///< [num_kv_heads, length, hash_bits / 8]
  std::vector<std::byte> keys;     ///< [num_kv_heads, length, head_dim], storage dtype
  std::vector<std::byte> values;   ///< likewise
  friend bool operator==(const State&, const State&) = default;
};

/// Whether two outcomes or states are the same to the last bit.
void expect_same(const Outcome& a, const Outcome& b);
void expect_same(const State& a, const State& b);

/// A small cache that tests change to their needs: 1 layer, 2 sequences, 4 query and 2 KV heads of size 16, fp32,
/// 24 slots of which 2 are sinks and 5 recent.
Config small_config();

/// A cache on a backend, with the memory it lives in, driven by vectors on the host.
class TestCache {
 public:
  TestCache(Backend backend, Config config, Arrangement arrangement = Arrangement::owned);

  /// Runs an operation over poisoned outputs; one outcome a row.
  std::vector<Outcome> run(Operation operation, const Batch& batch, const Options& options = {});

  [[nodiscard]] State state(int32_t layer, int32_t sequence) const;
  [[nodiscard]] std::vector<State> states() const;  ///< of all layers and sequences

  [[nodiscard]] const Config& config() const { return config_; }
  [[nodiscard]] int32_t capacity(int32_t layer) const;
  [[nodiscard]] Backend backend() const { return backend_; }
  [[nodiscard]] Cache& cache() { return *cache_; }
  [[nodiscard]] const std::vector<int32_t>& block_table() const { return table_; }  ///< as it was made
  [[nodiscard]] std::vector<int32_t> block_table_now() const;                       ///< as it lies in memory
  /// Every byte of lent keys and values, gaps included.
  [[nodiscard]] std::vector<std::vector<std::byte>> lent_bytes() const;

 private:
  void lend_strided(Memory& memory, bool interleaved);
  void lend_pages(Memory& memory, bool csr);
  void lend_state(Memory& memory);
  void* lend(std::size_t bytes, std::byte fill);
  [[nodiscard]] std::vector<std::byte> rows(const Tensor& slots, int32_t sequence, int32_t length) const;

  Backend backend_;
  Config config_;
  std::vector<BackendMemory> lent_;  ///< keys and values first
  std::size_t num_slot_buffers_ = 0;
  std::vector<int32_t> table_;
  std::vector<int32_t> offsets_;  ///< of each sequence's page list in `table_`
  const int32_t* lent_table_ = nullptr;
  std::unique_ptr<Cache> cache_;  ///< gone before the memory it was lent
};

}  // namespace hashevict::test
