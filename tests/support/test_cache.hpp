// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/cache.hpp>
#include <memory>
#include <optional>
#include <vector>

#include "support/array.hpp"
#include "support/enum_name.hpp"
#include "support/every.hpp"
#include "support/inputs.hpp"

namespace hashevict::test {

/// The owner of the slots' memory and its layout.
enum class Arrangement {
  owned,         ///< the cache's own memory, in Config::layout
  strided,       ///< lent, in the order of Config::layout, with gaps after slots, heads and sequences
  interleaved,   ///< lent; each key is next to its value
  padded_pages,  ///< pages in shuffled order, padded block table
  csr_pages      ///< the same with a table of back-to-back page lists
};

enum class Operation { prefill, evict, append, attend, decode };
inline constexpr Operation kOperations[] = {Operation::prefill, Operation::evict, Operation::append, Operation::attend,
                                            Operation::decode};

/// The tokens of one row of a batch. Sequence -1 marks a row to skip.
struct Row {
  int32_t sequence;
  Tokens tokens;
};
using Batch = std::vector<Row>;

/// The arguments of an operation, apart from its batch.
struct Options {
  int32_t layer = 0;
  DType input = DType::float32;
  DType output = DType::float32;
  float softmax_scale = 0.0F;
  float logit_soft_cap = 0.0F;
  PrefillMode mode = PrefillMode::replay;
  int32_t window = 32;
  std::optional<PrefillAttention> attention;    ///< of a prompt; nullopt: none is computed
  AttendQueries queries = AttendQueries::last;  ///< of attend
};

/// Whether a backend computes the attention of prompts.
inline bool attends_prompts(Backend backend) {
  return backend == Backend::cpu;
}

/// The outputs of an operation for one row. They compare bit by bit, also with NaNs. Elements that the operation does
/// not write keep their poison.
struct Outcome {
  std::vector<int32_t> slots;    ///< [count, num_kv_heads]
  std::vector<int32_t> victims;  ///< [count, num_kv_heads]
  std::vector<float> out;        ///< [count, num_qo_heads, head_dim]
  std::vector<float> lse;        ///< [count, num_qo_heads]
};

/// A layer's state of one sequence, independent of the layout.
struct State {
  std::vector<int32_t> lengths;  ///< [num_kv_heads]
  int32_t tokens_seen = 0;
  std::vector<int32_t> positions;  ///< of all heads in turn: [capacity]
  std::vector<std::byte> codes;    ///< likewise: [length, hash_bits / 8]
  std::vector<std::byte> keys;     ///< likewise: [length, head_dim], storage dtype
  std::vector<std::byte> values;   ///< likewise
  friend bool operator==(const State&, const State&) = default;
};

/// Whether two outcomes or states are the same to the last bit.
void expect_same(const Outcome& a, const Outcome& b);
void expect_same(const State& a, const State& b);

/// A small cache that tests adapt: 1 layer, 2 sequences, 4 query and 2 KV heads of size 16, fp32, 24 slots of which 2
/// are sinks and 5 recent.
Config small_config();

/// The same with different capacities: two layers, of whose heads one has only the slots that the rule needs, two
/// differ by one, and one has a multiple.
Config ragged_config();

/// The rule of a layer.
const Rule& rule_of(const Config& config, int32_t layer);

/// The slots of a KV head.
int32_t capacity_of(const Config& config, int32_t layer, int32_t kv_head);

/// A cache on a backend, with its memory. Inputs and outputs are vectors on the host.
class TestCache {
 public:
  TestCache(Backend backend, Config config, Arrangement arrangement = Arrangement::owned);

  /// Runs an operation with poisoned outputs and returns one outcome per row.
  std::vector<Outcome> run(Operation operation, const Batch& batch, const Options& options = {});

  [[nodiscard]] State state(int32_t layer, int32_t sequence) const;
  [[nodiscard]] std::vector<State> states() const;  ///< of all layers and sequences

  /// csr_pages: writes the two offsets of a sequence; the first is also the end of the list before it. state() and the
  /// like keep using the original table.
  void set_page_list(int32_t sequence, int32_t first, int32_t end);

  [[nodiscard]] const Config& config() const { return config_; }
  [[nodiscard]] Backend backend() const { return backend_; }
  [[nodiscard]] Cache& cache() { return *cache_; }
  [[nodiscard]] const std::vector<int32_t>& block_table() const { return table_; }  ///< as created
  [[nodiscard]] std::vector<int32_t> block_table_now() const;                       ///< as in memory now
  /// Every byte of lent keys and values, gaps included.
  [[nodiscard]] std::vector<std::vector<std::byte>> lent_bytes() const;

 private:
  void lend_strided(Memory& memory, bool interleaved);
  void lend_pages(Memory& memory, bool csr);
  void lend_state(Memory& memory);
  void learn();
  void weigh();
  void* lend(std::size_t bytes, std::byte fill);
  void append_rows(const Tensor& slots, int32_t sequence, int32_t length, std::vector<std::byte>& rows) const;

  Backend backend_;
  Config config_;
  std::vector<BackendMemory> lent_;  ///< keys and values first
  std::size_t num_slot_buffers_ = 0;
  std::vector<int32_t> table_;
  std::vector<int32_t> offsets_;  ///< start of each sequence's page list in `table_`
  const int32_t* lent_table_ = nullptr;
  void* lent_offsets_ = nullptr;
  std::unique_ptr<Cache> cache_;  ///< destroyed before the memory that it was lent
};

}  // namespace hashevict::test
