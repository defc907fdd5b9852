// SPDX-License-Identifier: Apache-2.0
#include "reference/sequence.hpp"

#include <stdexcept>

namespace hashevict::reference {
namespace {

Projection drawn_projection(const Settings& settings, std::size_t kv_head) {
  const std::size_t global_head = static_cast<std::size_t>(settings.kv_head_offset) + kv_head;
  const std::uint32_t head = settings.projection_per_head ? static_cast<std::uint32_t>(global_head) : kAllHeads;
  const Projection projection = gaussian_projection(settings.seed, static_cast<std::uint32_t>(settings.layer), head,
                                                    settings.hash_bits, settings.head_dim);
  return settings.orthogonal ? orthogonalized(projection) : projection;
}

}  // namespace

Vector row(const Vector& matrix, std::size_t i, std::size_t width) {
  const auto begin = matrix.begin() + static_cast<std::ptrdiff_t>(i * width);
  return {begin, begin + static_cast<std::ptrdiff_t>(width)};
}

Sequence::Sequence(const Settings& settings) : Sequence{std::vector<Settings>(settings.num_kv_heads, settings)} {}

Sequence::Sequence(const std::vector<Settings>& of_heads) : settings_{of_heads.front()} {
  for (std::size_t h = 0; h < settings_.num_kv_heads; ++h) {
    heads_.emplace_back(of_heads[h], h, drawn_projection(settings_, h));
  }
}

void Sequence::set_projection(std::size_t kv_head, const Projection& projection) {
  heads_[kv_head].projection = projection;
}

void Sequence::set_importance_weights(std::size_t kv_head, const Vector& weight, float bias) {
  heads_[kv_head].importance_weight = weight;
  heads_[kv_head].importance_bias = bias;
}

void Sequence::set_center(const Vector& key_center, const Vector& query_center) {
  const std::size_t group = settings_.group_size();
  for (std::size_t h = 0; h < heads_.size(); ++h) {
    heads_[h].key_center = row(key_center, h, settings_.head_dim);
    for (std::size_t g = 0; g < group; ++g) {
      heads_[h].query_centers[g] = row(query_center, h * group + g, settings_.head_dim);
    }
  }
  center_set_ = true;
}

Token Sequence::token(const Tokens& tokens, std::size_t i, std::size_t kv_head) const {
  const std::size_t dim = settings_.head_dim;
  Token result;
  for (std::size_t g = 0; g < settings_.group_size(); ++g) {
    const std::size_t qo_head = kv_head * settings_.group_size() + g;
    result.queries.push_back(row(tokens.q, i * settings_.num_qo_heads + qo_head, dim));
  }
  result.key = row(tokens.k, i * settings_.num_kv_heads + kv_head, dim);
  result.value = row(tokens.v, i * settings_.num_kv_heads + kv_head, dim);
  const std::size_t number = i * settings_.num_kv_heads + kv_head;
  if (!tokens.importance.empty()) result.importance = tokens.importance[number];
  if (!tokens.importance_slope.empty()) result.importance_slope = tokens.importance_slope[number];
  return result;
}

/// Sets the centre of every head to the mean of these tokens.
void Sequence::center_on(const Tokens& tokens) {
  for (std::size_t h = 0; h < heads_.size(); ++h) {
    std::vector<Vector> keys;
    std::vector<std::vector<Vector>> queries(settings_.group_size());
    for (std::size_t i = 0; i < tokens.count; ++i) {
      const Token one = token(tokens, i, h);
      keys.push_back(one.key);
      for (std::size_t g = 0; g < queries.size(); ++g) queries[g].push_back(one.queries[g]);
    }
    heads_[h].key_center = mean(keys);
    for (std::size_t g = 0; g < queries.size(); ++g) heads_[h].query_centers[g] = mean(queries[g]);
  }
}

/// Attention over all that the heads hold and, causally, over the tokens, as if none of them were ever evicted.
std::vector<Attention> Sequence::attend_everything(const Tokens& tokens, const AttentionOptions& options) const {
  std::vector<Head> grown = heads_;
  std::vector<Attention> attention;
  for (std::size_t i = 0; i < tokens.count; ++i) {
    for (std::size_t h = 0; h < grown.size(); ++h) {
      const Token one = token(tokens, i, h);
      const Step step = grown[h].observe(one);
      grown[h].slots.push_back(grown[h].new_slot(step, one));
      for (const Vector& query : one.queries) {
        attention.push_back(reference::attend(grown[h], query, step.position, options));
      }
    }
  }
  return attention;
}

Taken Sequence::prefill(const Tokens& tokens, PrefillMode mode, std::int32_t window, PromptAttention attention,
                        const AttentionOptions& options) {
  std::vector<Attention> seen;
  if (attention == PromptAttention::streamed) seen = Sequence{*this}.decode(tokens, options).attention;
  if (attention == PromptAttention::full) seen = attend_everything(tokens, options);
  const bool empty = heads_.front().tokens_seen == 0;
  if (settings_.centering == Centering::prompt && !center_set_ && tokens.count > 0) {
    if (!empty) throw std::logic_error("the centre is the mean of one call: the library refuses a second");
    center_on(tokens);
  }
  Taken taken;
  taken.attention = seen;
  taken.slots.resize(tokens.count * heads_.size());
  taken.victims.resize(tokens.count * heads_.size());
  for (std::size_t h = 0; h < heads_.size(); ++h) {
    std::vector<Token> own;
    for (std::size_t i = 0; i < tokens.count; ++i) own.push_back(token(tokens, i, h));
    const std::vector<Placement> placements = reference::prefill(heads_[h], own, mode, window);
    for (std::size_t i = 0; i < tokens.count; ++i) {
      taken.slots[i * heads_.size() + h] = placements[i].slot;
      taken.victims[i * heads_.size() + h] = placements[i].victim;
    }
  }
  return taken;
}

Taken Sequence::append(const Tokens& tokens) {
  Taken taken;
  for (std::size_t i = 0; i < tokens.count; ++i) {
    for (std::size_t h = 0; h < heads_.size(); ++h) {
      const Placement placement = heads_[h].step(token(tokens, i, h));
      taken.slots.push_back(placement.slot);
      taken.victims.push_back(placement.victim);
    }
  }
  return taken;
}

Taken Sequence::decode(const Tokens& tokens, const AttentionOptions& options) {
  Taken taken;
  for (std::size_t i = 0; i < tokens.count; ++i) {
    for (std::size_t h = 0; h < heads_.size(); ++h) {
      const Token one = token(tokens, i, h);
      const Placement placement = heads_[h].step(one);
      taken.slots.push_back(placement.slot);
      taken.victims.push_back(placement.victim);
      for (const Vector& query : one.queries) {
        taken.attention.push_back(reference::attend(heads_[h], query, heads_[h].tokens_seen - 1, options));
      }
    }
  }
  return taken;
}

std::vector<Attention> Sequence::attend(const Tokens& tokens, const AttentionOptions& options, bool after) const {
  for (const Head& head : heads_) {
    if (after || tokens.count <= 1 || head.tokens_seen <= static_cast<std::int32_t>(head.settings.capacity)) continue;
    throw std::logic_error("earlier queries must see what a later step has evicted: the library refuses them");
  }
  std::vector<Attention> attention;
  for (std::size_t i = 0; i < tokens.count; ++i) {
    const auto behind = after ? 0 : static_cast<std::int32_t>(tokens.count - i);
    for (std::size_t h = 0; h < heads_.size(); ++h) {
      for (std::size_t g = 0; g < settings_.group_size(); ++g) {
        const Vector query =
            row(tokens.q, i * settings_.num_qo_heads + h * settings_.group_size() + g, settings_.head_dim);
        attention.push_back(reference::attend(heads_[h], query, heads_[h].tokens_seen - behind, options));
      }
    }
  }
  return attention;
}

}  // namespace hashevict::reference
