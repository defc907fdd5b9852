// SPDX-License-Identifier: Apache-2.0
#include "head.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/elementwise.hpp"

namespace hashevict::lab::baselines {
namespace {

// `y[i] += factor * x[i]`
void add_scaled(float factor, const float* x, size_t size, float* y) {
  for (size_t i = 0; i < size; ++i) y[i] += factor * x[i];
}

}  // namespace

void Head::copy_key(size_t slot, float* key) const {
  for (size_t i = 0; i < width(); ++i) key[i] = keys_[i * max_slots_ + slot];
}

void Head::store(size_t slot, const Token& token) {
  float squares = 0.0F;
  for (size_t i = 0; i < width(); ++i) {
    keys_[i * max_slots_ + slot] = token.key[i];
    squares += token.key[i] * token.key[i];
  }
  std::copy_n(token.value, width(), &values_[slot * width()]);
  positions_[slot] = token.position;
  token_ids_[slot] = token.id;
  key_norms_[slot] = std::max(std::sqrt(squares), std::numeric_limits<float>::min());
  add_scaled(1.0F / key_norms_[slot], token.key, width(), unit_sum_.data());
}

void Head::append(const Token& token) {
  positions_.push_back(0);
  token_ids_.push_back(0);
  key_norms_.push_back(0.0F);
  store(length() - 1, token);
}

void Head::overwrite(size_t slot, const Token& token) {
  std::vector<float> old(width());
  copy_key(slot, old.data());
  add_scaled(-1.0F / key_norms_[slot], old.data(), width(), unit_sum_.data());
  store(slot, token);
}

void Head::keep(const std::vector<size_t>& slots) {
  Head kept(head_dim_, group_size_, max_slots_);
  std::vector<float> key(width());
  for (const size_t slot : slots) {
    copy_key(slot, key.data());
    kept.append({positions_[slot], token_ids_[slot], nullptr, key.data(), &values_[slot * width()]});
  }
  *this = std::move(kept);
}

void Head::multiply_keys(const float* x, int64_t rows, std::vector<float>& out) const {
  out.assign(static_cast<size_t>(rows) * length(), 0.0F);
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    for (size_t i = 0; i < width(); ++i) {
      add_scaled(x[row * width() + i], &keys_[i * max_slots_], length(), &out[row * length()]);
    }
  }
}

std::span<const float> Head::attend(const float* queries, float* out) {
  multiply_keys(queries, group_size_, logits_);
  weights_.assign(length(), 0.0F);
  const auto slots = static_cast<int64_t>(length());
  const float factor = 1.0F / std::sqrt(static_cast<float>(head_dim_));
  for (size_t g = 0; g < static_cast<size_t>(group_size_); ++g) {
    float* row = &logits_[g * length()];
    engine::SoftmaxState state{-std::numeric_limits<float>::infinity(), 0.0F};
    engine::softmax_block(row, slots, factor, state);
    engine::scale(1.0F / state.sum, slots, row);
    add_scaled(1.0F / static_cast<float>(group_size_), row, length(), weights_.data());
    if (out == nullptr) continue;
    std::fill_n(out + g * width(), width(), 0.0F);
    for (size_t slot = 0; slot < length(); ++slot) {
      add_scaled(row[slot], &values_[slot * width()], width(), out + g * width());
    }
  }
  return weights_;
}

}  // namespace hashevict::lab::baselines
