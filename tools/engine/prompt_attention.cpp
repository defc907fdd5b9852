// SPDX-License-Identifier: Apache-2.0
#include "prompt_attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "elementwise.hpp"
#include "matmul.hpp"

namespace hashevict::engine {
namespace {

constexpr std::int64_t kQueries = 48;  // of a block
constexpr std::int64_t kKeys = 256;    // of a block: a whole number of panels

std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

}  // namespace

struct PromptAttention::Prompt {
  const float* q;
  const float* k;
  const float* v;
  std::int64_t token_stride;
  std::int64_t num_tokens;
  float* out;
};

void PromptAttention::compute(const float* q, const float* k, const float* v, std::int64_t token_stride,
                              std::int64_t num_tokens, float* out, ThreadPool& threads) {
  const Prompt prompt{q, k, v, token_stride, num_tokens, out};
  key_capacity_ = round_up(num_tokens, kPanelWidth);
  value_width_ = round_up(shape_.head_dim, kPanelWidth);
  key_panels_.assign(static_cast<std::size_t>(shape_.num_kv_heads * key_capacity_ * shape_.head_dim), 0.0F);
  value_panels_.assign(static_cast<std::size_t>(shape_.num_kv_heads * num_tokens * value_width_), 0.0F);
  threads.parallel_for(shape_.num_kv_heads, [&](std::int64_t head) { pack(prompt, head); });
  // The last blocks see the most keys, so they go first.
  const std::int64_t num_blocks = round_up(num_tokens, kQueries) / kQueries;
  threads.parallel_for(num_blocks * shape_.num_qo_heads, [&](std::int64_t task) {
    attend(prompt, task % shape_.num_qo_heads, (num_blocks - 1 - task / shape_.num_qo_heads) * kQueries);
  });
}

void PromptAttention::pack(const Prompt& prompt, std::int64_t kv_head) {
  const std::int64_t d = shape_.head_dim;
  float* keys = key_panels_.data() + kv_head * key_capacity_ * d;
  float* values = value_panels_.data() + kv_head * prompt.num_tokens * value_width_;
  for (std::int64_t t = 0; t < prompt.num_tokens; ++t) {
    const float* k = prompt.k + t * prompt.token_stride + kv_head * d;
    const float* v = prompt.v + t * prompt.token_stride + kv_head * d;
    float* key = keys + t / kPanelWidth * kPanelWidth * d + t % kPanelWidth;
    for (std::int64_t i = 0; i < d; ++i) key[i * kPanelWidth] = k[i];
    for (std::int64_t i = 0; i < d; i += kPanelWidth) {
      std::copy_n(v + i, std::min(kPanelWidth, d - i), values + i * prompt.num_tokens + t * kPanelWidth);
    }
  }
}

void PromptAttention::attend(const Prompt& prompt, std::int64_t qo_head, std::int64_t first_query) const {
  const std::int64_t d = shape_.head_dim;
  const std::int64_t kv_head = qo_head * shape_.num_kv_heads / shape_.num_qo_heads;
  const std::int64_t rows = std::min(kQueries, prompt.num_tokens - first_query);
  const std::int64_t out_stride = shape_.num_qo_heads * d;
  const float* keys = key_panels_.data() + kv_head * key_capacity_ * d;
  const float* values = value_panels_.data() + kv_head * prompt.num_tokens * value_width_;
  float* out = prompt.out + first_query * out_stride + qo_head * d;
  const float factor = 1.0F / std::sqrt(static_cast<float>(d));
  float scores[kQueries * kKeys];
  SoftmaxState states[kQueries];
  std::fill_n(states, rows, SoftmaxState{-std::numeric_limits<float>::infinity(), 0});

  for (std::int64_t first_key = 0; first_key < first_query + rows; first_key += kKeys) {
    const std::int64_t num_keys = std::min(kKeys, first_query + rows - first_key);
    PanelProduct product{};
    product.panels = reinterpret_cast<const std::byte*>(keys + first_key * d);
    product.panel_stride = static_cast<std::size_t>(kPanelWidth * d) * sizeof(float);
    product.type = ElementType::f32;
    product.inputs = d;
    product.outputs = num_keys;
    product.x = prompt.q + first_query * prompt.token_stride + qo_head * d;
    product.x_stride = prompt.token_stride;
    product.y = scores;
    product.y_stride = kKeys;
    product.rows = rows;
    multiply_panels(product);
    for (std::int64_t r = 0; r < rows; ++r) {
      float* row = scores + r * kKeys;
      const std::int64_t seen = std::clamp(first_query + r + 1 - first_key, std::int64_t{0}, num_keys);
      if (seen > 0) {
        const float shrink = softmax_block(row, seen, factor, states[r]);
        if (first_key > 0) scale(shrink, d, out + r * out_stride);
      }
      std::fill(row + seen, row + num_keys, 0.0F);
    }
    product.panels = reinterpret_cast<const std::byte*>(values + first_key * kPanelWidth);
    product.panel_stride = static_cast<std::size_t>(kPanelWidth * prompt.num_tokens) * sizeof(float);
    product.inputs = num_keys;
    product.outputs = d;
    product.x = scores;
    product.x_stride = kKeys;
    product.y = out;
    product.y_stride = out_stride;
    product.accumulate = first_key > 0;
    multiply_panels(product);
  }
  for (std::int64_t r = 0; r < rows; ++r) scale(1.0F / states[r].sum, d, out + r * out_stride);
}

}  // namespace hashevict::engine
