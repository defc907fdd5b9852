// SPDX-License-Identifier: Apache-2.0
#include "key_scorers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hashevict::eval::baselines {
namespace {

float norm(const float* x, int64_t size) {
  float squares = 0.0F;
  for (int64_t i = 0; i < size; ++i) squares += x[i] * x[i];
  return std::max(std::sqrt(squares), std::numeric_limits<float>::min());
}

}  // namespace

void KeyDiff::score(const Head& head, const Token& /*token*/, std::span<float> scores) {
  head.multiply_keys(head.unit_key_sum().data(), 1, products_);
  for (size_t slot = 0; slot < scores.size(); ++slot) scores[slot] = products_[slot] / head.key_norms()[slot];
}

void ExactAngle::score(const Head& head, const Token& token, std::span<float> scores) {
  head.multiply_keys(token.queries, head.group_size(), products_);
  std::fill(scores.begin(), scores.end(), 0.0F);
  for (int64_t g = 0; g < head.group_size(); ++g) {
    const float query_norm = norm(token.queries + g * head.head_dim(), head.head_dim());
    const float* row = products_.data() + static_cast<size_t>(g) * head.length();
    for (size_t slot = 0; slot < scores.size(); ++slot) {
      const float cosine = row[slot] / (query_norm * head.key_norms()[slot]);
      scores[slot] += std::acos(std::clamp(cosine, -1.0F, 1.0F));
    }
  }
}

void ExactProduct::score(const Head& head, const Token& token, std::span<float> scores) {
  head.multiply_keys(token.queries, head.group_size(), products_);
  std::fill(scores.begin(), scores.end(), 0.0F);
  for (size_t i = 0; i < products_.size(); ++i) scores[i % head.length()] -= products_[i];
}

void ExactSuperseded::arrive(const Head& head, const Token& token) {
  if (head.length() == 0) return;
  head.multiply_keys(token.key, 1, products_);
  const float key_norm = norm(token.key, head.head_dim());
  for (size_t slot = 0; slot < head.length(); ++slot) {
    float& largest = largest_cosine_[head.positions()[slot]];
    largest = std::max(largest, 1.0F + products_[slot] / (key_norm * head.key_norms()[slot]));
  }
}

void ExactSuperseded::score(const Head& head, const Token& /*token*/, std::span<float> scores) {
  for (size_t slot = 0; slot < scores.size(); ++slot) scores[slot] = largest_cosine_.at(head.positions()[slot]);
}

}  // namespace hashevict::eval::baselines
