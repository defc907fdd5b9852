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
  config.placement.backend = HASHEVICT_BACKEND_CPU;
  config.shape.num_layers = kLayers;
  config.shape.num_sequences = 2;
  config.shape.num_qo_heads = kQoHeads;
  config.shape.num_kv_heads = kKvHeads;
  config.shape.head_dim = kDim;
  config.shape.capacity = kCapacity;
  config.shape.dtype = HASHEVICT_FLOAT32;
  config.execution.num_threads = 1;
  return config;
}

static hashevict_tensor dense(const void* data, hashevict_dtype dtype, int64_t a, int64_t b, int64_t c) {
  int64_t shape[3];
  shape[0] = a;
  shape[1] = b;
  shape[2] = c;
  return hashevict_tensor_dense(data, dtype, c == 0 ? (b == 0 ? 1 : 2) : 3, shape);
}

static void make_dense_tensors(void) {
  static const float numbers[24] = {0};
  static const int64_t shape[6] = {2, 3, 4, 1, 5, 7};
  const hashevict_tensor three = hashevict_tensor_dense(numbers, HASHEVICT_FLOAT16, 3, shape);
  CHECK(three.data == numbers && three.dtype == HASHEVICT_FLOAT16 && three.rank == 3);
  CHECK(three.shape[0] == 2 && three.shape[1] == 3 && three.shape[2] == 4 && three.shape[3] == 0);
  CHECK(three.stride[0] == 12 && three.stride[1] == 4 && three.stride[2] == 1 && three.stride[3] == 0);
  const hashevict_tensor none = hashevict_tensor_dense(NULL, HASHEVICT_FLOAT32, 0, NULL);
  CHECK(none.data == NULL && none.rank == 0);
  const hashevict_tensor most = hashevict_tensor_dense(numbers, HASHEVICT_INT32, HASHEVICT_MAX_RANK, shape);
  CHECK(most.stride[4] == 1 && most.stride[3] == 5 && most.stride[0] == 60);
  const hashevict_tensor beyond = hashevict_tensor_dense(numbers, HASHEVICT_INT32, 6, shape);
  CHECK(beyond.rank == 6); /* every call refuses it */
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

static hashevict_decode_args next_token(void) {
  hashevict_decode_args args;
  hashevict_decode_args_init(&args);
  fill(g_q, kQoHeads * kDim);
  fill(g_k, kKvHeads * kDim);
  fill(g_v, kKvHeads * kDim);
  args.batch.row_to_sequence = dense(g_second_sequence, HASHEVICT_INT32, 1, 0, 0);
  args.q = dense(g_q, HASHEVICT_FLOAT32, 1, kQoHeads, kDim);
  args.k = dense(g_k, HASHEVICT_FLOAT32, 1, kKvHeads, kDim);
  args.v = dense(g_v, HASHEVICT_FLOAT32, 1, kKvHeads, kDim);
  args.out = dense(g_out, HASHEVICT_FLOAT32, 1, kQoHeads, kDim);
  args.lse = dense(g_lse, HASHEVICT_FLOAT32, 1, kQoHeads, 0);
  args.slots = dense(g_slots, HASHEVICT_INT32, 1, kKvHeads, 0);
  args.victims = dense(g_victims, HASHEVICT_INT32, 1, kKvHeads, 0);
  return args;
}

/* Decodes until tokens have been evicted and inspects the cache. */
static void decode_and_inspect(hashevict_cache* cache) {
  for (int token = 0; token < kTokens; ++token) {
    const hashevict_decode_args args = next_token();
    CHECK_OK(hashevict_decode(cache, &args, error, NULL));
    for (int head = 0; head < kKvHeads; ++head) {
      CHECK(g_slots[head] >= 0 && g_slots[head] < kCapacity);
      CHECK(token < kCapacity ? g_victims[head] == -1 : g_victims[head] >= 4 && g_victims[head] < token - 10);
    }
  }
  hashevict_statistics statistics;
  hashevict_statistics_init(&statistics);
  CHECK_OK(hashevict_get_statistics(cache, 0, 0, 1, &statistics, error, NULL));
  CHECK(statistics.tokens_seen == kTokens && statistics.evictions == kTokens - kCapacity);
  hashevict_view view;
  hashevict_view_init(&view);
  CHECK_OK(hashevict_get_view(cache, 0, 0, &view, error));
  CHECK(((const int32_t*)view.lengths.data)[view.lengths.stride[0]] == kCapacity);
  CHECK(((const int32_t*)view.tokens_seen.data)[view.tokens_seen.stride[0]] == kTokens);
}

/* Runs every operation except decode, on the same token. */
static void call_operations(hashevict_cache* cache) {
  const hashevict_decode_args token = next_token();
  hashevict_prefill_args prefill;
  hashevict_prefill_args_init(&prefill);
  prefill.batch = token.batch;
  prefill.q = token.q;
  prefill.k = token.k;
  prefill.v = token.v;
  prefill.mode = HASHEVICT_PREFILL_REPLAY;
  CHECK_OK(hashevict_prefill(cache, &prefill, error, NULL));
  hashevict_append_args append;
  hashevict_append_args_init(&append);
  append.batch = token.batch;
  append.q = token.q;
  append.k = token.k;
  append.v = token.v;
  CHECK_OK(hashevict_append(cache, &append, error, NULL));
  hashevict_evict_args evict;
  hashevict_evict_args_init(&evict);
  evict.batch = token.batch;
  evict.q = token.q;
  evict.k = token.k;
  evict.slots = token.slots;
  CHECK_OK(hashevict_evict(cache, &evict, error, NULL));
  hashevict_attend_args attend;
  hashevict_attend_args_init(&attend);
  attend.batch = token.batch;
  attend.q = token.q;
  attend.out = token.out;
  attend.softmax.logit_soft_cap = 30.0F;
  CHECK_OK(hashevict_attend(cache, &attend, error, NULL));
}

/* The calls that take no batch. */
static void call_the_rest(hashevict_cache* cache) {
  uint8_t codes[kKvHeads * 2];
  const hashevict_tensor code_tensor = dense(codes, HASHEVICT_UINT8, 1, kKvHeads, 2);
  const hashevict_tensor x = dense(g_k, HASHEVICT_FLOAT32, 1, kKvHeads, kDim);
  CHECK_OK(hashevict_encode(cache, 0, 0, HASHEVICT_ENCODE_KEYS, &x, &code_tensor, error, NULL));
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
  hashevict_config_init(&config);
  CHECK_OK(hashevict_get_config(cache, &config, error));
  CHECK(config.shape.capacity == kCapacity && config.placement.backend == HASHEVICT_BACKEND_CPU);
}

static void divide_the_slots(void) {
  const float quantiles[2 * 2] = {0.0F, 1.0F, 0.0F, 4.0F};
  const hashevict_tensor tensor = dense(quantiles, HASHEVICT_FLOAT32, 1, 2, 2);
  int32_t capacities[2];
  CHECK_OK(hashevict_divide_slots(&tensor, 12, 9, 1, capacities, error));
  CHECK(capacities[0] == 5 && capacities[1] == 7);
}

static void weigh_keys(void) {
  hashevict_config config = small_config();
  config.rule.policy = HASHEVICT_POLICY_IMPORTANCE;
  config.rule.importance_source = HASHEVICT_IMPORTANCE_SOURCE_KEY;
  hashevict_cache* cache = NULL;
  CHECK_OK(hashevict_cache_create(&config, NULL, &cache, error));
  const float numbers[kKvHeads * kDim] = {0.5F};
  const hashevict_tensor weight = dense(numbers, HASHEVICT_FLOAT32, kKvHeads, kDim, 0);
  const hashevict_tensor bias = dense(numbers, HASHEVICT_FLOAT32, kKvHeads, 0, 0);
  CHECK_OK(hashevict_set_importance_weights(cache, 0, &weight, &bias, error));
  hashevict_cache_destroy(cache);
}

static void refuse_unknown_enumerators(hashevict_cache* cache) {
  static const int kUnknown[] = {-1, 4, 7, 1000, -2147483647 - 1};
  for (size_t i = 0; i < sizeof kUnknown / sizeof *kUnknown; ++i) {
    const int unknown = kUnknown[i];
    char value[32];
    snprintf(value, sizeof value, "= %d", unknown);
    hashevict_error error;
    hashevict_config config = small_config();
    const hashevict_rule rule = config.rule;
    CHECK(hashevict_rule_preset(&config.rule, (hashevict_preset)unknown, &error) == HASHEVICT_INVALID_ARGUMENT);
    CHECK(memcmp(&rule, &config.rule, sizeof rule) == 0);
    CHECK(strstr(error.message, "preset") != NULL && strstr(error.message, value) != NULL);
    hashevict_capabilities capabilities;
    hashevict_capabilities_init(&capabilities);
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

/* Plays a language whose header has another config. */
static void init_a_config_of_another_size(void) {
  struct {
    hashevict_config config;
    uint64_t newer;
  } all;
  memset(&all, 0xA5, sizeof all);
  CHECK_OK(hashevict_config_init_sized(&all.config, sizeof all.config + 8, error));
  CHECK(all.newer == 0);
  CHECK(all.config.struct_size == sizeof all.config + 8 && all.config.placement.page_size == 16);
  CHECK(hashevict_config_init_sized(&all.config, 16, NULL) == HASHEVICT_INVALID_ARGUMENT);
}

/* Sets a different rule in each layer: 16 bits, 64 bits, and a window. */
static void give_each_layer_its_rule(void) {
  hashevict_config config = small_config();
  hashevict_rule rules[3];
  for (int layer = 0; layer < 3; ++layer) CHECK_OK(hashevict_rule_preset(&rules[layer], HASHEVICT_PRESET_PAPER, error));
  rules[1].hash_bits = 64;
  rules[2].policy = HASHEVICT_POLICY_WINDOW;
  config.shape.num_layers = 3;
  config.layer_rules = rules;
  hashevict_cache* cache = NULL;
  CHECK_OK(hashevict_cache_create(&config, NULL, &cache, error));
  rules[1].hash_bits = 3; /* the array was copied */
  for (int layer = 0; layer < 3; ++layer) {
    hashevict_view view;
    hashevict_view_init(&view);
    CHECK_OK(hashevict_get_view(cache, layer, 0, &view, error));
    CHECK(view.codes.shape[2] == (layer == 1 ? 8 : 2));
  }
  hashevict_config_init(&config);
  CHECK_OK(hashevict_get_config(cache, &config, error));
  CHECK(config.layer_rules != rules && config.layer_rules[1].hash_bits == 64);
  CHECK(config.layer_rules[2].policy == HASHEVICT_POLICY_WINDOW);
  hashevict_cache_destroy(cache);
}

int main(void) {
  const hashevict_config config = small_config();
  hashevict_bytes bytes;
  hashevict_bytes_init(&bytes);
  CHECK_OK(hashevict_required_bytes(&config, &bytes, error));
  CHECK(bytes.total == bytes.keys + bytes.values + bytes.state + bytes.workspace);
  hashevict_memory memory;
  hashevict_memory_init(&memory);
  hashevict_cache* cache = NULL;
  CHECK_OK(hashevict_cache_create(&config, &memory, &cache, error));
  make_dense_tensors();
  decode_and_inspect(cache);
  call_operations(cache);
  call_the_rest(cache);
  divide_the_slots();
  weigh_keys();
  refuse_unknown_enumerators(cache);
  init_a_config_of_another_size();
  give_each_layer_its_rule();
  hashevict_cache_destroy(cache);
  hashevict_cache_destroy(NULL);

  hashevict_config bad = config;
  bad.shape.head_dim = 7;
  hashevict_error error;
  CHECK(hashevict_cache_create(&bad, NULL, &cache, &error) == HASHEVICT_INVALID_ARGUMENT);
  CHECK(cache == NULL && strstr(error.message, "head_dim = 7") != NULL);
  CHECK(hashevict_cache_create(&bad, NULL, &cache, NULL) == HASHEVICT_INVALID_ARGUMENT);
  puts("every call works from C");
  return 0;
}
