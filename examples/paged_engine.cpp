// SPDX-License-Identifier: Apache-2.0
// A serving engine that owns its pages and its block table, and lends both to the cache.
//
// Requests of different lengths share one pool of pages. The engine gives a request as many pages as the capacity
// needs. However long the request grows, the engine then neither allocates pages for it nor changes its row of the
// block table: every KV head evicts its own tokens, but always overwrites a slot in place. So one table serves all
// heads and layers.
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
constexpr int32_t kCapacity = 96;
constexpr int32_t kPageSize = 16;
constexpr int32_t kPagesPerSequence = kCapacity / kPageSize;
constexpr int32_t kPages = 32;

hashevict::Config make_config() {
  hashevict::Config config;
  config.placement.backend = hashevict::Backend::cpu;  // pages and block table are host memory
  config.shape.num_layers = kLayers;
  config.shape.num_sequences = kSequences;
  config.shape.num_qo_heads = kQoHeads;
  config.shape.num_kv_heads = kKvHeads;
  config.shape.head_dim = kDim;
  config.shape.dtype = hashevict::DType::float32;
  config.shape.capacity = kCapacity;
  config.placement.layout = hashevict::Layout::paged;
  config.placement.page_size = kPageSize;
  return config;
}

/// The engine's memory: the pages of every layer, `[kPages, kKvHeads, kPageSize, kDim]`, and the block table.
class PagePool {
 public:
  PagePool() : pages_(2 * kLayers, std::vector<float>(std::size_t{kPages} * kKvHeads * kPageSize * kDim)) {
    for (int32_t page = 0; page < kPages; ++page) free_.push_back(page);
    std::shuffle(free_.begin(), free_.end(), std::mt19937{7});  // as after hours of serving
    block_table_.assign(std::size_t{kSequences} * kPagesPerSequence, -1);
  }

  /// Gives a request its pages. Nothing else writes its row of the block table.
  void admit(int32_t sequence) {
    for (int32_t i = 0; i < kPagesPerSequence; ++i) {
      block_table_[static_cast<std::size_t>(sequence * kPagesPerSequence + i)] = free_.back();
      free_.pop_back();
    }
  }

  /// The memory lent to the cache, which allocates the rest.
  hashevict::Memory memory() {
    hashevict::Memory memory;
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      memory.keys.push_back(pages_[static_cast<std::size_t>(2 * layer)].data());
      memory.values.push_back(pages_[static_cast<std::size_t>(2 * layer + 1)].data());
    }
    memory.num_pages = kPages;
    memory.block_table = block_table_.data();
    memory.block_table_stride = kPagesPerSequence;
    return memory;
  }

  [[nodiscard]] const std::vector<int32_t>& block_table() const { return block_table_; }
  [[nodiscard]] std::size_t num_free() const { return free_.size(); }

 private:
  std::vector<std::vector<float>> pages_;
  std::vector<int32_t> free_;
  std::vector<int32_t> block_table_;
};

/// Stands in for the model: draws random queries, keys and values, and holds the output of attention.
struct Activations {
  explicit Activations(int32_t tokens) {
    static std::mt19937 generator{1};
    std::normal_distribution<float> normal;
    q.resize(static_cast<std::size_t>(tokens) * kQoHeads * kDim);
    k.resize(static_cast<std::size_t>(tokens) * kKvHeads * kDim);
    v.resize(k.size());
    out.resize(q.size());
    for (std::vector<float>* const numbers : {&q, &k, &v}) {
      for (float& number : *numbers) number = normal(generator);
    }
  }

  std::vector<float> q, k, v, out;
};

/// Takes prompts of 40, 200 and 90 tokens in one ragged batch.
void prefill(hashevict::Cache& cache, int32_t layer) {
  const std::vector<int32_t> offsets{0, 40, 240, 330};
  const int32_t tokens = offsets.back();
  Activations model{tokens};
  hashevict::PrefillArgs args;
  args.layer = layer;
  args.batch.cu_seqlens = hashevict::Tensor{offsets.data(), {4}};
  args.q = hashevict::Tensor{model.q.data(), {tokens, kQoHeads, kDim}};
  args.k = hashevict::Tensor{model.k.data(), {tokens, kKvHeads, kDim}};
  args.v = hashevict::Tensor{model.v.data(), {tokens, kKvHeads, kDim}};
  cache.prefill(args, hashevict::kDefaultStream);
}

/// Decodes one token of each running request.
void decode(hashevict::Cache& cache, int32_t layer, const std::vector<int32_t>& running) {
  const auto tokens = static_cast<int32_t>(running.size());
  Activations model{tokens};
  hashevict::DecodeArgs args;
  args.layer = layer;
  args.batch.row_to_sequence = hashevict::Tensor{running.data(), {tokens}};
  args.q = hashevict::Tensor{model.q.data(), {tokens, kQoHeads, kDim}};
  args.k = hashevict::Tensor{model.k.data(), {tokens, kKvHeads, kDim}};
  args.v = hashevict::Tensor{model.v.data(), {tokens, kKvHeads, kDim}};
  args.out = hashevict::Tensor{model.out.data(), {tokens, kQoHeads, kDim}};
  cache.decode(args, hashevict::kDefaultStream);
}

void print_table(const char* when, const std::vector<int32_t>& table) {
  std::printf("block table %s:\n", when);
  for (int32_t sequence = 0; sequence < kSequences; ++sequence) {
    std::printf("  request %d:", sequence);
    for (int32_t i = 0; i < kPagesPerSequence; ++i) {
      std::printf(" %2d", table[static_cast<std::size_t>(sequence * kPagesPerSequence + i)]);
    }
    std::printf("\n");
  }
}

/// Counts the positions of a sequence that KV head 0 holds and KV head 1 does not: heads evict independently.
int32_t positions_held_by_one_head_only(const hashevict::Cache& cache, int32_t layer, int32_t sequence) {
  std::vector<int32_t> heads[2];
  for (int32_t head = 0; head < 2; ++head) {
    const hashevict::Tensor positions = cache.view(layer, head).positions;
    const int32_t* const first = positions.data_as<const int32_t>() + sequence * positions.stride[0];
    heads[head].assign(first, first + kCapacity);
    std::sort(heads[head].begin(), heads[head].end());
  }
  std::vector<int32_t> difference;
  std::set_difference(heads[0].begin(), heads[0].end(), heads[1].begin(), heads[1].end(),
                      std::back_inserter(difference));
  return static_cast<int32_t>(difference.size());
}

}  // namespace

int main() {
  PagePool pool;
  for (int32_t sequence = 0; sequence < kSequences; ++sequence) pool.admit(sequence);
  hashevict::Cache cache{make_config(), pool.memory()};
  const std::vector<int32_t> admitted = pool.block_table();
  print_table("when the requests were admitted", admitted);

  for (int32_t layer = 0; layer < kLayers; ++layer) prefill(cache, layer);
  for (int32_t token = 0; token < 500; ++token) {
    // Request 1 ends after 100 tokens; the others go on.
    const std::vector<int32_t> running = token < 100 ? std::vector<int32_t>{2, 0, 1} : std::vector<int32_t>{2, 0};
    for (int32_t layer = 0; layer < kLayers; ++layer) decode(cache, layer, running);
  }

  print_table("after 500 steps", pool.block_table());
  const bool unchanged = pool.block_table() == admitted;
  bool evicted = true;
  std::printf("\nrequest  tokens seen  slots used  evicted per head  held by head 0 but not by head 1\n");
  for (int32_t sequence = 0; sequence < kSequences; ++sequence) {
    const hashevict::Statistics s = cache.statistics(0, 0, sequence, hashevict::kDefaultStream);
    const int32_t differing = positions_held_by_one_head_only(cache, 0, sequence);
    std::printf("%7d %12lld %11lld %17lld %33d\n", sequence, static_cast<long long>(s.tokens_seen),
                static_cast<long long>(s.slots_used), static_cast<long long>(s.evictions), differing);
    evicted = evicted && s.evictions > 0 && differing > 0;
  }
  std::printf("\n%zu of %d pages are free, as on admission; the block table was %s.\n", pool.num_free(), kPages,
              unchanged ? "never rewritten" : "CHANGED");
  return unchanged && evicted ? 0 : 1;
}
