// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/config.hpp>
#include <string_view>
#include <vector>

#include "decimal.hpp"

namespace hashevict::cli {

/// A number of slots, or a fraction of the tokens seen.
struct Budget {
  static Budget of_slots(int32_t slots) { return {false, slots}; }
  static Budget of_fraction(const Decimal& fraction) { return {true, 0, fraction}; }
  /// @param fraction as the user wrote it
  static Budget of_fraction(double fraction) { return of_fraction(Decimal(fraction)); }

  bool is_fraction = false;
  int32_t slots = 0;                ///< unused if a fraction
  Decimal fraction = Decimal(0.0);  ///< in (0, 1]

  /// Returns the slots for a sequence of `num_tokens`: rounds a fraction down, to at least 1.
  int32_t slots_for(int64_t num_tokens) const;
};

/// Returns the slots of a KV head.
int32_t head_capacity(const Config& config, int32_t layer, int32_t kv_head);
/// Returns the slots of the KV head of a layer that has most.
int32_t most_slots(const Config& config, int32_t layer);
/// Returns the slots of all KV heads of a layer.
int64_t sum_of_slots(const Config& config, int32_t layer);

/// Sets the slots of every KV head of a config with a shape: from one budget for all, one a layer, or one a KV head,
/// layer by layer. `config.shape.capacity` becomes the first of them. @throws Error for another number of budgets
void set_capacities(Config& config, const std::vector<Budget>& budgets, int64_t num_tokens);

/// Parses budgets separated by commas: one for all heads, one a layer, or one a KV head, layer by layer.
/// @throws Error as parse_budget()
std::vector<Budget> parse_budgets(std::string_view text);

/// Parses a budget: `512` is a number of slots, `0.3` (with a dot) a fraction.
/// @throws Error invalid_argument for other text, and for a budget that is not positive or a fraction above 1
Budget parse_budget(std::string_view text);

/// The size of a protected zone: a number of tokens, or, with a dot, a fraction in [0, 1).
/// @throws Error invalid_argument, naming `what`, for other text
struct Zone {
  int32_t tokens = 0;
  float fraction = -1.0F;  ///< negative: `tokens` counts; else Decimal::at_least()
};
Zone parse_zone(std::string_view text, std::string_view what);

}  // namespace hashevict::cli
