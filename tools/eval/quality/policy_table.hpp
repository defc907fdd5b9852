// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/cache.hpp>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/baselines/full_attention.hpp"
#include "eval/baselines/scorer.hpp"

namespace hashevict::eval {

/// A cache that holds every token; what the others are measured against.
inline constexpr std::string_view kFull = "full";

/// Whose company a policy keeps in tables and figures.
enum class PolicyGroup {
  reference,  ///< the full cache, what every figure shows, and bounds that know the future
  library,    ///< evicts in hashevict::Cache
  attention,  ///< reads attention weights
  exact       ///< reads keys and queries where the library reads codes
};

/// What a scorer of the harness is made from.
struct ScorerInputs {
  int32_t capacity = 0;
  int32_t layer = 0;
  int32_t kv_head = 0;
  const baselines::FutureAttention* future_sum = nullptr;
  const baselines::FutureAttention* future_largest = nullptr;
};

/// Sinks and recent window; a fraction is one of the capacity.
struct Zones {
  int32_t num_sink_tokens = 4;
  int32_t recent_window = 10;
  double recent_fraction = 0.0;  ///< > 0: in place of `recent_window`, unless that is smaller and not 0
};

/// One policy. To add one is to add a row to the table in policy_table.cpp.
struct PolicyRow {
  std::string_view name;
  PolicyGroup group;
  std::string_view description;

  /// Policies of the library: changes a config that holds the preset `paper`.
  void (*configure)(Config& config) = nullptr;
  /// How the library reduces a prompt in which the question is known.
  PrefillMode prefill = PrefillMode::replay;
  /// Differs from another row in `prefill` alone: left out where no prompt is reduced.
  bool prompts_only = false;

  /// The same capacity in all layers, even if votes were learned that divide the slots otherwise.
  bool even = false;

  /// Policies of the harness: makes the scorer of one head.
  std::unique_ptr<baselines::Scorer> (*make_scorer)(const ScorerInputs& inputs) = nullptr;
  Zones zones = {};
  int32_t extra_slot_bytes = 0;      ///< what a slot costs besides key and value
  int32_t extra_head_dim_bytes = 0;  ///< what a head costs for each element of a key
};

std::span<const PolicyRow> policy_table();

/// A row with what its name may add: `<row>[-<bits>][-ends]`. `-32` hashes to 32 bits; `-ends` protects 10 % of the
/// budget at both ends, in place of the policy's own sinks and recent window.
struct PolicyChoice {
  const PolicyRow* row = nullptr;
  int32_t bits = 0;  ///< 0: the row's own
  bool ends = false;

  std::string name() const;
  bool is_full() const;
  /// A cache for one sequence. Rows of the library only.
  Config config(Config shape) const;
  /// Sinks and recent window in tokens, for rows of the harness.
  Zones zones(int32_t capacity) const;
};

/// @throws Error naming what is wrong and what is allowed
PolicyChoice parse_policy(std::string_view name);

/// The names of several, separated by commas; `all` and the names of groups stand for several.
std::vector<PolicyChoice> parse_policies(std::string_view list);

/// Bytes that a policy keeps for every KV head: what `budget` buys. Keys and values count as bfloat16 for all.
struct ByteModel {
  int64_t slot = 0;  ///< key, value, and what the policy keeps beside them in every slot
  int64_t head = 0;  ///< what it keeps once

  static ByteModel of(const PolicyChoice& choice, const Config& shape);
  /// Bytes that all layers and heads of a cache of this config keep.
  uint64_t total(const Config& config) const;
  /// Slots for the bytes that `budget` of a full cache of `num_tokens` takes. @throws Error if they hold no slot
  int32_t slots(double budget, int64_t num_tokens, const Config& shape) const;
};

}  // namespace hashevict::eval
