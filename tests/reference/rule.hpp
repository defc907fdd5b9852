// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "reference/code.hpp"
#include "reference/settings.hpp"

namespace hashevict::reference {

/// What one slot of one head holds.
struct Slot {
  Vector key;    ///< as stored
  Vector value;  ///< as stored
  Code code;     ///< of the key before it was rounded for storage
  std::int32_t position = -1;
  std::uint32_t smallest_distance = 255;  ///< to any later key: policy superseded
  std::uint32_t average_distance = 0;     ///< over steps, in 1/256: policy hash with decay
  float squared_norm = 0.0F;              ///< of the key before it was rounded: policy key_norm
};

/// What a step knows besides the slots.
struct Step {
  std::int32_t position = 0;      ///< of the new token
  std::uint32_t global_head = 0;  ///< KV head
  Code key;                       ///< of the new key
  std::vector<Code> queries;      ///< of the group's queries
  Code mean;                      ///< of the mean of all keys seen, the new one included
  Code majority;                  ///< bitwise, of the codes of all keys seen, the new one included
};

/// Policy hash: the sum over the group's queries (or the one distance to the new key) from `code`.
std::uint32_t probe_distance(const Settings& settings, const Step& step, const Code& code);

/// What a step does to a slot that was there before it, whether or not anything is evicted.
void accumulate(const Settings& settings, const Step& step, Slot& slot);

/// What a new token's slot starts from.
void start(const Settings& settings, const Step& step, Slot& slot);

/// The slot with the largest score is evicted.
std::uint32_t score(const Settings& settings, const Step& step, const Slot& slot);

/// The slot that the new token replaces. `prompt_length`: positions below it are pinned, taken only in need.
std::size_t select_victim(const Settings& settings, const Step& step, const std::vector<Slot>& slots,
                          std::int32_t prompt_length);

/// `sum of x_e^2`, one fma an element, in order, from 0.
float squared_norm(const Vector& x);

/// A fraction of the capacity in slots: the product in fp32, rounded down.
std::int32_t slots_of_fraction(float fraction, std::size_t capacity);

}  // namespace hashevict::reference
