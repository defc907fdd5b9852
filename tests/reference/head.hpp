// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "reference/projection.hpp"
#include "reference/rule.hpp"
#include "reference/settings.hpp"

namespace hashevict::reference {

/// One token, as one KV head receives it.
struct Token {
  std::vector<Vector> queries;  ///< the group's queries
  Vector key;
  Vector value;
  float importance = 0.0F;        ///< for policy importance, unless it is that of the key
  float importance_slope = 0.0F;  ///< for policy importance
};

/// The slot of a token and the position that it replaced; -1 for no slot or no position.
struct Placement {
  std::int32_t slot = -1;
  std::int32_t victim = -1;
};

/// The state of one KV head of one sequence in one layer: everything that a step reads and writes.
struct Head {
  /// @param kv_head index within the shard
  Head(const Settings& settings, std::size_t kv_head, Projection projection);

  /// One decode step without its attention.
  Placement step(const Token& token);

  /// The parts of a step: observe() collects the facts and counts the token, accumulate() updates the slots that were
  /// there before, new_slot() makes the token's slot.
  [[nodiscard]] Step observe(const Token& token);
  void accumulate(const Step& step);
  [[nodiscard]] Slot new_slot(const Step& step, const Token& token) const;

  Settings settings;
  std::uint32_t global_head;
  Projection projection;
  Vector importance_weight;  ///< policy importance: of the key's elements
  float importance_bias = 0.0F;
  Vector key_center;
  std::vector<Vector> query_centers;  ///< of the group's queries
  std::vector<Slot> slots;            ///< all valid, at most as many as the capacity
  std::int32_t tokens_seen = 0;
  std::int32_t prompt_length = 0;  ///< tokens seen when the last prefill ended
  Vector key_sum;                  ///< sum of all keys seen, for policy mean
};

}  // namespace hashevict::reference
