// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>
#include <hashevict/enums.hpp>
#include <hashevict/status.hpp>
#include <hashevict/tensor.hpp>
#include <hashevict/twin.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace hashevict {

namespace detail {

/// The defaults of the C ABI: preset `paper`, without a shape.
inline hashevict_config default_config() noexcept {
  hashevict_config c;
  static_cast<void>(hashevict_config_init_sized(&c, sizeof c, nullptr));
  return c;
}

/// A named rule of the C ABI.
/// @throws Error invalid_argument for an unknown preset
inline hashevict_rule preset_rule(Preset preset) {
  hashevict_rule rule;
  check([&](hashevict_error* error) {
    return hashevict_rule_preset(&rule, static_cast<hashevict_preset>(preset), error);
  });
  return rule;
}

/// Returns the elements of `vector` as the C ABI's optional array, null if it is empty.
/// @throws Error invalid_argument unless it is empty or has `num_layers` elements
template <class T>
const T* per_layer(const char* name, const std::vector<T>& vector, int32_t num_layers) {
  if (vector.empty()) return nullptr;
  if (num_layers >= 0 && vector.size() == static_cast<std::size_t>(num_layers)) return vector.data();
  throw Error{Status::invalid_argument, std::string{name} + ".size() = " + std::to_string(vector.size()) +
                                            ": expected 0 or config.shape.num_layers = " + std::to_string(num_layers)};
}

/// Returns `vector` as the C ABI's optional array of one element a layer and KV head, null if it is empty.
/// @throws Error invalid_argument unless it is empty or has `num_layers * num_kv_heads` elements
template <class T>
const T* per_head(const char* name, const std::vector<T>& vector, int32_t num_layers, int32_t num_kv_heads) {
  if (vector.empty()) return nullptr;
  const int64_t heads = int64_t{num_layers} * num_kv_heads;
  if (num_layers >= 0 && num_kv_heads >= 0 && vector.size() == static_cast<std::size_t>(heads)) return vector.data();
  throw Error{Status::invalid_argument, std::string{name} + ".size() = " + std::to_string(vector.size()) +
                                            ": expected 0 or config.shape.num_layers * num_kv_heads = " +
                                            std::to_string(num_layers) + " * " + std::to_string(num_kv_heads)};
}

}  // namespace detail

/// Returns Shape::capacities where all KV heads of a layer have the same: each element `num_kv_heads` times.
/// @param of_layers `[num_layers]` slots per KV head
inline std::vector<int32_t> capacities_of_layers(const std::vector<int32_t>& of_layers, int32_t num_kv_heads) {
  std::vector<int32_t> capacities;
  for (const int32_t capacity : of_layers) {
    for (int32_t kv_head = 0; kv_head < num_kv_heads; ++kv_head) capacities.push_back(capacity);
  }
  return capacities;
}

/// The model's shape and the capacities of the cache: the twin of ::hashevict_shape.
struct Shape {
  int32_t num_layers;
  int32_t num_sequences;   ///< cache rows, default 1
  int32_t num_qo_heads;    ///< a multiple of num_kv_heads
  int32_t num_kv_heads;    ///< the heads of this shard
  int32_t head_dim;        ///< a multiple of 8, 8 .. 256
  DType dtype;             ///< storage of keys and values: float32, float16 or bfloat16 (default)
  int32_t kv_head_offset;  ///< global index of this shard's first KV head, default 0
  int32_t capacity;        ///< slots per KV head, at least sinks + recent window + 1
  /// `[num_layers, num_kv_heads]`, or empty (default): `capacity` for every KV head. capacities_of_layers() fills it
  /// where the heads of a layer are equal.
  std::vector<int32_t> capacities;

  /// The defaults; fields without one are 0.
  Shape() noexcept : Shape{detail::default_config().shape} {}

  /// Takes over a shape of the C ABI, a copy of its array included.
  explicit Shape(const hashevict_shape& c) {
    detail::copy_from_c(*this, c, kPlainBytes);
    if (c.capacities != nullptr && c.num_layers > 0 && c.num_kv_heads > 0) {
      capacities.assign(c.capacities, c.capacities + int64_t{c.num_layers} * c.num_kv_heads);
    }
  }

  /// Converts to the C ABI's struct. Its `capacities` points into this object, which must outlive it.
  /// @throws Error invalid_argument unless `capacities` is empty or has `num_layers * num_kv_heads` elements
  [[nodiscard]] hashevict_shape c_shape() const& {
    hashevict_shape c{};
    detail::copy_to_c(c, *this, kPlainBytes);
    c.capacities = detail::per_head("config.shape.capacities", capacities, num_layers, num_kv_heads);
    return c;
  }
  hashevict_shape c_shape() const&& = delete;  // the result would point into the temporary

 private:
  static constexpr std::size_t kPlainBytes = offsetof(hashevict_shape, capacities);
};
static_assert(sizeof(Shape) == offsetof(hashevict_shape, capacities) + sizeof(std::vector<int32_t>),
              "a field was added to hashevict_shape: add it here");

/// Selects victims, protects slots and defines the codes: the twin of ::hashevict_rule.
///
/// A rule is one of the presets, with changes:
/// @code
/// config.rule = hashevict::Rule{hashevict::Preset::superseded};
/// config.rule.num_sink_tokens = 8;
/// @endcode
struct Rule {
  Policy policy;           ///< default hash
  int32_t hash_bits;       ///< 8, 16 (default), 32, 64 or 128; a code takes hash_bits / 8 bytes
  HashSource hash_source;  ///< default query; read by Policy::hash only
  Tie tie;                 ///< default oldest

  int32_t num_sink_tokens;  ///< positions below it are never evicted, default 4
  int32_t recent_window;    ///< the last tokens that are never evicted, besides the new one, default 10
  float sink_fraction;      ///< >= 0: sinks as this fraction of each head's capacity, the product rounded to fp32 and
                            ///< then down (0.9f of 10 are 9 slots); < 0 (default): num_sink_tokens
  float recent_fraction;    ///< the same for recent_window
  /// 1: decode, append and evict take a pinned position only if no other one is evictable. A prefill ignores pins. One
  /// with tokens ends by pinning all positions that its sequence has seen, decoded ones included. Default 0.
  int32_t pin_prompt;

  Centering centering;             ///< default none
  ProjectionKind projection_kind;  ///< default gaussian
  int32_t projection_per_head;     ///< 0 (default): one projection per layer; 1: one per KV head
  uint64_t seed;                   ///< of drawn projections and of Policy::random, default 0

  ImportanceSource importance_source;  ///< default given; read by Policy::importance only
  int32_t importance_slopes;           ///< likewise; 1: each step brings `importance_slope`; 0 (default): b is 0

  /// The defaults: Preset::paper.
  Rule() noexcept : Rule{detail::default_config().rule} {}

  /// A named rule.
  /// @throws Error invalid_argument for an unknown preset
  explicit Rule(Preset preset) : Rule{detail::preset_rule(preset)} {}

  /// Takes over a rule of the C ABI.
  explicit Rule(const hashevict_rule& c) noexcept { detail::copy_from_c(*this, c, sizeof(Rule)); }

  /// Converts to the C ABI's struct.
  [[nodiscard]] hashevict_rule c_rule() const noexcept {
    hashevict_rule c{};
    detail::copy_to_c(c, *this, sizeof(Rule));
    return c;
  }
};
static_assert(sizeof(Rule) == offsetof(hashevict_rule, reserved), "a field was added to hashevict_rule: add it here");

/// The backend and the device, and the order of slots in its memory: the twin of ::hashevict_placement.
struct Placement {
  Backend backend;    ///< default automatic
  int32_t device;     ///< CUDA device ordinal, default 0
  Layout layout;      ///< default head_major
  int32_t page_size;  ///< slots per page, default 16; read by paged and paged_per_head only

  /// The defaults.
  Placement() noexcept : Placement{detail::default_config().placement} {}

  /// Takes over a placement of the C ABI.
  explicit Placement(const hashevict_placement& c) noexcept { detail::copy_from_c(*this, c, sizeof(Placement)); }

  /// Converts to the C ABI's struct.
  [[nodiscard]] hashevict_placement c_placement() const noexcept {
    hashevict_placement c{};
    detail::copy_to_c(c, *this, sizeof(Placement));
    return c;
  }
};
static_assert(sizeof(Placement) == offsetof(hashevict_placement, reserved),
              "a field was added to hashevict_placement: add it here");

/// The largest batch, and the threads of the CPU backend: the fields of ::hashevict_execution.
struct Execution : hashevict_execution {
  /// The defaults.
  Execution() noexcept : hashevict_execution{detail::default_config().execution} {}

  /// Takes over an execution of the C ABI.
  explicit Execution(const hashevict_execution& c) noexcept : hashevict_execution{c} {}
};

/// Describes a cache: the twin of ::hashevict_config. Memory describes lent memory.
///
/// A new Config holds the defaults of hashevict_config_init(). The numbers of layers and heads, head_dim and the
/// capacity are zero and must be set. Cache and Cache::required_bytes() check a config; their messages name its fields
/// as they are spelt here.
///
/// @code
/// hashevict::Config config;
/// config.shape.num_layers = 32;
/// config.shape.num_qo_heads = 32;
/// config.shape.num_kv_heads = 8;
/// config.shape.head_dim = 128;
/// config.shape.capacity = 4096;
/// config.rule = hashevict::Rule{hashevict::Preset::superseded};
/// config.placement.backend = hashevict::Backend::cpu;  // tensors of every operation are host memory
/// @endcode
struct Config {
  Shape shape;
  Rule rule;
  std::vector<Rule> layer_rules;  ///< `[num_layers]`, each layer's own rule, or empty (default): `rule` for every layer
  Placement placement;
  Execution execution;

  /// The defaults.
  Config() = default;

  /// Takes over a config of the C ABI, copies of its arrays included.
  explicit Config(const hashevict_config& c)
      : shape{c.shape}, rule{c.rule}, placement{c.placement}, execution{c.execution} {
    if (c.layer_rules == nullptr || c.shape.num_layers <= 0) return;
    for (const hashevict_rule* rule_of = c.layer_rules; rule_of != c.layer_rules + c.shape.num_layers; ++rule_of) {
      layer_rules.emplace_back(*rule_of);
    }
  }

  /// Converts to the C ABI's struct.
  /// @param rules receives `layer_rules`. The result points into it and into this object: both must outlive it.
  /// @throws Error invalid_argument unless `shape.capacities` and `layer_rules` are empty or have `num_layers *
  ///         num_kv_heads` and `num_layers` elements
  [[nodiscard]] hashevict_config c_config(std::vector<hashevict_rule>& rules) const& {
    rules.clear();
    for (const Rule& of_layer : layer_rules) rules.push_back(of_layer.c_rule());
    hashevict_config c{};
    c.struct_size = sizeof c;
    c.shape = shape.c_shape();
    c.rule = rule.c_rule();
    c.layer_rules = detail::per_layer("config.layer_rules", rules, shape.num_layers);
    c.placement = placement.c_placement();
    c.execution = execution;
    return c;
  }
  hashevict_config c_config(std::vector<hashevict_rule>&) const&& = delete;  // would point into the temporary
};

}  // namespace hashevict
