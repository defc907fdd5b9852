/* SPDX-License-Identifier: Apache-2.0 */
/* Decodes more tokens than the cache holds, checks that the surplus was evicted, and prints a hash of all codes: they
 * are the same whatever the library was compiled with. */
#include <hashevict/hashevict.h>
#include <stdint.h>
#include <stdio.h>

enum { kCapacity = 32, kTokens = 100, kQoHeads = 4, kKvHeads = 2, kDim = 64 };

static hashevict_tensor dense(float* data, int64_t heads) {
  const int64_t shape[3] = {1, heads, kDim};
  return hashevict_tensor_dense(data, HASHEVICT_FLOAT32, 3, shape);
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
    hashevict_decode_args args;
    hashevict_decode_args_init(&args);
    args.q = dense(q, kQoHeads);
    args.k = dense(k, kKvHeads);
    args.v = dense(v, kKvHeads);
    args.out = dense(out, kQoHeads);
    const hashevict_status status = hashevict_decode(cache, &args, error, NULL);
    if (status != HASHEVICT_OK) return status;
  }
  return HASHEVICT_OK;
}

/* FNV-1a over the codes of the first layer, or 0 with a message in `error`. */
static uint64_t hash_codes(const hashevict_cache* cache, hashevict_error* error) {
  hashevict_view view;
  hashevict_view_init(&view);
  if (hashevict_get_view(cache, 0, 0, &view, error) != HASHEVICT_OK) return 0;
  const int64_t bytes = view.codes.stride[0]; /* of all heads: those of a sequence lie side by side */
  const unsigned char* code = (const unsigned char*)view.codes.data;
  uint64_t hash = 14695981039346656037U;
  for (int64_t i = 0; i < bytes; ++i) hash = (hash ^ code[i]) * 1099511628211U;
  return hash;
}

int main(void) {
  hashevict_config config;
  hashevict_config_init(&config);
  config.shape.num_layers = 1;
  config.shape.num_qo_heads = kQoHeads;
  config.shape.num_kv_heads = kKvHeads;
  config.shape.head_dim = kDim;
  config.shape.capacity = kCapacity;
  config.placement.backend = HASHEVICT_BACKEND_CPU;

  hashevict_error error;
  hashevict_cache* cache = NULL;
  hashevict_statistics statistics;
  hashevict_statistics_init(&statistics);
  hashevict_status status = hashevict_cache_create(&config, NULL, &cache, &error);
  if (status == HASHEVICT_OK) status = decode(cache, &error);
  if (status == HASHEVICT_OK) status = hashevict_get_statistics(cache, -1, -1, -1, &statistics, &error, NULL);
  const uint64_t hash = status == HASHEVICT_OK ? hash_codes(cache, &error) : 0;
  hashevict_cache_destroy(cache);
  if (status != HASHEVICT_OK) {
    fprintf(stderr, "%s: %s\n", hashevict_status_name(status), error.message);
    return 1;
  }
  const long long held = statistics.slots_used / kKvHeads; /* of each head */
  const long long evicted = statistics.evictions / kKvHeads;
  printf("%lld of %d tokens held, %lld evicted, codes %016llx\n", held, kTokens, evicted, (unsigned long long)hash);
  return held == kCapacity && evicted == kTokens - kCapacity ? 0 : 1;
}
