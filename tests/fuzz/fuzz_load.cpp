// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes given to hashevict_load() are refused or loaded, and the cache goes on working.
#include <hashevict/cache.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace {

hashevict::Config make_config() {
  hashevict::Config config;
  config.backend = hashevict::Backend::cpu;
  config.num_layers = 2;
  config.num_qo_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 8;
  config.capacity = 16;
  config.hash_bits = 8;
  config.max_batch_tokens = 1;
  config.num_threads = 1;
  config.centering = hashevict::Centering::fixed;
  return config;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static hashevict::Cache cache{make_config()};
  if (size == 0) return 0;
  hashevict_error error;
  const hashevict_status status = hashevict_load(cache.handle(), 0, data, size, &error, nullptr);
  if (status != HASHEVICT_OK && status != HASHEVICT_INVALID_DATA) std::abort();
  const std::vector<float> numbers(2 * 8, 0.5F);
  std::vector<float> out(2 * 8);
  hashevict::Step step;
  step.q = hashevict::Tensor{numbers.data(), {1, 2, 8}};
  step.k = hashevict::Tensor{numbers.data(), {1, 1, 8}};
  step.v = step.k;
  step.out = hashevict::Tensor{out.data(), {1, 2, 8}};
  try {
    cache.decode(step, hashevict::Stream{});
  } catch (const hashevict::Error&) {
    cache.reset(hashevict::Stream{});  // a state that has seen 2^31 - 1 tokens takes no more
  }
  return 0;
}
