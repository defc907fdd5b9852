// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "reference/code.hpp"
#include "reference/settings.hpp"

namespace hashevict::reference {

/// The contents of one slot of one head.
struct Slot {
  Vector key;    ///< as stored
  Vector value;  ///< as stored
  Code code;     ///< of the key before it was rounded for storage
  std::int32_t position = -1;
  std::uint32_t smallest_distance = 255;  ///< distance to the closest later key, for policy superseded
  float importance = 0.0F;                ///< of the key at its own step, for policy importance
  float importance_slope = 0.0F;          ///< its change per later token
};

/// The facts about a step, apart from the slots.
struct Step {
  std::int32_t position = 0;      ///< of the new token
  std::uint32_t global_head = 0;  ///< KV head
  Code key;                       ///< of the new key
  std::vector<Code> queries;      ///< of the group's queries
  Code mean;                      ///< of the mean of all keys seen, the new one included
};

/// Policy hash: the summed distance from `code` to the group's queries, or its distance to the new key.
std::uint32_t probe_distance(const Settings& settings, const Step& step, const Code& code);

/// Updates a slot that existed before the step, whether or not the step evicts.
void accumulate(const Settings& settings, const Step& step, Slot& slot);

/// Whether accumulators depend on later keys alone, so that prompt modes without steps can compute them.
bool needs_no_steps(const Settings& settings);

/// The importance of a slot's key, a + b * age, at the step of a token at `position`.
float importance_at(const Slot& slot, std::int32_t position);

/// A number that grows with a finite value and is equal for -0 and +0; 0 if the value is not finite.
std::uint32_t rank_of(float value);

/// The score of a slot; the slot with the largest score is evicted.
std::uint32_t score(const Settings& settings, const Step& step, const Slot& slot);

/// The slot that the new token replaces. Positions below `prompt_length` are pinned: evicted only if no other slot can
/// be.
std::size_t select_victim(const Settings& settings, const Step& step, const std::vector<Slot>& slots,
                          std::int32_t prompt_length);

/// The number of slots in a fraction of the capacity: the product in fp32, rounded down.
std::int32_t slots_of_fraction(float fraction, std::size_t capacity);

}  // namespace hashevict::reference
