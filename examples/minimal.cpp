// SPDX-License-Identifier: Apache-2.0
// The smallest use: one layer, one sequence, more tokens than the cache holds.
#include <hashevict/cache.hpp>

#include <iostream>
#include <random>
#include <vector>

namespace {

/// Stands in for a model: draws the queries, keys and values of the next token.
void next_token(std::vector<float>& q, std::vector<float>& k, std::vector<float>& v) {
  static std::mt19937 generator{1};
  std::normal_distribution<float> normal;
  for (std::vector<float>* const numbers : {&q, &k, &v}) {
    for (float& number : *numbers) number = normal(generator);
  }
}

}  // namespace

int main() {
  hashevict::Config config;  // the paper's rule: 16 bits, 4 sinks, the last 10 tokens stay
  config.shape.num_layers = 1;
  config.shape.num_qo_heads = 8;
  config.shape.num_kv_heads = 2;
  config.shape.head_dim = 64;
  config.shape.capacity = 128;
  config.placement.backend = hashevict::Backend::cpu;  // the vectors below are host memory
  hashevict::Cache cache{config};                      // allocates; nothing after it does

  std::vector<float> q(8 * 64), k(2 * 64), v(2 * 64), out(8 * 64);
  hashevict::DecodeArgs args;
  args.q = hashevict::Tensor{q.data(), {1, 8, 64}};
  args.k = hashevict::Tensor{k.data(), {1, 2, 64}};
  args.v = hashevict::Tensor{v.data(), {1, 2, 64}};
  args.out = hashevict::Tensor{out.data(), {1, 8, 64}};
  for (int token = 0; token < 1000; ++token) {
    next_token(q, k, v);
    cache.decode(args, hashevict::kDefaultStream);  // evicts if full, stores k and v, attends; writes `out`
  }

  const hashevict::Statistics statistics = cache.statistics(0, 0, 0, hashevict::kDefaultStream);
  std::cout << "each KV head has seen " << statistics.tokens_seen << " tokens, holding " << statistics.slots_used
            << ", evicted " << statistics.evictions << "; " << statistics.kv_bytes / 1024
            << " KiB of keys and values instead of " << statistics.kv_bytes_full / 1024 << " KiB\n";
  return statistics.evictions == 1000 - 128 ? 0 : 1;
}
