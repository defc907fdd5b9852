// SPDX-License-Identifier: Apache-2.0
#include "scorers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string_view>
#include <utility>

namespace hashevict::lab::baselines {
namespace {

// FastGen adds this to the rank of tokens that always stay.
constexpr float kOfItsOwn = 2.0F;

void add_weights(const Head& head, std::span<const float> weights, ByPosition& sums) {
  for (size_t slot = 0; slot < weights.size(); ++slot) sums[head.positions()[slot]] += weights[slot];
}

void score_smallest(const Head& head, const ByPosition& values, std::span<float> scores) {
  for (size_t slot = 0; slot < scores.size(); ++slot) scores[slot] = -values.at(head.positions()[slot]);
}

// Returns the slots of tokens before a position, in order of position.
std::vector<size_t> slots_before(const Head& head, int32_t position) {
  std::vector<size_t> slots;
  for (size_t slot = 0; slot < head.length(); ++slot) {
    if (head.positions()[slot] < position) slots.push_back(slot);
  }
  std::sort(slots.begin(), slots.end(), [&](size_t a, size_t b) { return head.positions()[a] < head.positions()[b]; });
  return slots;
}

// Replaces each value by the largest of itself and three neighbours on each side.
std::vector<float> max_pool(std::span<const float> values) {
  constexpr size_t kReach = 3;
  std::vector<float> pooled(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t first = i - std::min(i, kReach);
    const auto around = values.subspan(first, std::min(i + kReach + 1, values.size()) - first);
    pooled[i] = *std::max_element(around.begin(), around.end());
  }
  return pooled;
}

void softmax(std::span<float> values) {
  if (values.empty()) return;
  const float largest = *std::max_element(values.begin(), values.end());
  float sum = 0.0F;
  for (float& value : values) sum += value = std::exp(value - largest);
  for (float& value : values) value /= sum;
}

// Mean cosine of each of these slots' keys, in order of position, to the others; of those that resemble a key, the most
// recent is left out.
std::vector<float> mean_cosines(const Head& head, std::span<const size_t> slots) {
  constexpr float kSimilar = 0.5F;
  std::vector<float> means(slots.size()), products, key(static_cast<size_t>(head.head_dim()));
  for (const size_t row : slots) {
    head.copy_key(row, key.data());
    head.multiply_keys(key.data(), 1, products);
    bool spared = false;
    for (size_t i = slots.size(); i-- > 0;) {
      if (slots[i] == row) continue;
      const float cosine = products[slots[i]] / (head.key_norms()[row] * head.key_norms()[slots[i]]);
      const bool spare = !spared && cosine > kSimilar;
      spared = spared || spare;
      if (!spare) means[i] += cosine / static_cast<float>(slots.size());
    }
  }
  return means;
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

void Tova::attended(const Head& head, const Token& token, std::span<const float> weights) {
  if (token.position != newest_) {
    newest_ = token.position;
    sums_ = std::exchange(newest_sums_, {});
  }
  add_weights(head, weights, newest_sums_);
}

// Another head of the layer may have reported this token's attention already.
void Tova::score(const Head& head, const Token& token, std::span<float> scores) {
  score_smallest(head, token.position == newest_ ? sums_ : newest_sums_, scores);
}

void SnapKv::attended(const Head& head, const Token& /*token*/, std::span<const float> weights) {
  auto& row = rows_.emplace_back();
  for (size_t slot = 0; slot < weights.size(); ++slot) row.emplace_back(head.positions()[slot], weights[slot]);
  for (const auto& [position, weight] : row) votes_[position] += weight;
  if (rows_.size() <= kWindow) return;
  for (const auto& [position, weight] : rows_.front()) votes_[position] -= weight;
  rows_.pop_front();
}

void SnapKv::score(const Head& head, const Token& token, std::span<float> scores) {
  const std::vector<size_t> slots = slots_before(head, token.position - kWindow);
  std::vector<float> votes(slots.size());
  for (size_t i = 0; i < slots.size(); ++i) votes[i] = votes_.at(head.positions()[slots[i]]);
  const std::vector<float> pooled = max_pool(votes);
  std::fill(scores.begin(), scores.end(), -std::numeric_limits<float>::infinity());
  for (size_t i = 0; i < slots.size(); ++i) scores[slots[i]] = -pooled[i];
}

void FastGen::attended(const Head& head, const Token& token, std::span<const float> weights) {
  add_weights(head, weights, sums_);
  if (chosen_ == nullptr) rows_.push_back({token.position, {weights.begin(), weights.end()}});
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
    if (id >= 256 || position == 0) value += 2 * kOfItsOwn;
    if (hybrid.punctuation && is_punctuation) value += kOfItsOwn;
    scores[slot] = -value;
  }
}

// Share of the attention so far that would have been kept: each query's on what is near it and on what always stays.
double FastGen::recovered(const Hybrid& hybrid, std::span<const float> scores) const {
  // The cache is just full here unless a prompt is compressed; half of it stands for what a longer text will leave.
  const size_t room = scores.size() > capacity_ ? capacity_ : capacity_ / 2;
  const auto local = static_cast<size_t>(kLocal * static_cast<double>(room));
  const auto marked =
      static_cast<size_t>(std::count_if(scores.begin(), scores.end(), [](float score) { return score <= -kOfItsOwn; }));
  const size_t num_fixed = hybrid.frequent ? room - local : std::min(marked, room - local);
  const auto window = static_cast<int32_t>(room - num_fixed);
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  std::vector<bool> fixed(scores.size());
  for (size_t i = 0; i < num_fixed; ++i) fixed[order[i]] = true;
  double kept = 0.0;
  for (const Row& row : rows_) {
    for (size_t p = 0; p < row.weights.size(); ++p) {
      if (fixed[p] || row.position - static_cast<int32_t>(p) < window) kept += row.weights[p];
    }
  }
  return kept / static_cast<double>(rows_.size());
}

void FastGen::choose(const Head& head, const Token& token) {
  std::vector<float> scores(head.length());
  double most = -1.0;
  for (const Hybrid& hybrid : kHybrids) {
    rank(hybrid, head, token, scores);
    const double share = recovered(hybrid, scores);
    if (share > most) chosen_ = &hybrid;
    most = std::max(most, share);
    if (share >= kRecovered) break;
  }
  rows_ = {};
}

void FastGen::score(const Head& head, const Token& token, std::span<float> scores) {
  if (chosen_ == nullptr) choose(head, token);
  rank(*chosen_, head, token, scores);
}

void RKv::attended(const Head& head, const Token& token, std::span<const float> /*weights*/) {
  queries_.emplace_back(token.queries, token.queries + head.group_size() * head.head_dim());
  if (queries_.size() > kWindow) queries_.pop_front();
}

std::vector<float> RKv::importance(const Head& head, std::span<const size_t> slots) const {
  const float factor = 1.0F / std::sqrt(static_cast<float>(head.head_dim()));
  std::vector<float> importance(slots.size()), row(slots.size()), products;
  for (const std::vector<float>& queries : queries_) {
    head.multiply_keys(queries.data(), head.group_size(), products);
    for (size_t i = 0; i < slots.size(); ++i) {
      float largest = products[slots[i]];
      for (size_t at = slots[i]; at < products.size(); at += head.length()) largest = std::max(largest, products[at]);
      row[i] = factor * largest;
    }
    softmax(row);
    const std::vector<float> pooled = max_pool(row);
    for (size_t i = 0; i < slots.size(); ++i) importance[i] += pooled[i] / static_cast<float>(queries_.size());
  }
  return importance;
}

void RKv::rescore(const Head& head) {
  constexpr float kLambda = 0.1F;
  const std::vector<size_t> slots = slots_before(head, scored_until_);
  const std::vector<float> important = importance(head, slots);
  std::vector<float> redundant = mean_cosines(head, slots);
  softmax(redundant);
  for (size_t i = 0; i < slots.size(); ++i) {
    scores_[head.positions()[slots[i]]] = (1.0F - kLambda) * redundant[i] - kLambda * important[i];
  }
}

void RKv::score(const Head& head, const Token& token, std::span<float> scores) {
  if (token.position >= next_) {
    scored_until_ = token.position - kWindow;
    next_ = token.position + std::max(1, period_);
    rescore(head);
  }
  for (size_t slot = 0; slot < scores.size(); ++slot) {
    const int32_t position = head.positions()[slot];
    scores[slot] = position < scored_until_ ? scores_.at(position) : -std::numeric_limits<float>::infinity();
  }
}

void KeyNorm::score(const Head& head, const Token& /*token*/, std::span<float> scores) {
  std::copy_n(head.key_norms().begin(), scores.size(), scores.begin());
}

void KeyDiff::score(const Head& head, const Token& /*token*/, std::span<float> scores) {
  head.multiply_keys(head.unit_key_sum().data(), 1, products_);
  for (size_t slot = 0; slot < scores.size(); ++slot) scores[slot] = products_[slot] / head.key_norms()[slot];
}

}  // namespace hashevict::lab::baselines
