// SPDX-License-Identifier: Apache-2.0
#include "reference/prefill.hpp"

#include <algorithm>
#include <stdexcept>

namespace hashevict::reference {
namespace {

bool older(const Slot& a, const Slot& b) {
  return a.position < b.position;
}

/// The contents of `head` after `tokens` if it had room for all of them. Each slot also has the sum of its distances to
/// the queries of the last `window` tokens.
struct Everything {
  std::vector<Slot> slots;               ///< in ascending position
  std::vector<std::uint32_t> distances;  ///< to the codes of the last `window` tokens' queries
};

/// Takes all tokens and drops none. The counters of `head` move on; its slots stay as they are.
Everything take_everything(Head& head, const std::vector<Token>& tokens, std::size_t window) {
  std::vector<Step> steps;
  Everything all{head.slots, {}};
  std::sort(all.slots.begin(), all.slots.end(), older);
  for (const Token& token : tokens) {
    const Step step = head.observe(token);
    for (Slot& slot : all.slots) {
      if (needs_no_steps(head.settings)) accumulate(head.settings, step, slot);
    }
    all.slots.push_back(head.new_slot(step, token));
    steps.push_back(step);
  }
  for (const Slot& slot : all.slots) {
    std::uint32_t sum = 0;
    for (std::size_t i = steps.size() - std::min(window, steps.size()); i < steps.size(); ++i) {
      for (const Code& query : steps[i].queries) sum += hamming_distance(query, slot.code);
    }
    all.distances.push_back(sum);
  }
  return all;
}

/// Keeps the sinks, the last `window` tokens, and of the others those with the smallest distance; the newer one of
/// equals.
std::vector<Slot> keep_window(const Settings& settings, const Everything& all, std::size_t window) {
  const auto sinks = static_cast<std::size_t>(settings.num_sink_tokens);
  const std::size_t total = all.slots.size();
  std::vector<bool> keep(total, false);
  for (std::size_t i = 0; i < total; ++i) keep[i] = i < sinks || i >= total - window;
  for (std::size_t kept = sinks + window; kept < settings.capacity; ++kept) {
    std::size_t best = total;
    for (std::size_t i = 0; i < total; ++i) {
      if (!keep[i] && (best == total || all.distances[i] <= all.distances[best])) best = i;
    }
    keep[best] = true;
  }
  std::vector<Slot> survivors;
  for (std::size_t i = 0; i < total; ++i) {
    if (keep[i]) survivors.push_back(all.slots[i]);
  }
  return survivors;
}

/// In an empty sequence, keeps the sinks and the last of the other tokens, in order. Otherwise, once all slots are in
/// use, each new token replaces the oldest slot that is no sink.
std::vector<Slot> keep_recent(const Settings& settings, const std::vector<Slot>& before, const Everything& all) {
  const auto sinks = static_cast<std::size_t>(settings.num_sink_tokens);
  if (before.empty()) {
    const auto tail = static_cast<std::ptrdiff_t>(settings.capacity - sinks);
    std::vector<Slot> survivors(all.slots.begin(), all.slots.begin() + settings.num_sink_tokens);
    survivors.insert(survivors.end(), all.slots.end() - tail, all.slots.end());
    return survivors;
  }
  std::vector<Slot> slots;  // the slots as the new tokens leave them, each in its place
  for (const Slot& slot : before) {
    for (const Slot& later : all.slots) {
      if (later.position == slot.position) slots.push_back(later);
    }
  }
  for (std::size_t i = before.size(); i < all.slots.size(); ++i) {
    if (slots.size() < settings.capacity) {
      slots.push_back(all.slots[i]);
      continue;
    }
    std::size_t oldest = slots.size();
    for (std::size_t j = 0; j < slots.size(); ++j) {
      const bool sink = slots[j].position < settings.num_sink_tokens;
      if (!sink && (oldest == slots.size() || older(slots[j], slots[oldest]))) oldest = j;
    }
    slots[oldest] = all.slots[i];
  }
  return slots;
}

/// The slot of each of the last tokens, or -1.
std::vector<Placement> find(const Head& head, std::size_t num_tokens) {
  std::vector<Placement> placements(num_tokens);
  const std::int32_t first = head.tokens_seen - static_cast<std::int32_t>(num_tokens);
  for (std::size_t j = 0; j < head.slots.size(); ++j) {
    const std::int32_t token = head.slots[j].position - first;
    if (token >= 0) placements[static_cast<std::size_t>(token)].slot = static_cast<std::int32_t>(j);
  }
  return placements;
}

}  // namespace

std::vector<Placement> prefill(Head& head, const std::vector<Token>& tokens, PrefillMode mode, std::int32_t window) {
  if (tokens.empty()) return {};
  std::vector<Placement> placements;
  const Settings& settings = head.settings;
  if (mode == PrefillMode::replay || head.slots.size() + tokens.size() <= settings.capacity) {
    head.prompt_length = 0;  // no position is pinned during its own prompt
    for (const Token& token : tokens) placements.push_back(head.step(token));
  } else {
    const auto sinks = static_cast<std::size_t>(settings.num_sink_tokens);
    const std::size_t last = std::min(static_cast<std::size_t>(window), settings.capacity - sinks);
    if (mode == PrefillMode::window) {
      const bool evicted_before = static_cast<std::size_t>(head.tokens_seen) != head.slots.size();
      if (evicted_before || tokens.size() < last) throw std::logic_error("not exact: the library refuses this chunk");
    }
    const std::vector<Slot> before = head.slots;
    const Everything all = take_everything(head, tokens, last);
    head.slots = mode == PrefillMode::window ? keep_window(settings, all, last) : keep_recent(settings, before, all);
    placements = find(head, tokens.size());
  }
  head.prompt_length = head.tokens_seen;
  return placements;
}

Vector mean(const std::vector<Vector>& vectors) {
  const std::size_t dim = vectors.front().size();
  Vector total(dim, 0.0F);
  for (std::size_t begin = 0; begin < vectors.size(); begin += 256) {
    Vector block(dim, 0.0F);
    for (std::size_t i = begin; i < std::min(begin + 256, vectors.size()); ++i) {
      for (std::size_t e = 0; e < dim; ++e) block[e] += vectors[i][e];
    }
    for (std::size_t e = 0; e < dim; ++e) total[e] += block[e];
  }
  for (float& element : total) element /= static_cast<float>(vectors.size());
  return total;
}

}  // namespace hashevict::reference
