// SPDX-License-Identifier: Apache-2.0
#include "reference/rule.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "reference/philox.hpp"

namespace hashevict::reference {
namespace {

std::uint32_t random_score(const Settings& settings, const Step& step, std::int32_t position) {
  const auto seed_low = static_cast<std::uint32_t>(settings.seed);
  const auto seed_high = static_cast<std::uint32_t>(settings.seed >> 32);
  const std::uint32_t drawn = philox4x32_10(
      {static_cast<std::uint32_t>(step.position), 0, static_cast<std::uint32_t>(settings.layer), step.global_head},
      {seed_low ^ 0x52414E44U, seed_high})[0];
  std::uint32_t x = static_cast<std::uint32_t>(position) ^ drawn;
  x ^= x >> 16;
  x *= 0x7FEB352DU;
  x ^= x >> 15;
  x *= 0x846CA68BU;
  x ^= x >> 16;
  return x;
}

std::uint32_t bits_set(const Code& code) {
  std::uint32_t count = 0;
  for (std::size_t i = 0; i < 8 * code.size(); ++i) count += bit(code, i) ? 1 : 0;
  return count;
}

bool evictable(const Settings& settings, const Step& step, const Slot& slot) {
  return slot.position >= settings.num_sink_tokens && slot.position < step.position - settings.recent_window;
}

}  // namespace

std::uint32_t probe_distance(const Settings& settings, const Step& step, const Code& code) {
  if (settings.probe_new_key) return hamming_distance(step.key, code);
  std::uint32_t sum = 0;
  for (const Code& query : step.queries) sum += hamming_distance(query, code);
  return sum;
}

void accumulate(const Settings& settings, const Step& step, Slot& slot) {
  if (settings.policy == Policy::superseded) {
    slot.smallest_distance = std::min(slot.smallest_distance, hamming_distance(step.key, slot.code));
  }
}

bool needs_no_steps(const Settings& settings) {
  return settings.policy == Policy::superseded;
}

float importance_at(const Slot& slot, std::int32_t position) {
  return std::fma(slot.importance_slope, static_cast<float>(position - slot.position), slot.importance);
}

/// Finite numbers are numbered from the most negative one, 1, by their distance from zero in units in the last place.
std::uint32_t rank_of(float value) {
  if (!std::isfinite(value)) return 0;
  std::uint32_t steps_from_zero = 0;
  const float magnitude = std::abs(value);
  std::memcpy(&steps_from_zero, &magnitude, sizeof magnitude);
  constexpr std::uint32_t kZero = 1U << 31;
  return value < 0.0F ? kZero - steps_from_zero : kZero + steps_from_zero;
}

std::uint32_t score(const Settings& settings, const Step& step, const Slot& slot) {
  const auto bits = static_cast<std::uint32_t>(settings.hash_bits);
  switch (settings.policy) {
    case Policy::hash:
      return probe_distance(settings, step, slot.code);
    case Policy::window:
      return 0xFFFFFFFFU - static_cast<std::uint32_t>(slot.position);
    case Policy::random:
      return random_score(settings, step, slot.position);
    case Policy::superseded:
      return 255 - slot.smallest_distance;
    case Policy::mean:
      return bits - hamming_distance(step.mean, slot.code);
    case Policy::votes:
      return bits - bits_set(slot.code);
    case Policy::importance:
      return 0xFFFFFFFFU - rank_of(importance_at(slot, step.position));
  }
  throw std::logic_error("unknown policy");
}

std::size_t select_victim(const Settings& settings, const Step& step, const std::vector<Slot>& slots,
                          std::int32_t prompt_length) {
  const std::size_t none = slots.size();
  for (const bool take_pinned : {false, true}) {
    std::size_t best = none;
    for (std::size_t j = 0; j < slots.size(); ++j) {
      const bool pinned = settings.pin_prompt && slots[j].position < prompt_length;
      if (!evictable(settings, step, slots[j]) || (pinned && !take_pinned)) continue;
      if (best == none) {
        best = j;
        continue;
      }
      const std::uint32_t a = score(settings, step, slots[j]);
      const std::uint32_t b = score(settings, step, slots[best]);
      const bool wins_tie = !settings.lowest_slot_first && slots[j].position < slots[best].position;
      if (a > b || (a == b && wins_tie)) best = j;
    }
    if (best != none) return best;
  }
  throw std::logic_error("no slot is evictable: the capacity is below sinks + recent window + 1");
}

std::int32_t slots_of_fraction(float fraction, std::size_t capacity) {
  const float product = fraction * static_cast<float>(capacity);
  return static_cast<std::int32_t>(std::floor(product));
}

}  // namespace hashevict::reference
