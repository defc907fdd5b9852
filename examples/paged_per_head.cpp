// SPDX-License-Identifier: Apache-2.0
// A serving engine that gives each KV head the pages it needs, from one pool for all heads, layers and requests.
//
// Retrieval sits in a few heads: here one head of each layer has many slots and the others few. The engine hands out
// pages as a request grows. Once a head is full it replaces its slots in place, so its row of the block table stays.
// A request that ends returns its pages.
#include <hashevict/cache.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <random>
#include <vector>

namespace {

constexpr int32_t kLayers = 2;
constexpr int32_t kSequences = 3;
constexpr int32_t kQoHeads = 8;
constexpr int32_t kKvHeads = 2;
constexpr int32_t kDim = 64;
constexpr int32_t kPageSize = 16;
constexpr int32_t kCapacities[kLayers * kKvHeads] = {512, 32, 48, 384};
constexpr int32_t kRow = 512 / kPageSize;  // entries of a row: the pages of the head with most slots
constexpr int32_t kPages = 160;

/// The engine's memory: one pool of pages `[kPages, kPageSize, kDim]` for keys and one for values, and the block table
/// `[kLayers, kSequences, kKvHeads, kRow]`.
class PagePool {
 public:
  PagePool() : keys_(std::size_t{kPages} * kPageSize * kDim), values_(keys_.size()) {
    for (int32_t page = 0; page < kPages; ++page) free_.push_back(page);
    std::shuffle(free_.begin(), free_.end(), std::mt19937{7});  // as after hours of serving
    block_table_.assign(std::size_t{kLayers} * kSequences * kKvHeads * kRow, -1);
  }

  /// Gives each head of a request the pages for `tokens` tokens, or for its capacity.
  void grow(int32_t sequence, int32_t tokens) {
    for (int32_t head = 0; head < kLayers * kKvHeads; ++head) {
      const int32_t slots = std::min(tokens, kCapacities[head]);
      int32_t* const row = row_of(sequence, head);
      for (int32_t i = 0; i * kPageSize < slots; ++i) {
        if (row[i] < 0) row[i] = take();
      }
    }
  }

  /// Takes back the pages of a request that has ended.
  void retire(int32_t sequence) {
    for (int32_t head = 0; head < kLayers * kKvHeads; ++head) {
      int32_t* const row = row_of(sequence, head);
      std::copy_if(row, row + kRow, std::back_inserter(free_), [](int32_t page) { return page >= 0; });
      std::fill(row, row + kRow, -1);
    }
  }

  /// The memory lent to the cache, which allocates the rest.
  hashevict::Memory memory() {
    hashevict::Memory memory;
    memory.keys.assign(kLayers, keys_.data());  // the layers share the pool
    memory.values.assign(kLayers, values_.data());
    memory.num_pages = kPages;
    memory.block_table = block_table_.data();
    memory.block_table_stride = kRow;
    return memory;
  }

  [[nodiscard]] std::size_t num_free() const { return free_.size(); }

 private:
  /// @param head of all layers: layer * kKvHeads + KV head
  int32_t* row_of(int32_t sequence, int32_t head) {
    const int32_t row = (head / kKvHeads * kSequences + sequence) * kKvHeads + head % kKvHeads;
    return block_table_.data() + std::ptrdiff_t{row} * kRow;
  }
  int32_t take() {
    const int32_t page = free_.back();
    free_.pop_back();
    return page;
  }

  std::vector<float> keys_, values_;
  std::vector<int32_t> free_;
  std::vector<int32_t> block_table_;
};

hashevict::Config make_config() {
  hashevict::Config config;
  config.placement.backend = hashevict::Backend::cpu;  // pages and block table are host memory
  config.shape.num_layers = kLayers;
  config.shape.num_sequences = kSequences;
  config.shape.num_qo_heads = kQoHeads;
  config.shape.num_kv_heads = kKvHeads;
  config.shape.head_dim = kDim;
  config.shape.dtype = hashevict::DType::float32;
  config.shape.capacities.assign(kCapacities, kCapacities + kLayers * kKvHeads);
  config.placement.layout = hashevict::Layout::paged_per_head;
  config.placement.page_size = kPageSize;
  return config;
}

/// Decodes one token of a request in every layer. Random numbers stand in for the model.
void decode(hashevict::Cache& cache, int32_t sequence) {
  static std::mt19937 generator{1};
  std::normal_distribution<float> normal;
  std::vector<float> q(kQoHeads * kDim), k(kKvHeads * kDim), v(k.size()), out(q.size());
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    for (std::vector<float>* const numbers : {&q, &k, &v}) {
      for (float& number : *numbers) number = normal(generator);
    }
    hashevict::DecodeArgs args;
    args.layer = layer;
    args.batch.row_to_sequence = hashevict::Tensor{&sequence, {1}};
    args.q = hashevict::Tensor{q.data(), {1, kQoHeads, kDim}};
    args.k = hashevict::Tensor{k.data(), {1, kKvHeads, kDim}};
    args.v = hashevict::Tensor{v.data(), {1, kKvHeads, kDim}};
    args.out = hashevict::Tensor{out.data(), {1, kQoHeads, kDim}};
    cache.decode(args, hashevict::kDefaultStream);
  }
}

}  // namespace

int main() {
  PagePool pool;
  hashevict::Cache cache{make_config(), pool.memory()};
  std::printf("request  tokens  free pages\n");
  for (const int32_t tokens : {20, 200, 600, 700}) {
    for (int32_t sequence = 0; sequence < 2; ++sequence) {
      const auto seen = static_cast<int32_t>(cache.statistics(0, 0, sequence, hashevict::kDefaultStream).tokens_seen);
      for (int32_t token = seen; token < tokens; ++token) {
        pool.grow(sequence, token + 1);
        decode(cache, sequence);
      }
      std::printf("%7d %7d %11zu\n", sequence, tokens, pool.num_free());
    }
  }
  // A full request holds 32 + 2 + 3 + 24 pages; with one capacity for all heads of a layer it would hold 112.
  const bool as_expected = pool.num_free() == kPages - 2 * (32 + 2 + 3 + 24);
  cache.reset(0, hashevict::kDefaultStream);
  pool.retire(0);
  std::printf("request 0 has ended: %zu of %d pages are free\n", pool.num_free(), kPages);
  return as_expected && pool.num_free() == kPages - (32 + 2 + 3 + 24) ? 0 : 1;
}
