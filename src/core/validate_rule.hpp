// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/bounds.hpp"
#include "core/settings.hpp"
#include "hashevict/hashevict.h"

/// The checks of one layer's rule, for validate_config().
namespace hashevict::core {

inline constexpr int32_t kMaxCapacity = 1 << 28;

/// A rule and the caller's name of it: `config.rule`, or `config.layer_rules[layer]`.
struct RuleField {
  const hashevict_rule& rule;
  int32_t layer;  ///< kAll: the rule of every layer

  [[nodiscard]] Field field(const char* name) const {
    if (layer == kAll) return {"config.rule", name};
    return {.owner = "config.layer_rules", .name = name, .owner_index = layer};
  }
};

/// Checks every field of a rule.
void validate_rule(const RuleField& given);

/// A rule with everything resolved that does not depend on a head.
RuleSettings resolve_rule(const hashevict_rule& rule, int32_t num_kv_heads);

/// A head's settings with fractions resolved, its place among the heads of its layer left 0. Fails if `capacity`, named
/// `field`, leaves no slot for a victim.
HeadSettings resolve_head(const hashevict_rule& rule, int32_t capacity, const Field& field);

}  // namespace hashevict::core
