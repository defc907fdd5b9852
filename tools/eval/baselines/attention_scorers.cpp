// SPDX-License-Identifier: Apache-2.0
#include "attention_scorers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string_view>

namespace hashevict::eval::baselines {
namespace {

void add_weights(const Head& head, std::span<const float> weights, ByPosition& sums) {
  for (size_t slot = 0; slot < weights.size(); ++slot) sums[head.positions()[slot]] += weights[slot];
}

void score_smallest(const Head& head, const ByPosition& values, std::span<float> scores) {
  for (size_t slot = 0; slot < scores.size(); ++slot) scores[slot] = -values.at(head.positions()[slot]);
}

}  // namespace

void H2o::attended(const Head& head, const Token& /*token*/, std::span<const float> weights) {
  add_weights(head, weights, sums_);
}

void H2o::score(const Head& head, const Token& /*token*/, std::span<float> scores) {
  score_smallest(head, sums_, scores);
}

void Scissorhands::attended(const Head& head, const Token& /*token*/, std::span<const float> weights) {
  std::vector<int32_t>& low = history_.emplace_back();
  const float average = 1.0F / static_cast<float>(weights.size());
  for (size_t slot = 0; slot < weights.size(); ++slot) {
    if (weights[slot] < average) low.push_back(head.positions()[slot]);
  }
  for (const int32_t position : low) counts_[position] += 1.0F;
  if (history_.size() <= kHistory) return;
  for (const int32_t position : history_.front()) counts_[position] -= 1.0F;
  history_.pop_front();
}

void Scissorhands::score(const Head& head, const Token& /*token*/, std::span<float> scores) {
  for (size_t slot = 0; slot < scores.size(); ++slot) scores[slot] = counts_.at(head.positions()[slot]);
}

void Tova::attended(const Head& head, const Token& /*token*/, std::span<const float> weights) {
  for (size_t slot = 0; slot < weights.size(); ++slot) last_[head.positions()[slot]] = weights[slot];
}

void Tova::score(const Head& head, const Token& /*token*/, std::span<float> scores) {
  score_smallest(head, last_, scores);
}

void RecentAttention::add(const Head& head, std::span<const float> weights) {
  auto& row = rows_.emplace_back();
  for (size_t slot = 0; slot < weights.size(); ++slot) row.emplace_back(head.positions()[slot], weights[slot]);
  for (const auto& [position, weight] : row) sums_[position] += weight;
  if (rows_.size() <= num_queries_) return;
  for (const auto& [position, weight] : rows_.front()) sums_[position] -= weight;
  rows_.pop_front();
}

float RecentAttention::mean_around(int32_t position) const {
  float sum = 0.0F;
  for (int32_t p = position - kReach; p <= position + kReach; ++p) sum += sums_.at(p);
  return sum / (2 * kReach + 1);
}

float RecentAttention::largest_around(int32_t position) const {
  float largest = 0.0F;
  for (int32_t p = position - kReach; p <= position + kReach; ++p) largest = std::max(largest, sums_.at(p));
  return largest;
}

void SnapKv::attended(const Head& head, const Token& /*token*/, std::span<const float> weights) {
  votes_.add(head, weights);
}

void SnapKv::score(const Head& head, const Token& /*token*/, std::span<float> scores) {
  for (size_t slot = 0; slot < scores.size(); ++slot) scores[slot] = -votes_.mean_around(head.positions()[slot]);
}

void FastGen::attended(const Head& head, const Token& /*token*/, std::span<const float> weights) {
  add_weights(head, weights, sums_);
}

void FastGen::rank(const Hybrid& hybrid, const Head& head, const Token& token, std::span<float> scores) const {
  constexpr std::string_view kPunctuation = ".,;:!?()[]{}<>\"'`-/\\|&*#=+\n";
  const auto newest = static_cast<float>(token.position + 1);
  for (size_t slot = 0; slot < scores.size(); ++slot) {
    const int32_t position = head.positions()[slot];
    const int32_t id = head.token_ids()[slot];
    const bool is_punctuation = id < 128 && kPunctuation.find(static_cast<char>(id)) != std::string_view::npos;
    // At most the number of queries, so that no sum reaches a class of its own.
    const float order = (hybrid.frequent ? sums_.at(position) : static_cast<float>(position)) / newest;
    float value = order;
    if (id >= 256 || position == 0) value += 4.0F;
    if (hybrid.punctuation && is_punctuation) value += 2.0F;
    scores[slot] = -value;
  }
}

// Share of the attention so far that would have been kept.
double FastGen::recovered(const Head& head, std::span<const float> scores) const {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  // The cache is just full here unless a prompt is compressed; half of it stands for what a longer text will leave.
  const size_t room = order.size() > capacity_ ? capacity_ : capacity_ / 2;
  double kept = 0.0;
  double all = 0.0;
  for (size_t i = 0; i < order.size(); ++i) {
    const double sum = sums_.at(head.positions()[order[i]]);
    all += sum;
    if (i < room) kept += sum;
  }
  return kept / all;
}

void FastGen::choose(const Head& head, const Token& token) {
  std::vector<float> scores(head.length());
  double most = -1.0;
  for (const Hybrid& hybrid : kHybrids) {
    rank(hybrid, head, token, scores);
    const double share = recovered(head, scores);
    if (share > most) chosen_ = &hybrid;
    most = std::max(most, share);
    if (share >= kRecovered) return;
  }
}

void FastGen::score(const Head& head, const Token& token, std::span<float> scores) {
  if (chosen_ == nullptr) choose(head, token);
  rank(*chosen_, head, token, scores);
}

void RKv::attended(const Head& head, const Token& /*token*/, std::span<const float> weights) {
  importance_.add(head, weights);
}

void RKv::rescore(const Head& head) {
  const auto length = head.length();
  const auto d = static_cast<size_t>(head.head_dim());
  std::vector<float> redundancy(length), cosines;
  std::vector<float> key(d);
  std::vector<size_t> by_age(length);
  std::iota(by_age.begin(), by_age.end(), size_t{0});
  std::sort(by_age.begin(), by_age.end(),
            [&](size_t a, size_t b) { return head.positions()[a] > head.positions()[b]; });
  const auto num_spared = static_cast<size_t>(kSpared * static_cast<double>(length));
  for (size_t row = 0; row < length; ++row) {
    head.copy_key(row, key.data());
    head.multiply_keys(key.data(), 1, cosines);
    size_t spared = 0;
    for (const size_t slot : by_age) {
      const float cosine = cosines[slot] / (head.key_norms()[row] * head.key_norms()[slot]);
      if (slot == row || (cosine > kSimilar && spared++ < num_spared)) continue;
      redundancy[slot] += cosine / static_cast<float>(length);
    }
  }
  float sum = 0.0F;
  for (float& value : redundancy) sum += value = std::exp(value);
  for (size_t slot = 0; slot < length; ++slot) {
    const int32_t position = head.positions()[slot];
    const float importance = importance_.largest_around(position) / static_cast<float>(kWindow);
    scores_[position] = (1.0F - kImportance) * redundancy[slot] / sum - kImportance * importance;
  }
}

void RKv::score(const Head& head, const Token& token, std::span<float> scores) {
  if (token.position >= next_) {
    rescore(head);
    scored_until_ = 1 + *std::max_element(head.positions().begin(), head.positions().end());
    next_ = token.position + std::max(1, period_);
  }
  for (size_t slot = 0; slot < scores.size(); ++slot) {
    const int32_t position = head.positions()[slot];
    scores[slot] = position < scored_until_ ? scores_.at(position) : -std::numeric_limits<float>::infinity();
  }
}

}  // namespace hashevict::eval::baselines
