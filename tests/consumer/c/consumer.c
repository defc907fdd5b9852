/* SPDX-License-Identifier: Apache-2.0 */
/* Decodes more tokens than the cache holds and checks that the surplus was evicted. */
#include <hashevict/hashevict.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { kCapacity = 32, kTokens = 100, kQoHeads = 4, kKvHeads = 2, kDim = 64 };

static hashevict_tensor dense(float* data, int64_t heads) {
  hashevict_tensor tensor;
  memset(&tensor, 0, sizeof tensor);
  tensor.data = data;
  tensor.dtype = HASHEVICT_FLOAT32;
  tensor.rank = 3;
  tensor.shape[0] = 1;
  tensor.shape[1] = heads;
  tensor.shape[2] = kDim;
  tensor.stride[0] = heads * kDim;
  tensor.stride[1] = kDim;
  tensor.stride[2] = 1;
  return tensor;
}

static void fill(float* numbers, int count, uint32_t* random) {
  for (int i = 0; i < count; ++i) {
    *random = *random * 1664525U + 1013904223U;
    numbers[i] = (float)(*random >> 8) / 8388608.0F - 1.0F;
  }
}

static hashevict_status decode(hashevict_cache* cache, hashevict_error* error) {
  static float q[kQoHeads * kDim], k[kKvHeads * kDim], v[kKvHeads * kDim], out[kQoHeads * kDim];
  uint32_t random = 1;
  for (int token = 0; token < kTokens; ++token) {
    fill(q, kQoHeads * kDim, &random);
    fill(k, kKvHeads * kDim, &random);
    fill(v, kKvHeads * kDim, &random);
    hashevict_step step;
    hashevict_step_init(&step);
    step.q = dense(q, kQoHeads);
    step.k = dense(k, kKvHeads);
    step.v = dense(v, kKvHeads);
    step.out = dense(out, kQoHeads);
    const hashevict_status status = hashevict_decode(cache, &step, error, NULL);
    if (status != HASHEVICT_OK) return status;
  }
  return HASHEVICT_OK;
}

int main(void) {
  hashevict_config config;
  hashevict_config_init(&config);
  config.num_layers = 1;
  config.num_qo_heads = kQoHeads;
  config.num_kv_heads = kKvHeads;
  config.head_dim = kDim;
  config.capacity = kCapacity;
  config.backend = HASHEVICT_BACKEND_CPU;

  hashevict_error error;
  hashevict_cache* cache = NULL;
  hashevict_statistics statistics;
  statistics.struct_size = sizeof statistics;
  hashevict_status status = hashevict_cache_create(&config, NULL, &cache, &error);
  if (status == HASHEVICT_OK) status = decode(cache, &error);
  if (status == HASHEVICT_OK) status = hashevict_get_statistics(cache, -1, -1, &statistics, &error, NULL);
  hashevict_cache_destroy(cache);
  if (status != HASHEVICT_OK) {
    fprintf(stderr, "%s: %s\n", hashevict_status_name(status), error.message);
    return 1;
  }
  printf("%lld of %d tokens held, %lld evicted\n", (long long)statistics.slots_used, kTokens,
         (long long)statistics.evictions);
  return statistics.slots_used == kCapacity && statistics.evictions == kTokens - kCapacity ? 0 : 1;
}
