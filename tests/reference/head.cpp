// SPDX-License-Identifier: Apache-2.0
#include "reference/head.hpp"

#include <cmath>
#include <utility>

namespace hashevict::reference {

Head::Head(const Settings& settings_, std::size_t kv_head, Projection projection_)
    : settings{settings_},
      global_head{static_cast<std::uint32_t>(settings.kv_head_offset) + static_cast<std::uint32_t>(kv_head)},
      projection{std::move(projection_)},
      importance_weight(settings.head_dim, 0.0F),
      key_center(settings.head_dim, 0.0F),
      query_centers(settings.group_size(), key_center),
      key_sum(settings.head_dim, 0.0F) {}

Step Head::observe(const Token& token) {
  Step step;
  step.position = tokens_seen;
  step.global_head = global_head;
  step.key = encode(projection, token.key, key_center);
  for (std::size_t g = 0; g < token.queries.size(); ++g) {
    step.queries.push_back(encode(projection, token.queries[g], query_centers[g]));
  }

  ++tokens_seen;
  Vector mean(settings.head_dim);
  for (std::size_t e = 0; e < mean.size(); ++e) {
    key_sum[e] += token.key[e];
    mean[e] = key_sum[e] / static_cast<float>(tokens_seen);
  }
  step.mean = encode(projection, mean, key_center);
  return step;
}

void Head::accumulate(const Step& step) {
  for (Slot& slot : slots) reference::accumulate(settings, step, slot);
}

Slot Head::new_slot(const Step& step, const Token& token) const {
  Slot slot;
  for (const float x : token.key) slot.key.push_back(round_to(settings.storage, x));
  for (const float x : token.value) slot.value.push_back(round_to(settings.storage, x));
  slot.code = step.key;
  slot.position = step.position;
  slot.importance = token.importance;
  if (settings.importance_slopes) slot.importance_slope = token.importance_slope;
  if (settings.importance_of_key) {
    float sum = 0.0F;
    for (std::size_t e = 0; e < token.key.size(); ++e) sum = std::fma(importance_weight[e], token.key[e], sum);
    slot.importance = sum + importance_bias;
  }
  return slot;
}

Placement Head::step(const Token& token) {
  const Step step = observe(token);
  accumulate(step);
  const Slot slot = new_slot(step, token);
  if (slots.size() < settings.capacity) {
    slots.push_back(slot);
    return {static_cast<std::int32_t>(slots.size() - 1), -1};
  }
  const std::size_t j = select_victim(settings, step, slots, prompt_length);
  const std::int32_t victim = slots[j].position;
  slots[j] = slot;
  return {static_cast<std::int32_t>(j), victim};
}

}  // namespace hashevict::reference
