// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/config.hpp>
#include <string_view>
#include <vector>

namespace hashevict::eval {

/// A number of slots, or a fraction of the tokens that are really seen.
struct Budget {
  bool is_fraction = false;
  int32_t slots = 0;      ///< read if not a fraction
  double fraction = 0.0;  ///< in (0, 1]

  /// Slots for a sequence of `num_tokens`: a fraction is rounded down, and comes to at least 1.
  int32_t slots_for(int64_t num_tokens) const;
};

/// Slots of a layer per KV head.
int32_t layer_capacity(const Config& config, int32_t layer);

/// Budgets separated by commas: one for all layers, or one a layer. @throws Error as parse_budget()
std::vector<Budget> parse_budgets(std::string_view text);

/// `512` is a number of slots, `0.3` (with a dot) a fraction.
/// @throws Error invalid_argument if it is neither, not positive, or a fraction above 1
Budget parse_budget(std::string_view text);

/// A number of tokens, or, with a dot, a fraction in [0, 1); for protected zones.
/// @throws Error invalid_argument, naming `what`, if it is neither
struct Zone {
  int32_t tokens = 0;
  float fraction = -1.0F;  ///< negative: `tokens` counts
};
Zone parse_zone(std::string_view text, std::string_view what);

}  // namespace hashevict::eval
