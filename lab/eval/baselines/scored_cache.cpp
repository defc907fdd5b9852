// SPDX-License-Identifier: Apache-2.0
#include "scored_cache.hpp"

#include <algorithm>
#include <limits>
#include <string>

namespace hashevict::lab::baselines {

ScoredCache::ScoredCache(const ScoredConfig& config, const MakeScorer& make_scorer) : config_(config) {
  if (config.capacity < config.num_sink_tokens + config.recent_window + 1) {
    throw Error(Status::invalid_argument, "capacity: " + std::to_string(config.capacity) +
                                              " slots leave none to evict beside sinks and recent window");
  }
  const engine::HeadShape& shape = config_.shape;
  const auto max_slots = static_cast<size_t>(std::max(config.capacity, config.max_tokens));
  for (int32_t layer = 0; layer < config_.num_layers; ++layer) {
    for (int32_t head = 0; head < shape.num_kv_heads; ++head) {
      const bool shared = head > 0 && parts_.back().scorer->serves_layer();
      std::shared_ptr<Scorer> scorer = shared ? parts_.back().scorer : make_scorer();
      parts_.push_back({Head(shape.head_dim, shape.num_qo_heads / shape.num_kv_heads, max_slots), std::move(scorer)});
    }
  }
}

int64_t ScoredCache::max_batch_tokens() const {
  return std::numeric_limits<int32_t>::max();
}

Token ScoredCache::token_of(std::span<const int32_t> tokens, const Activations& x, int32_t kv_head,
                            size_t index) const {
  const engine::HeadShape& shape = config_.shape;
  const int64_t group_size = shape.num_qo_heads / shape.num_kv_heads;
  const int64_t row = static_cast<int64_t>(index) * x.token_stride;
  return {tokens_seen_ + static_cast<int32_t>(index), tokens[index], x.q + row + kv_head * group_size * shape.head_dim,
          x.k + row + kv_head * shape.head_dim, x.v + row + kv_head * shape.head_dim};
}

void ScoredCache::attend(Part& part, const Token& token, float* out) {
  const std::span<const float> weights = part.head.attend(token.queries, out);
  part.scorer->attended(part.head, token, weights);
}

// Runs token by token, so that a scorer of a whole layer sees the attention of all heads before the next token.
void ScoredCache::decode(int32_t layer, std::span<const int32_t> tokens, const Activations& x) {
  const engine::HeadShape& shape = config_.shape;
  const int64_t group_size = shape.num_qo_heads / shape.num_kv_heads;
  for (size_t t = 0; t < tokens.size(); ++t) {
    for (int32_t head = 0; head < shape.num_kv_heads; ++head) {
      const Token token = token_of(tokens, x, head, t);
      step(part(layer, head), token);
      float* out = x.out + (static_cast<int64_t>(t) * shape.num_qo_heads + head * group_size) * shape.head_dim;
      attend(part(layer, head), token, out);
    }
  }
}

void ScoredCache::prefill(int32_t layer, std::span<const int32_t> tokens, const Activations& x, PrefillMode /*mode*/,
                          int32_t /*prefill_window*/) {
  if (tokens.empty()) return;
  const auto num_heads = static_cast<int32_t>(config_.shape.num_kv_heads);
  for (size_t t = 0; t < tokens.size(); ++t) {
    for (int32_t head = 0; head < num_heads; ++head) {
      const Token token = token_of(tokens, x, head, t);
      part(layer, head).scorer->arrive(part(layer, head).head, token);
      part(layer, head).head.append(token);
      attend(part(layer, head), token, nullptr);
    }
  }
  for (int32_t head = 0; head < num_heads; ++head) {
    compress(part(layer, head), token_of(tokens, x, head, tokens.size() - 1));
  }
}

bool ScoredCache::is_evictable(int32_t position, int32_t newest) const {
  return position >= config_.num_sink_tokens && position < newest - config_.recent_window;
}

// Replaces the evictable slot with the largest score by the token; the oldest among equals.
void ScoredCache::step(Part& part, const Token& token) {
  Head& head = part.head;
  part.scorer->arrive(head, token);
  if (head.length() < static_cast<size_t>(config_.capacity)) {
    head.append(token);
    return;
  }
  scores_.resize(head.length());
  part.scorer->score(head, token, scores_);
  size_t victim = head.length();
  for (size_t slot = 0; slot < head.length(); ++slot) {
    const int32_t position = head.positions()[slot];
    if (!is_evictable(position, token.position)) continue;
    if (victim == head.length() || scores_[slot] > scores_[victim] ||
        (scores_[slot] == scores_[victim] && position < head.positions()[victim])) {
      victim = slot;
    }
  }
  head.overwrite(victim, token);
}

void ScoredCache::compress(Part& part, const Token& last) {
  Head& head = part.head;
  if (head.length() <= static_cast<size_t>(config_.capacity)) return;
  Token next = last;
  ++next.position;
  scores_.resize(head.length());
  part.scorer->score(head, next, scores_);
  std::vector<size_t> candidates;
  std::vector<size_t> kept;
  for (size_t slot = 0; slot < head.length(); ++slot) {
    (is_evictable(head.positions()[slot], next.position) ? candidates : kept).push_back(slot);
  }
  // The smallest scores stay; the newest among equals. Slots are in order of position here.
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](size_t a, size_t b) { return scores_[a] != scores_[b] ? scores_[a] < scores_[b] : a > b; });
  const size_t room = static_cast<size_t>(config_.capacity) - kept.size();
  kept.insert(kept.end(), candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(room));
  std::sort(kept.begin(), kept.end());
  head.keep(kept);
}

}  // namespace hashevict::lab::baselines
