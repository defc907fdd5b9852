// SPDX-License-Identifier: Apache-2.0
#include "full_attention.hpp"

#include <algorithm>

namespace hashevict::eval::baselines {
namespace {

/// Where a head stands among all heads of all layers.
size_t index_of(int32_t layer, int32_t num_kv_heads, int32_t kv_head) {
  return static_cast<size_t>(layer) * static_cast<size_t>(num_kv_heads) + static_cast<size_t>(kv_head);
}

}  // namespace

FullAttention::FullAttention(int32_t num_layers, int32_t num_kv_heads)
    : num_layers_(num_layers), num_kv_heads_(num_kv_heads), heads_(index_of(num_layers, num_kv_heads, 0)) {}

void FullAttention::observe(int32_t layer, int32_t kv_head, const Token& /*token*/, std::span<const float> weights) {
  heads_[index_of(layer, num_kv_heads_, kv_head)].emplace_back(weights.begin(), weights.end());
}

const std::vector<std::vector<float>>& FullAttention::rows(int32_t layer, int32_t kv_head) const {
  return heads_.at(index_of(layer, num_kv_heads_, kv_head));
}

std::span<const float> FullAttention::row(int32_t layer, int32_t kv_head, int32_t position) const {
  return rows(layer, kv_head).at(static_cast<size_t>(position));
}

double FullAttention::lost(int32_t position, const std::vector<std::vector<int32_t>>& held) const {
  double lost = 0.0;
  for (size_t head = 0; head < heads_.size(); ++head) {
    const std::vector<float>& weights = heads_[head].at(static_cast<size_t>(position));
    double kept = weights.back();
    for (const int32_t p : held.at(head)) {
      if (p >= 0 && p < position) kept += weights[static_cast<size_t>(p)];
    }
    lost += std::max(0.0, 1.0 - kept);
  }
  return lost / static_cast<double>(heads_.size());
}

FutureAttention::FutureAttention(const FullAttention& attention, Need need) : num_kv_heads_(attention.num_kv_heads()) {
  for (int32_t layer = 0; layer < attention.num_layers(); ++layer) {
    for (int32_t head = 0; head < attention.num_kv_heads(); ++head) {
      auto& rows = heads_.emplace_back();
      for (int32_t t = 0; t < attention.num_tokens(); ++t) {
        const std::span<const float> row = attention.row(layer, head, t);
        rows.emplace_back(row.begin(), row.end());
      }
      for (size_t t = rows.size() - 1; t > 0; --t) {
        for (size_t p = 0; p < t; ++p) {
          rows[t - 1][p] = need == Need::sum ? rows[t - 1][p] + rows[t][p] : std::max(rows[t - 1][p], rows[t][p]);
        }
      }
    }
  }
}

float FutureAttention::needed(int32_t layer, int32_t kv_head, int32_t position, int32_t now) const {
  const auto& rows = heads_[index_of(layer, num_kv_heads_, kv_head)];
  // The last token of a sequence that has gone on beyond the record needs nothing.
  if (static_cast<size_t>(now) >= rows.size()) return 0.0F;
  return rows[static_cast<size_t>(now)][static_cast<size_t>(position)];
}

void Oracle::score(const Head& head, const Token& token, std::span<float> scores) {
  for (size_t slot = 0; slot < scores.size(); ++slot) {
    scores[slot] = -future_.needed(layer_, kv_head_, head.positions()[slot], token.position);
  }
}

}  // namespace hashevict::eval::baselines
