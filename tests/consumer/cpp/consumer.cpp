// SPDX-License-Identifier: Apache-2.0
// Decodes more tokens than the cache holds and checks that the surplus was evicted.
#include <hashevict/cache.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

namespace {

constexpr int32_t kCapacity = 32;
constexpr int32_t kTokens = 100;
constexpr int32_t kQoHeads = 4;
constexpr int32_t kKvHeads = 2;
constexpr int32_t kDim = 64;

bool run() {
  hashevict::Config config;
  config.shape.num_layers = 1;
  config.shape.num_qo_heads = kQoHeads;
  config.shape.num_kv_heads = kKvHeads;
  config.shape.head_dim = kDim;
  config.shape.capacity = kCapacity;
  config.placement.backend = hashevict::Backend::cpu;
  hashevict::Cache cache{config};

  std::mt19937 generator{1};
  std::normal_distribution<float> normal;
  std::vector<float> q(kQoHeads * kDim);
  std::vector<float> k(kKvHeads * kDim);
  std::vector<float> v(kKvHeads * kDim);
  std::vector<float> out(kQoHeads * kDim);
  for (int32_t token = 0; token < kTokens; ++token) {
    for (auto* const numbers : {&q, &k, &v}) {
      for (float& number : *numbers) number = normal(generator);
    }
    hashevict::DecodeArgs args;
    args.q = hashevict::Tensor{q.data(), {1, kQoHeads, kDim}};
    args.k = hashevict::Tensor{k.data(), {1, kKvHeads, kDim}};
    args.v = hashevict::Tensor{v.data(), {1, kKvHeads, kDim}};
    args.out = hashevict::Tensor{out.data(), {1, kQoHeads, kDim}};
    cache.decode(args, hashevict::Stream{});
  }
  const hashevict::Statistics statistics = cache.statistics(hashevict::Stream{});
  std::printf("%lld of %d tokens held, %lld evicted, summed over the heads\n",
              static_cast<long long>(statistics.slots_used), kKvHeads * kTokens,
              static_cast<long long>(statistics.evictions));
  return statistics.tokens_seen == kKvHeads * kTokens && statistics.slots_used == kKvHeads * kCapacity &&
         statistics.evictions == kKvHeads * (kTokens - kCapacity);
}

/// The library's exceptions are caught by their type, also if the library is shared.
bool errors_are_caught() {
  try {
    const hashevict::Cache cache{hashevict::Config{}};
  } catch (const hashevict::Error& error) {
    return error.status() == hashevict::Status::invalid_argument;
  }
  return false;
}

}  // namespace

int main() {
  try {
    return run() && errors_are_caught() ? EXIT_SUCCESS : EXIT_FAILURE;
  } catch (const hashevict::Error& error) {
    std::fprintf(stderr, "%s: %s\n", hashevict::status_name(error.status()), error.what());
    return EXIT_FAILURE;
  }
}
