// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: hashevict_load() refuses or loads any bytes, and the cache stays usable.
#include <hashevict/cache.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace {

hashevict::Config make_config() {
  hashevict::Config config;
  config.placement.backend = hashevict::Backend::cpu;
  config.shape.num_layers = 2;
  config.shape.num_qo_heads = 2;
  config.shape.num_kv_heads = 1;
  config.shape.head_dim = 8;
  config.shape.capacity = 16;
  config.rule.hash_bits = 8;
  config.execution.max_batch_tokens = 1;
  config.execution.num_threads = 1;
  config.rule.centering = hashevict::Centering::fixed;
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
  hashevict::DecodeArgs args;
  args.q = hashevict::Tensor{numbers.data(), {1, 2, 8}};
  args.k = hashevict::Tensor{numbers.data(), {1, 1, 8}};
  args.v = args.k;
  args.out = hashevict::Tensor{out.data(), {1, 2, 8}};
  try {
    cache.decode(args, hashevict::Stream{});
  } catch (const hashevict::Error&) {
    cache.reset(hashevict::Stream{});  // a state that has seen 2^31 - 1 tokens accepts no more
  }
  return 0;
}
