// SPDX-License-Identifier: Apache-2.0
// Continuous batching: requests arrive while others run, share each batch with them, and leave when they end.
//
// The cache has one sequence for each request that the engine serves at once. A batch names the sequence of each of its
// rows, so rows may come in any order and number. A request that ends gives its sequence back by one reset.
#include <hashevict/cache.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <utility>
#include <vector>

namespace {

constexpr int32_t kLayers = 2;
constexpr int32_t kSequences = 4;
constexpr int32_t kQoHeads = 8;
constexpr int32_t kKvHeads = 2;
constexpr int32_t kHeadDim = 64;
constexpr int32_t kCapacity = 96;
constexpr int32_t kChunk = 128;  // prompt tokens of one request in one iteration

hashevict::Config make_config() {
  hashevict::Config config;
  config.placement.backend = hashevict::Backend::cpu;  // the vectors below are host memory
  config.shape.num_layers = kLayers;
  config.shape.num_sequences = kSequences;
  config.shape.num_qo_heads = kQoHeads;
  config.shape.num_kv_heads = kKvHeads;
  config.shape.head_dim = kHeadDim;
  config.shape.capacity = kCapacity;
  config.execution.max_batch_tokens = int64_t{kSequences} * kChunk;
  return config;
}

struct Request {
  int32_t arrival;  // iteration of the serving loop
  int32_t prompt_tokens;
  int32_t answer_tokens;
  int32_t prefilled = 0;
  int32_t generated = 0;
  int32_t sequence = -1;  // of the cache, while the request runs

  [[nodiscard]] bool has_prompt_left() const { return prefilled < prompt_tokens; }
  [[nodiscard]] bool is_done() const { return generated == answer_tokens; }
};

/// The rows of one batch: row r brings tokens `offsets[r]` to `offsets[r + 1]` of sequence `sequences[r]`.
struct Batch {
  std::vector<int32_t> sequences;
  std::vector<int32_t> offsets{0};

  void add(int32_t sequence, int32_t tokens) {
    sequences.push_back(sequence);
    offsets.push_back(offsets.back() + tokens);
  }
  [[nodiscard]] int32_t rows() const { return static_cast<int32_t>(sequences.size()); }
  [[nodiscard]] int32_t tokens() const { return offsets.back(); }
};

/// Stands in for the model: draws random queries, keys and values, and holds the output of attention.
struct Activations {
  explicit Activations(int32_t tokens) {
    static std::mt19937 generator{1};
    std::normal_distribution<float> normal;
    q.resize(static_cast<std::size_t>(tokens) * kQoHeads * kHeadDim);
    k.resize(static_cast<std::size_t>(tokens) * kKvHeads * kHeadDim);
    v.resize(k.size());
    out.resize(q.size());
    for (std::vector<float>* const numbers : {&q, &k, &v}) {
      for (float& number : *numbers) number = normal(generator);
    }
  }

  std::vector<float> q, k, v, out;
};

/// Runs one layer of the prompts' forward pass. The engine attends over the prompt with its own kernel; the cache takes
/// the keys and values and keeps those that its rule selects.
void prefill_layer(hashevict::Cache& cache, int32_t layer, const Batch& batch) {
  Activations model{batch.tokens()};
  hashevict::PrefillArgs args;
  args.layer = layer;
  args.batch.row_to_sequence = hashevict::Tensor{batch.sequences.data(), {batch.rows()}};
  args.batch.cu_seqlens = hashevict::Tensor{batch.offsets.data(), {batch.rows() + 1}};
  args.q = hashevict::Tensor{model.q.data(), {batch.tokens(), kQoHeads, kHeadDim}};
  args.k = hashevict::Tensor{model.k.data(), {batch.tokens(), kKvHeads, kHeadDim}};
  args.v = hashevict::Tensor{model.v.data(), {batch.tokens(), kKvHeads, kHeadDim}};
  cache.prefill(args, hashevict::kDefaultStream);
}

/// Runs one layer of a decode step, a token of each running request. `out` receives the output of attention.
void decode_layer(hashevict::Cache& cache, int32_t layer, const Batch& batch) {
  Activations model{batch.tokens()};
  hashevict::DecodeArgs args;
  args.layer = layer;
  args.batch.row_to_sequence = hashevict::Tensor{batch.sequences.data(), {batch.rows()}};
  args.q = hashevict::Tensor{model.q.data(), {batch.tokens(), kQoHeads, kHeadDim}};
  args.k = hashevict::Tensor{model.k.data(), {batch.tokens(), kKvHeads, kHeadDim}};
  args.v = hashevict::Tensor{model.v.data(), {batch.tokens(), kKvHeads, kHeadDim}};
  args.out = hashevict::Tensor{model.out.data(), {batch.tokens(), kQoHeads, kHeadDim}};
  cache.decode(args, hashevict::kDefaultStream);
}

/// The engine's scheduler: assigns sequences to requests.
class Server {
 public:
  explicit Server(std::vector<Request> requests) : requests_{std::move(requests)}, cache_{make_config()} {
    for (int32_t sequence = kSequences; sequence-- > 0;) free_.push_back(sequence);
  }

  /// Admits requests, takes a chunk of each prompt, decodes a token of every other request, and retires those that end.
  void iterate(int32_t iteration) {
    admit(iteration);
    Batch prompts;
    Batch tokens;
    for (Request& request : requests_) {
      if (request.sequence < 0) continue;
      if (request.has_prompt_left()) {
        const int32_t chunk = std::min(kChunk, request.prompt_tokens - request.prefilled);
        prompts.add(request.sequence, chunk);
        request.prefilled += chunk;
      } else {
        tokens.add(request.sequence, 1);
        ++request.generated;
      }
    }
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      if (prompts.rows() > 0) prefill_layer(cache_, layer, prompts);
      if (tokens.rows() > 0) decode_layer(cache_, layer, tokens);
    }
    retire(iteration);
  }

  [[nodiscard]] bool has_work() const {
    return std::any_of(requests_.begin(), requests_.end(), [](const Request& request) { return !request.is_done(); });
  }
  /// Whether every request ended with the expected numbers of tokens and slots.
  [[nodiscard]] bool counts_agree() const { return counts_agree_; }
  [[nodiscard]] int64_t tokens_left() { return cache_.statistics(hashevict::kDefaultStream).tokens_seen; }

 private:
  void admit(int32_t iteration) {
    for (Request& request : requests_) {
      if (free_.empty()) return;
      if (request.sequence >= 0 || request.is_done() || request.arrival > iteration) continue;
      request.sequence = free_.back();
      free_.pop_back();
    }
  }

  void retire(int32_t iteration) {
    for (Request& request : requests_) {
      if (request.sequence < 0 || !request.is_done()) continue;
      report(iteration, request);
      cache_.reset(request.sequence, hashevict::kDefaultStream);
      free_.push_back(request.sequence);
      request.sequence = -1;
    }
  }

  void report(int32_t iteration, const Request& request) {
    const hashevict::Statistics s = cache_.statistics(0, 0, request.sequence, hashevict::kDefaultStream);
    const int32_t seen = request.prompt_tokens + request.answer_tokens;
    counts_agree_ = counts_agree_ && s.tokens_seen == seen && s.slots_used == std::min(seen, kCapacity);
    std::printf("%7d %9d %8d %7d %7d %11lld %17lld\n", request.arrival, iteration, request.sequence,
                request.prompt_tokens, request.answer_tokens, static_cast<long long>(s.slots_used),
                static_cast<long long>(s.evictions));
  }

  std::vector<Request> requests_;
  std::vector<int32_t> free_;  // sequences that no request uses
  hashevict::Cache cache_;
  bool counts_agree_ = true;
};

}  // namespace

int main() {
  const std::vector<Request> requests{{0, 40, 30},  {0, 300, 80}, {0, 128, 20}, {2, 500, 60},
                                      {3, 20, 120}, {10, 90, 50}, {40, 10, 30}, {41, 260, 25}};
  std::printf("arrived  finished sequence  prompt  answer  slots used  evicted per head\n");
  Server server{requests};
  for (int32_t iteration = 0; server.has_work(); ++iteration) server.iterate(iteration);
  return server.counts_agree() && server.tokens_left() == 0 ? 0 : 1;
}
