// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/cache.hpp>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "cli/demo/policies.hpp"
#include "eval/baselines/scorer.hpp"

namespace hashevict::lab {

/// Groups of policies that share a figure.
enum class PolicyGroup {
  reference,  ///< the full cache
  library,    ///< evicts in hashevict::Cache
  attention,  ///< reads attention weights
  exact       ///< reads keys instead of codes
};

/// Returns the name of a group, as in `--policies`.
std::string_view name(PolicyGroup group);

/// One policy: a row of the table in policy_table.cpp.
struct PolicyRow {
  std::string_view name;
  PolicyGroup group;
  std::string_view description;

  /// Policies of the library: changes a config that holds the preset `paper`.
  void (*configure)(Config& config) = nullptr;
  /// Gives all layers the same capacity, even if learned votes divide the slots otherwise.
  bool even = false;

  /// Policies of the harness: makes the scorer of one head.
  std::unique_ptr<baselines::Scorer> (*make_scorer)(int32_t capacity) = nullptr;
  int32_t num_sink_tokens = 0;
  int32_t window = 0;               ///< the most recent tokens, which are never evicted,
  double largest_window = 1.0;      ///< at most this share of the capacity
  int32_t extra_slot_bytes = 0;     ///< bytes of a slot besides key and value
  int32_t extra_element_bytes = 0;  ///< bytes of a head for each element of a key

  bool is_full() const { return group == PolicyGroup::reference; }
  /// A cache for one sequence. Rows of the library only.
  Config config(Config shape) const;
  /// The recent window in tokens. Rows of the harness only.
  int32_t recent_window(int32_t capacity) const;
};

std::span<const PolicyRow> policy_table();

/// @throws Error naming the unknown name and the allowed ones
const PolicyRow& policy_row(std::string_view name);

/// Returns the rows of names separated by commas; `all` and the names of groups stand for several.
std::vector<const PolicyRow*> parse_policies(std::string_view list);

/// Returns the bytes that a policy keeps for every KV head.
cli::KeptBytes bytes_of(const PolicyRow& row, const Config& shape);

/// Returns the slots that fit in the bytes of `budget` times a full cache of `num_tokens`. @throws Error if none fits
int32_t slots_for(const PolicyRow& row, double budget, int64_t num_tokens, const Config& shape);

}  // namespace hashevict::lab
