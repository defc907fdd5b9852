/* SPDX-License-Identifier: Apache-2.0 */
/* The header and the library from plain C99: everything is reachable, and enumerators that do not exist (which C, but
 * not C++, can pass) are refused. Exits non-zero at the first thing that is wrong. */
#include <hashevict/hashevict.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                  \
    }                                                                           \
  } while (0)

#define CHECK_OK(call)                                                                                        \
  do {                                                                                                        \
    hashevict_error failure;                                                                                  \
    hashevict_error* const error = &failure;                                                                  \
    const hashevict_status status = (call);                                                                   \
    if (status != HASHEVICT_OK) {                                                                             \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, hashevict_status_name(status), failure.message); \
      exit(1);                                                                                                \
    }                                                                                                         \
  } while (0)

enum { kLayers = 1, kQoHeads = 4, kKvHeads = 2, kDim = 32, kCapacity = 16, kTokens = 40 };

static hashevict_config small_config(void) {
  hashevict_config config;
  hashevict_config_init(&config);
  config.backend = HASHEVICT_BACKEND_CPU;
  config.num_layers = kLayers;
  config.num_sequences = 2;
  config.num_qo_heads = kQoHeads;
  config.num_kv_heads = kKvHeads;
  config.head_dim = kDim;
  config.capacity = kCapacity;
  config.dtype = HASHEVICT_FLOAT32;
  config.num_threads = 1;
  return config;
}

static hashevict_tensor dense(void* data, int32_t dtype, int64_t a, int64_t b, int64_t c) {
  hashevict_tensor tensor;
  memset(&tensor, 0, sizeof tensor);
  tensor.data = data;
  tensor.dtype = dtype;
  tensor.rank = c == 0 ? (b == 0 ? 1 : 2) : 3;
  tensor.shape[0] = a;
  tensor.shape[1] = b;
  tensor.shape[2] = c;
  tensor.stride[0] = c == 0 ? (b == 0 ? 1 : b) : b * c;
  tensor.stride[1] = c == 0 ? 1 : c;
  tensor.stride[2] = 1;
  return tensor;
}

static uint32_t g_random = 12345;

static void fill(float* numbers, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    g_random = g_random * 1664525U + 1013904223U;
    numbers[i] = (float)(g_random >> 8) / 8388608.0F - 1.0F;
  }
}

static float g_q[kQoHeads * kDim], g_k[kKvHeads * kDim], g_v[kKvHeads * kDim], g_out[kQoHeads * kDim];
static float g_lse[kQoHeads];
static int32_t g_slots[kKvHeads], g_victims[kKvHeads];
static const int32_t g_second_sequence[1] = {1};

static hashevict_step next_step(void) {
  hashevict_step step;
  hashevict_step_init(&step);
  fill(g_q, kQoHeads * kDim);
  fill(g_k, kKvHeads * kDim);
  fill(g_v, kKvHeads * kDim);
  step.batch.row_to_sequence = dense((void*)g_second_sequence, HASHEVICT_INT32, 1, 0, 0);
  step.q = dense(g_q, HASHEVICT_FLOAT32, 1, kQoHeads, kDim);
  step.k = dense(g_k, HASHEVICT_FLOAT32, 1, kKvHeads, kDim);
  step.v = dense(g_v, HASHEVICT_FLOAT32, 1, kKvHeads, kDim);
  step.out = dense(g_out, HASHEVICT_FLOAT32, 1, kQoHeads, kDim);
  step.lse = dense(g_lse, HASHEVICT_FLOAT32, 1, kQoHeads, 0);
  step.slots = dense(g_slots, HASHEVICT_INT32, 1, kKvHeads, 0);
  step.victims = dense(g_victims, HASHEVICT_INT32, 1, kKvHeads, 0);
  return step;
}

/* Decodes until tokens have been evicted, and looks at what the cache says of it. */
static void decode_and_inspect(hashevict_cache* cache) {
  for (int token = 0; token < kTokens; ++token) {
    const hashevict_step step = next_step();
    CHECK_OK(hashevict_decode(cache, &step, error, NULL));
    for (int head = 0; head < kKvHeads; ++head) {
      CHECK(g_slots[head] >= 0 && g_slots[head] < kCapacity);
      CHECK(token < kCapacity ? g_victims[head] == -1 : g_victims[head] >= 4 && g_victims[head] < token - 10);
    }
  }
  hashevict_statistics statistics;
  statistics.struct_size = sizeof statistics;
  CHECK_OK(hashevict_get_statistics(cache, 0, 1, &statistics, error, NULL));
  CHECK(statistics.tokens_seen == kTokens && statistics.evictions == kTokens - kCapacity);
  hashevict_view view;
  view.struct_size = sizeof view;
  CHECK_OK(hashevict_get_view(cache, 0, &view, error));
  CHECK(((const int32_t*)view.lengths.data)[1] == kCapacity);
  CHECK(((const int32_t*)view.tokens_seen.data)[1] == kTokens);
}

/* The calls that decode_and_inspect() leaves out. */
static void call_the_rest(hashevict_cache* cache) {
  hashevict_step step = next_step();
  CHECK_OK(hashevict_prefill(cache, &step, error, NULL));
  CHECK_OK(hashevict_append(cache, &step, error, NULL));
  CHECK_OK(hashevict_evict(cache, &step, error, NULL));
  CHECK_OK(hashevict_attend(cache, &step, error, NULL));
  uint8_t codes[kKvHeads * 2];
  const hashevict_tensor code_tensor = dense(codes, HASHEVICT_UINT8, 1, kKvHeads, 2);
  CHECK_OK(hashevict_encode(cache, 0, 0, HASHEVICT_ENCODE_KEYS, &step.k, &code_tensor, error, NULL));
  CHECK_OK(hashevict_fork(cache, 1, 0, error, NULL));

  uint64_t bytes = 0;
  uint64_t written = 0;
  CHECK_OK(hashevict_save_bytes(cache, &bytes, error));
  void* const saved = malloc((size_t)bytes);
  CHECK(saved != NULL);
  CHECK_OK(hashevict_save(cache, 1, saved, bytes, &written, error, NULL));
  CHECK(written > 0 && written <= bytes);
  CHECK_OK(hashevict_load(cache, 0, saved, written, error, NULL));
  free(saved);

  CHECK_OK(hashevict_reset(cache, -1, error, NULL));
  float projection[16 * kDim];
  const hashevict_tensor projection_tensor = dense(projection, HASHEVICT_FLOAT32, 16, kDim, 0);
  CHECK_OK(hashevict_get_projection(cache, 0, &projection_tensor, error));
  CHECK_OK(hashevict_set_projection(cache, 0, &projection_tensor, error));
  hashevict_config config;
  config.struct_size = sizeof config;
  CHECK_OK(hashevict_get_config(cache, &config, error));
  CHECK(config.capacity == kCapacity && config.backend == HASHEVICT_BACKEND_CPU);
}

static void refuse_unknown_enumerators(hashevict_cache* cache) {
  static const int kUnknown[] = {-1, 4, 7, 1000, -2147483647 - 1};
  for (size_t i = 0; i < sizeof kUnknown / sizeof *kUnknown; ++i) {
    const int unknown = kUnknown[i];
    char value[32];
    snprintf(value, sizeof value, "= %d", unknown);
    hashevict_error error;
    hashevict_config config = small_config();
    CHECK(hashevict_config_apply_preset(&config, (hashevict_preset)unknown, &error) == HASHEVICT_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "preset") != NULL && strstr(error.message, value) != NULL);
    hashevict_capabilities capabilities;
    capabilities.struct_size = sizeof capabilities;
    CHECK(hashevict_get_capabilities((hashevict_backend)unknown, &capabilities, &error) == HASHEVICT_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "backend") != NULL && strstr(error.message, value) != NULL);
    uint8_t codes[kKvHeads * 2];
    const hashevict_tensor code_tensor = dense(codes, HASHEVICT_UINT8, 1, kKvHeads, 2);
    const hashevict_tensor x = dense(g_k, HASHEVICT_FLOAT32, 1, kKvHeads, kDim);
    CHECK(hashevict_encode(cache, 0, 0, (hashevict_encode_as)unknown, &x, &code_tensor, &error, NULL) ==
          HASHEVICT_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "as = ") != NULL && strstr(error.message, value) != NULL);
    if (unknown != 4 && unknown != 7) {
      CHECK(strlen(hashevict_status_name((hashevict_status)unknown)) > 0);
    }
  }
  CHECK(strcmp(hashevict_status_name(HASHEVICT_INVALID_DATA), "invalid_data") == 0);
}

/* As a language would that knows the structs by another header. */
static void init_structs_of_another_size(void) {
  struct {
    hashevict_config config;
    uint64_t newer_config;
    hashevict_memory memory;
    uint64_t newer_memory;
    hashevict_step step;
    uint64_t newer_step;
  } all;
  memset(&all, 0xA5, sizeof all);
  CHECK_OK(hashevict_config_init_sized(&all.config, sizeof all.config + 8, error));
  CHECK_OK(hashevict_memory_init_sized(&all.memory, sizeof all.memory + 8, error));
  CHECK_OK(hashevict_step_init_sized(&all.step, sizeof all.step + 8, error));
  CHECK(all.newer_config == 0 && all.newer_memory == 0 && all.newer_step == 0);
  CHECK(all.config.struct_size == sizeof all.config + 8 && all.config.page_size == 16);
  CHECK(hashevict_step_init_sized(&all.step, 16, NULL) == HASHEVICT_INVALID_ARGUMENT);
}

int main(void) {
  const hashevict_config config = small_config();
  hashevict_bytes bytes;
  bytes.struct_size = sizeof bytes;
  CHECK_OK(hashevict_required_bytes(&config, &bytes, error));
  CHECK(bytes.total == bytes.keys + bytes.values + bytes.state + bytes.workspace);
  hashevict_memory memory;
  hashevict_memory_init(&memory);
  hashevict_cache* cache = NULL;
  CHECK_OK(hashevict_cache_create(&config, &memory, &cache, error));
  decode_and_inspect(cache);
  call_the_rest(cache);
  refuse_unknown_enumerators(cache);
  init_structs_of_another_size();
  hashevict_cache_destroy(cache);
  hashevict_cache_destroy(NULL);

  hashevict_config bad = config;
  bad.head_dim = 7;
  hashevict_error error;
  CHECK(hashevict_cache_create(&bad, NULL, &cache, &error) == HASHEVICT_INVALID_ARGUMENT);
  CHECK(cache == NULL && strstr(error.message, "head_dim = 7") != NULL);
  CHECK(hashevict_cache_create(&bad, NULL, &cache, NULL) == HASHEVICT_INVALID_ARGUMENT);
  puts("every call works from C");
  return 0;
}
