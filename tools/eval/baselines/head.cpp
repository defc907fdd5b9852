// SPDX-License-Identifier: Apache-2.0
#include "head.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/elementwise.hpp"
#include "engine/matmul.hpp"

namespace hashevict::eval::baselines {
namespace {

constexpr size_t kWidth = static_cast<size_t>(engine::kPanelWidth);

size_t round_up(size_t value) {
  return (value + kWidth - 1) / kWidth * kWidth;
}

engine::PanelProduct product_of(const float* panels, size_t panel_floats) {
  engine::PanelProduct product{};
  product.panels = reinterpret_cast<const std::byte*>(panels);
  product.panel_stride = panel_floats * sizeof(float);
  product.type = engine::ElementType::f32;
  return product;
}

}  // namespace

void Head::copy_key(size_t slot, float* key) const {
  const float* first = key_panels_.data() + slot / kWidth * kWidth * width() + slot % kWidth;
  for (size_t i = 0; i < width(); ++i) key[i] = first[i * kWidth];
}

// Grows by doubling. Key panels of old slots stay where they are; value panels move apart.
void Head::reserve(size_t slots) {
  if (slots <= capacity_) return;
  const size_t grown = std::max(round_up(slots), 2 * capacity_);
  key_panels_.resize(grown * width());
  std::vector<float> values(grown * round_up(width()));
  for (size_t panel = 0; panel < round_up(width()) / kWidth; ++panel) {
    std::copy_n(value_panels_.begin() + static_cast<std::ptrdiff_t>(panel * capacity_ * kWidth), capacity_ * kWidth,
                values.begin() + static_cast<std::ptrdiff_t>(panel * grown * kWidth));
  }
  value_panels_ = std::move(values);
  capacity_ = grown;
}

void Head::store(size_t slot, const Token& token) {
  float* key = key_panels_.data() + slot / kWidth * kWidth * width() + slot % kWidth;
  float squares = 0.0F;
  for (size_t i = 0; i < width(); ++i) {
    key[i * kWidth] = token.key[i];
    squares += token.key[i] * token.key[i];
    value_panels_[i / kWidth * kWidth * capacity_ + slot * kWidth + i % kWidth] = token.value[i];
  }
  positions_[slot] = token.position;
  token_ids_[slot] = token.id;
  key_norms_[slot] = std::max(std::sqrt(squares), std::numeric_limits<float>::min());
  for (size_t i = 0; i < width(); ++i) unit_sum_[i] += token.key[i] / key_norms_[slot];
}

void Head::append(const Token& token) {
  const size_t slot = length();
  reserve(slot + 1);
  positions_.push_back(0);
  token_ids_.push_back(0);
  key_norms_.push_back(0.0F);
  store(slot, token);
}

void Head::overwrite(size_t slot, const Token& token) {
  std::vector<float> old(width());
  copy_key(slot, old.data());
  for (size_t i = 0; i < width(); ++i) unit_sum_[i] -= old[i] / key_norms_[slot];
  store(slot, token);
}

void Head::keep(const std::vector<size_t>& slots) {
  Head kept(head_dim_, group_size_);
  kept.reserve(slots.size());
  std::vector<float> key(width()), value(width());
  for (const size_t slot : slots) {
    copy_key(slot, key.data());
    for (size_t i = 0; i < width(); ++i) {
      value[i] = value_panels_[i / kWidth * kWidth * capacity_ + slot * kWidth + i % kWidth];
    }
    kept.append({positions_[slot], token_ids_[slot], nullptr, key.data(), value.data()});
  }
  *this = std::move(kept);
}

void Head::multiply_keys(const float* x, int64_t rows, std::vector<float>& out) const {
  out.resize(static_cast<size_t>(rows) * length());
  engine::PanelProduct product = product_of(key_panels_.data(), kWidth * width());
  product.inputs = head_dim_;
  product.outputs = static_cast<int64_t>(length());
  product.x = x;
  product.x_stride = head_dim_;
  product.y = out.data();
  product.y_stride = product.outputs;
  product.rows = rows;
  engine::multiply_panels(product);
}

std::span<const float> Head::attend(const float* queries, float* out) {
  multiply_keys(queries, group_size_, logits_);
  weights_.assign(length(), 0.0F);
  const float factor = 1.0F / std::sqrt(static_cast<float>(head_dim_));
  for (int64_t g = 0; g < group_size_; ++g) {
    float* row = logits_.data() + static_cast<size_t>(g) * length();
    engine::SoftmaxState state{-std::numeric_limits<float>::infinity(), 0.0F};
    engine::softmax_block(row, static_cast<int64_t>(length()), factor, state);
    engine::scale(1.0F / state.sum, static_cast<int64_t>(length()), row);
    engine::add(row, static_cast<int64_t>(length()), weights_.data());
  }
  engine::scale(1.0F / static_cast<float>(group_size_), static_cast<int64_t>(length()), weights_.data());
  if (out != nullptr) {
    engine::PanelProduct product = product_of(value_panels_.data(), kWidth * capacity_);
    product.inputs = static_cast<int64_t>(length());
    product.outputs = head_dim_;
    product.x = logits_.data();
    product.x_stride = product.inputs;
    product.y = out;
    product.y_stride = head_dim_;
    product.rows = group_size_;
    engine::multiply_panels(product);
  }
  return weights_;
}

}  // namespace hashevict::eval::baselines
