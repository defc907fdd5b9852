// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <string>
#include <thread>

#include "core/failure.hpp"
#include "core/validate.hpp"
#include "core/versioned.hpp"

namespace hashevict::core {
namespace {

// Sizes whose products stay within 64 bits; real caches are far below.
constexpr int32_t kMaxLayers = 1 << 16;
constexpr int32_t kMaxSequences = 1 << 24;
constexpr int32_t kMaxHeads = 1 << 14;
constexpr int32_t kMaxCapacity = 1 << 28;
constexpr int32_t kMaxGroupSize = 256;  // distances of a group stay within 16 bits at 128 bits of code
constexpr int32_t kMaxHeadDim = 256;
// A batch and the slots that it meets, rounded up to whole vectors and blocks, are counted in 32 bits.
constexpr int64_t kMaxBatchTokens = int64_t{1} << 30;
static_assert(round_up(kMaxBatchTokens + kMaxCapacity, 1 << 20) <= INT32_MAX);
constexpr int64_t kDefaultBatchTokens = 8192;
constexpr int32_t kMaxThreads = 1024;
constexpr int64_t kPadding = 64;  // slots: whole vectors of any SIMD target, for every code width

void in_range(const char* name, int64_t value, int64_t low, int64_t high) {
  require(value >= low && value <= high, "config.{} = {}: expected {} to {}", name, value, low, high);
}

void check_shape(const hashevict_config& c) {
  in_range("num_layers", c.num_layers, 1, kMaxLayers);
  in_range("num_sequences", c.num_sequences, 1, kMaxSequences);
  in_range("num_kv_heads", c.num_kv_heads, 1, kMaxHeads);
  in_range("num_qo_heads", c.num_qo_heads, 1, int64_t{kMaxHeads} * kMaxGroupSize);
  require(c.num_qo_heads % c.num_kv_heads == 0, "config.num_qo_heads = {}: expected a multiple of num_kv_heads = {}",
          c.num_qo_heads, c.num_kv_heads);
  require(c.num_qo_heads / c.num_kv_heads <= kMaxGroupSize,
          "config.num_qo_heads = {}: expected at most {} query heads per KV head, of which there are {}",
          c.num_qo_heads, kMaxGroupSize, c.num_kv_heads);
  require(c.head_dim >= 8 && c.head_dim <= kMaxHeadDim && c.head_dim % 8 == 0,
          "config.head_dim = {}: expected a multiple of 8 from 8 to {}", c.head_dim, kMaxHeadDim);
  in_range("kv_head_offset", c.kv_head_offset, 0, kMaxHeads);
  require(c.dtype == HASHEVICT_FLOAT32 || c.dtype == HASHEVICT_FLOAT16 || c.dtype == HASHEVICT_BFLOAT16,
          "config.dtype = {}: expected FLOAT32 (0), FLOAT16 (1) or BFLOAT16 (2)", c.dtype);
}

void check_rule(const hashevict_config& c) {
  in_range("policy", c.policy, HASHEVICT_POLICY_HASH, HASHEVICT_POLICY_SUPERSEDED);
  in_range("hash_source", c.hash_source, HASHEVICT_HASH_SOURCE_QUERY, HASHEVICT_HASH_SOURCE_KEY);
  in_range("tie", c.tie, HASHEVICT_TIE_OLDEST, HASHEVICT_TIE_LOWEST_SLOT);
  in_range("centering", c.centering, HASHEVICT_CENTERING_NONE, HASHEVICT_CENTERING_FIXED);
  in_range("projection_kind", c.projection_kind, HASHEVICT_PROJECTION_GAUSSIAN, HASHEVICT_PROJECTION_ORTHOGONAL);
  const int32_t bits = c.hash_bits;
  require(bits == 8 || bits == 16 || bits == 32 || bits == 64 || bits == 128,
          "config.hash_bits = {}: expected 8, 16, 32, 64 or 128", bits);
  in_range("score_decay_shift", c.score_decay_shift, 0, 8);
  require(c.score_decay_shift == 0 || c.policy == HASHEVICT_POLICY_HASH,
          "config.score_decay_shift = {}: expected 0 for every policy but HASH", c.score_decay_shift);
}

void check_placement(const hashevict_config& c) {
  in_range("backend", c.backend, HASHEVICT_BACKEND_AUTO, HASHEVICT_BACKEND_CUDA);
  require(c.device >= 0, "config.device = {}: expected a device ordinal, 0 or more", c.device);
  in_range("layout", c.layout, HASHEVICT_LAYOUT_HEAD_MAJOR, HASHEVICT_LAYOUT_PAGED);
  if (c.layout == HASHEVICT_LAYOUT_PAGED) in_range("page_size", c.page_size, 1, kMaxCapacity);
  in_range("max_batch_tokens", c.max_batch_tokens, 0, kMaxBatchTokens);
  require(c.max_batch_tokens == 0 || c.max_batch_tokens >= c.num_sequences,
          "config.max_batch_tokens = {}: expected 0 or at least num_sequences = {}", c.max_batch_tokens,
          c.num_sequences);
  in_range("num_threads", c.num_threads, 0, kMaxThreads);
}

/// Resolves a count that may be given as a fraction of the capacity. Their product is rounded to fp32 before it is
/// rounded down, so that 0.9F of 10, which lies a little below 9, is 9 as written; exact in double, it is rounded once.
int32_t resolve(const char* name, int32_t count, float fraction, int32_t capacity) {
  require(!std::isnan(fraction) && fraction <= 1.0F,
          "config.{}_fraction = {}: expected a fraction up to 1, or a negative number to leave it unused", name,
          fraction);
  if (fraction < 0.0F) return count;
  return static_cast<int32_t>(std::floor(static_cast<float>(static_cast<double>(fraction) * capacity)));
}

LayerSettings resolve_layer(const hashevict_config& c, int32_t capacity, const std::string& name) {
  require(capacity >= 1 && capacity <= kMaxCapacity, "config.{} = {}: expected 1 to {}", name, capacity, kMaxCapacity);
  LayerSettings layer{};
  layer.capacity = capacity;
  layer.padded_capacity = static_cast<int32_t>(round_up(capacity, kPadding));
  layer.num_sink_tokens = resolve("sink", c.num_sink_tokens, c.sink_fraction, capacity);
  layer.recent_window = resolve("recent", c.recent_window, c.recent_fraction, capacity);
  require(int64_t{layer.num_sink_tokens} + layer.recent_window + 1 <= capacity,
          "config.{} = {}: expected at least sinks + recent window + 1 = {} + {} + 1, so that a victim always exists",
          name, capacity, layer.num_sink_tokens, layer.recent_window);
  return layer;
}

void resolve_layers(Settings& settings, const hashevict_config& c) {
  if (c.sink_fraction < 0.0F) in_range("num_sink_tokens", c.num_sink_tokens, 0, kMaxCapacity);
  if (c.recent_fraction < 0.0F) in_range("recent_window", c.recent_window, 0, kMaxCapacity);
  if (c.layer_capacities != nullptr) {
    settings.layer_capacities.assign(c.layer_capacities, c.layer_capacities + c.num_layers);
    settings.config.layer_capacities = settings.layer_capacities.data();
  }
  for (int32_t i = 0; i < c.num_layers; ++i) {
    const bool own = c.layer_capacities != nullptr;
    settings.layers.push_back(resolve_layer(c, own ? c.layer_capacities[i] : c.capacity,
                                            own ? "layer_capacities[" + std::to_string(i) + "]" : "capacity"));
  }
}

int32_t resolve_workers(const hashevict_config& c) {
  if (c.num_threads > 0) return c.num_threads;
  return std::clamp(static_cast<int32_t>(std::thread::hardware_concurrency()), 1, kMaxThreads);
}

}  // namespace

Settings validate_config(const hashevict_config* given) {
  const hashevict_config c = read_versioned(given, "config");
  check_placement(c);
  check_shape(c);
  check_rule(c);
  Settings settings{};
  settings.config = c;
  settings.config.struct_size = sizeof(hashevict_config);
  resolve_layers(settings, c);
  settings.group_size = c.num_qo_heads / c.num_kv_heads;
  settings.code_bytes = c.hash_bits / 8;
  settings.num_projections = c.projection_per_head != 0 ? c.num_kv_heads : 1;
  settings.dtype = static_cast<DType>(c.dtype);
  settings.max_batch_tokens =
      c.max_batch_tokens > 0 ? c.max_batch_tokens : std::max<int64_t>(c.num_sequences, kDefaultBatchTokens);
  settings.num_workers = resolve_workers(c);
  return settings;
}

void validate_layer(const Settings& settings, int32_t layer) {
  require(layer >= 0 && layer < settings.config.num_layers, "layer = {}: expected 0 to {}", layer,
          settings.config.num_layers - 1);
}

void validate_sequence(const Settings& settings, int32_t sequence, const char* name) {
  require(sequence >= 0 && sequence < settings.config.num_sequences, "{} = {}: expected 0 to {}", name, sequence,
          settings.config.num_sequences - 1);
}

}  // namespace hashevict::core
