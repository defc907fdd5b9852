// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "reference/projection.hpp"
#include "reference/rule.hpp"
#include "reference/settings.hpp"

namespace hashevict::reference {

/// What one token brings to one KV head.
struct Token {
  std::vector<Vector> queries;  ///< of the group
  Vector key;
  Vector value;
};

/// Where a token went and which position it replaced; -1: nowhere, nothing.
struct Placement {
  std::int32_t slot = -1;
  std::int32_t victim = -1;
};

/// The state of one KV head of one sequence in one layer: all that a step reads and writes.
struct Head {
  /// @param kv_head index within the shard
  Head(const Settings& settings, std::size_t kv_head, Projection projection);

  /// One decode step without its attention.
  Placement step(const Token& token);

  /// The parts of a step: what it knows (and counts), and what it then does to the slots that were there before.
  [[nodiscard]] Step observe(const Token& token);
  void accumulate(const Step& step);
  [[nodiscard]] Slot new_slot(const Step& step, const Token& token) const;

  Settings settings;
  std::uint32_t global_head;
  Projection projection;
  Vector key_center;
  std::vector<Vector> query_centers;  ///< of the group
  std::vector<Slot> slots;            ///< all valid; never more than the capacity
  std::int32_t tokens_seen = 0;
  std::int32_t prompt_length = 0;  ///< tokens seen when the last prefill ended
  Vector key_sum;                  ///< of all keys seen: policy mean
  std::vector<std::int32_t> ones;  ///< how many codes seen have the bit: policy majority
};

}  // namespace hashevict::reference
