// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/bounds.hpp"
#include "core/failure.hpp"
#include "core/machine.hpp"
#include "core/validate.hpp"
#include "core/validate_rule.hpp"
#include "core/versioned.hpp"

namespace hashevict::core {
namespace {

// Products of these sizes stay within 64 bits; real caches are far below.
constexpr int32_t kMaxLayers = 1 << 16;
constexpr int32_t kMaxSequences = 1 << 24;
constexpr int32_t kMaxHeads = 1 << 14;
constexpr int32_t kMaxHeadsOfLayers = 1 << 22;  // each has settings of its own
constexpr int32_t kMaxGroupSize = 256;          // distances of a group stay within 16 bits at 128 bits of code
// The tokens of a batch plus the slots, rounded up to whole vectors and blocks, must fit into 32 bits.
constexpr int64_t kMaxBatchTokens = int64_t{1} << 30;
static_assert(round_up(kMaxBatchTokens + kMaxCapacity, 1 << 20) <= INT32_MAX);
constexpr int64_t kDefaultBatchTokens = 8192;

void check_shape(const hashevict_shape& shape) {
  const auto in_range = [](const char* name, int64_t value, int64_t low, int64_t high) {
    require_in_range({"config.shape", name}, value, low, high);
  };
  in_range("num_layers", shape.num_layers, 1, kMaxLayers);
  in_range("num_sequences", shape.num_sequences, 1, kMaxSequences);
  const int32_t most_heads = kMaxHeadsOfLayers / shape.num_layers;
  require_in_range({"config.shape", "num_kv_heads"}, shape.num_kv_heads, 1, std::min(kMaxHeads, most_heads),
                   most_heads < kMaxHeads ? ", since all layers have at most 2^22" : "");
  require_multiple({"config.shape", "num_qo_heads"}, shape.num_qo_heads, shape.num_kv_heads, shape.num_kv_heads,
                   int64_t{shape.num_kv_heads} * kMaxGroupSize, ", since it is a multiple of num_kv_heads");
  require_multiple({"config.shape", "head_dim"}, shape.head_dim, 8, 8, kMaxHeadDim);
  in_range("kv_head_offset", shape.kv_head_offset, 0, kMaxHeads);
  require_one_of({"config.shape", "dtype"}, shape.dtype, kFloatDtypes);
  require_reserved({"config.shape", "reserved"}, shape.reserved);
}

void check_placement(const hashevict_placement& placement) {
  const auto in_range = [](const char* name, int64_t value, int64_t low, int64_t high) {
    require_in_range({"config.placement", name}, value, low, high);
  };
  in_range("backend", placement.backend, HASHEVICT_BACKEND_AUTO, HASHEVICT_BACKEND_CUDA);
  in_range("device", placement.device, 0, INT32_MAX);
  in_range("layout", placement.layout, HASHEVICT_LAYOUT_HEAD_MAJOR, kLastLayout);
  if (placement.layout == HASHEVICT_LAYOUT_PAGED || placement.layout == HASHEVICT_LAYOUT_PAGED_PER_HEAD)
    in_range("page_size", placement.page_size, 1, kMaxCapacity);
  require_reserved({"config.placement", "reserved"}, placement.reserved);
}

void check_execution(const hashevict_execution& execution, int32_t num_sequences) {
  require_zero_or_in_range({"config.execution", "max_batch_tokens"}, execution.max_batch_tokens, num_sequences,
                           kMaxBatchTokens, ", since it is at least config.shape.num_sequences");
  require_in_range({"config.execution", "num_threads"}, execution.num_threads, 0, HASHEVICT_MAX_THREADS);
  require_reserved({"config.execution", "reserved"}, execution.reserved);
}

/// Checks the rules in use: one per layer, or one for all layers.
void check_rules(const hashevict_config& c) {
  if (c.layer_rules == nullptr) return validate_rule({c.rule, kAll});
  for (int32_t layer = 0; layer < c.shape.num_layers; ++layer) validate_rule({c.layer_rules[layer], layer});
}

Shape resolve_shape(const hashevict_shape& shape) {
  return {.num_layers = shape.num_layers,
          .num_sequences = shape.num_sequences,
          .num_qo_heads = shape.num_qo_heads,
          .num_kv_heads = shape.num_kv_heads,
          .head_dim = shape.head_dim,
          .group_size = shape.num_qo_heads / shape.num_kv_heads,
          .kv_head_offset = shape.kv_head_offset,
          .format = {static_cast<DType>(shape.dtype), shape.head_dim}};
}

Execution resolve_execution(const hashevict_execution& execution, int32_t num_sequences) {
  return {.max_batch_tokens = execution.max_batch_tokens > 0 ? execution.max_batch_tokens
                                                             : std::max<int64_t>(num_sequences, kDefaultBatchTokens),
          .num_threads = execution.num_threads,
          .num_workers = execution.num_threads > 0 ? execution.num_threads : usable_threads(),
          .parallel_for = execution.parallel_for,
          .parallel_for_context = execution.parallel_for_context};
}

/// Stores the config as given, with copies of its arrays.
void keep(Settings& settings, const hashevict_config& c) {
  settings.config = c;
  settings.config.struct_size = sizeof(hashevict_config);
  if (c.shape.capacities != nullptr) {
    const int64_t heads = int64_t{c.shape.num_layers} * c.shape.num_kv_heads;
    settings.capacities.assign(c.shape.capacities, c.shape.capacities + heads);
    settings.config.shape.capacities = settings.capacities.data();
  }
  if (c.layer_rules != nullptr) {
    settings.layer_rules.assign(c.layer_rules, c.layer_rules + c.shape.num_layers);
    settings.config.layer_rules = settings.layer_rules.data();
  }
}

/// The settings of one head, by the rule of its layer.
HeadSettings resolve_head_of(const hashevict_shape& shape, const hashevict_rule& rule, int32_t layer, int32_t kv_head) {
  if (shape.capacities == nullptr) return resolve_head(rule, shape.capacity, {"config.shape", "capacity"});
  const int64_t index = int64_t{layer} * shape.num_kv_heads + kv_head;
  return resolve_head(rule, shape.capacities[index],
                      {.owner = "config.shape", .name = "capacities", .index = layer, .second_index = kv_head});
}

/// Adds a head to the totals of its layer, and gives it its place there.
void place_head(LayerSettings& layer, HeadSettings& head) {
  head.first_split = layer.num_splits.value;
  head.first_slot = layer.padded_slots;
  layer.num_splits = layer.num_splits.value + head.num_splits();  // of at most 2^22 heads
  layer.num_slots += head.capacity;
  layer.padded_slots += head.padded_capacity();
  layer.min_capacity = layer.max_capacity == 0 ? head.capacity : std::min(layer.min_capacity, head.capacity);
  layer.max_capacity = std::max(layer.max_capacity, head.capacity);
}

void resolve_layers(Settings& settings, const hashevict_config& c) {
  for (int32_t index = 0; index < c.shape.num_layers; ++index) {
    const hashevict_rule& rule = c.layer_rules != nullptr ? c.layer_rules[index] : c.rule;
    LayerSettings layer{};
    layer.rule = resolve_rule(rule, c.shape.num_kv_heads);
    for (int32_t kv_head = 0; kv_head < c.shape.num_kv_heads; ++kv_head) {
      HeadSettings head = resolve_head_of(c.shape, rule, index, kv_head);
      place_head(layer, head);
      settings.heads.push_back(head);
    }
    settings.layers.push_back(layer);
  }
}

/// The layouts that place the slots of all heads together require equal capacities in each layer.
void check_layout(const Settings& settings, const hashevict_config& c) {
  if (!settings.placement.has_head_stride()) return;
  const Choice expected = settings.placement.is_paged() ? Choice{"PAGED_PER_HEAD", HASHEVICT_LAYOUT_PAGED_PER_HEAD}
                                                        : Choice{"HEAD_MAJOR", HASHEVICT_LAYOUT_HEAD_MAJOR};
  for (int32_t layer = 0; layer < c.shape.num_layers; ++layer) {
    if (settings.layer(layer).is_uniform()) continue;
    fail(HASHEVICT_INVALID_ARGUMENT,
         "config.placement.layout = {}: expected {} ({}), since the KV heads of layer {} have capacities from {} to {}",
         c.placement.layout, expected.name, expected.value, layer, settings.layer(layer).min_capacity,
         settings.layer(layer).max_capacity);
  }
}

}  // namespace

Settings validate_config(const hashevict_config* given) {
  const hashevict_config c = read_versioned(given, "config");
  check_placement(c.placement);
  check_shape(c.shape);
  check_execution(c.execution, c.shape.num_sequences);
  check_rules(c);
  Settings settings{};
  keep(settings, c);
  resolve_layers(settings, c);
  settings.shape = resolve_shape(c.shape);
  settings.placement = {c.placement.backend, c.placement.device, c.placement.layout, c.placement.page_size};
  check_layout(settings, c);
  settings.execution = resolve_execution(c.execution, c.shape.num_sequences);
  return settings;
}

}  // namespace hashevict::core
