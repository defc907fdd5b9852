// SPDX-License-Identifier: Apache-2.0
#include "support/inputs.hpp"

#include <array>
#include <limits>

#include "support/element.hpp"

namespace hashevict::test {
namespace {

std::size_t width(int32_t heads, const Config& config) {
  return static_cast<std::size_t>(heads) * static_cast<std::size_t>(config.shape.head_dim);
}

/// Columns `[first, first + count)` of rows `[begin, end)`.
std::vector<float> window(const std::vector<float>& matrix, std::size_t columns, std::size_t begin, std::size_t end,
                          std::size_t first, std::size_t count) {
  std::vector<float> result;
  for (std::size_t i = begin; i < end; ++i) {
    for (std::size_t c = first; c < first + count; ++c) result.push_back(matrix[i * columns + c]);
  }
  return result;
}

}  // namespace

std::vector<float> Inputs::floats(std::size_t count, DType dtype) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = reference::round_to(storage_of(dtype), normal(engine_));
  return values;
}

std::vector<float> Inputs::vectors(std::size_t count, std::size_t heads, std::size_t dim, DType dtype,
                                   Flavour flavour) {
  const std::size_t row = heads * dim;
  std::vector<float> values = floats(count * row, dtype);
  if (flavour == Flavour::repeated) {
    // Drawn from a separate source, so that later chunks repeat the vectors of the first.
    const std::vector<float> distinct = Inputs{static_cast<uint32_t>(row)}.floats(3 * dim, dtype);
    for (std::size_t i = 0; i < count * heads; ++i) {
      const std::size_t pick = engine_() % 3;
      for (std::size_t e = 0; e < dim; ++e) values[i * dim + e] = distinct[pick * dim + e];
    }
  }
  if (flavour == Flavour::biased) {
    const std::vector<float> shared = Inputs{static_cast<uint32_t>(row)}.floats(row, dtype);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = reference::round_to(storage_of(dtype), values[i] + 4.0F * shared[i % row]);
    }
  }
  if (flavour == Flavour::special) {
    using Limits = std::numeric_limits<float>;
    const std::array<float, 6> specials{
        Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity(), -0.0F, 0.0F, 0x1p-133F};
    for (std::size_t i = 0; i < count * heads; ++i) {
      if (engine_() % 3 != 0) continue;  // a third of the vectors get one or all of their elements replaced
      const float special = reference::round_to(storage_of(dtype), specials[engine_() % specials.size()]);
      const bool all = engine_() % 4 == 0;
      const std::size_t chosen = engine_() % dim;
      for (std::size_t e = 0; e < dim; ++e) {
        if (all || e == chosen) values[i * dim + e] = special;
      }
    }
  }
  return values;
}

std::vector<float> Inputs::importances(std::size_t count, Flavour flavour) {
  using Limits = std::numeric_limits<float>;
  const std::array<float, 8> specials{
      Limits::max(), Limits::lowest(), Limits::denorm_min(), -Limits::denorm_min(), -0.0F, 0.0F, 1e30F, -1e30F};
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) {
    value = normal(importances_);
    if (flavour == Flavour::repeated) value = static_cast<float>(static_cast<int>(importances_() % 3) - 1);
    if (flavour == Flavour::special && importances_() % 3 == 0) value = specials[importances_() % specials.size()];
  }
  return values;
}

ImportanceWeights importance_weights(const Config& config, int32_t layer) {
  const std::size_t heads = static_cast<std::size_t>(config.shape.num_kv_heads);
  Inputs inputs{static_cast<uint32_t>(1000 + layer)};
  std::vector<float> bias;
  std::vector<float> weight;
  for (std::size_t h = 0; h < static_cast<std::size_t>(config.shape.kv_head_offset) + heads; ++h) {
    const std::vector<float> own = inputs.floats(width(1, config) + 1);  // by global head, so that shards agree
    if (h < static_cast<std::size_t>(config.shape.kv_head_offset)) continue;
    weight.insert(weight.end(), own.begin(), own.end() - 1);
    bias.push_back(own.back());
  }
  return {weight, bias};
}

Tokens Inputs::draw(const Config& config, std::size_t count, DType dtype, Flavour flavour) {
  const auto dim = static_cast<std::size_t>(config.shape.head_dim);
  Tokens tokens;
  tokens.count = count;
  for (std::size_t i = 0; i < count; ++i) {  // token by token, so that a longer draw starts like a shorter one
    const auto q = vectors(1, static_cast<std::size_t>(config.shape.num_qo_heads), dim, dtype, flavour);
    const auto k = vectors(1, static_cast<std::size_t>(config.shape.num_kv_heads), dim, dtype, flavour);
    const auto v = vectors(1, static_cast<std::size_t>(config.shape.num_kv_heads), dim, dtype, Flavour::normal);
    const auto heads = static_cast<std::size_t>(config.shape.num_kv_heads);
    for (const float a : importances(heads, flavour)) tokens.importance.push_back(a);
    for (const float b : importances(heads, flavour)) tokens.importance_slope.push_back(b);
    tokens.q.insert(tokens.q.end(), q.begin(), q.end());
    tokens.k.insert(tokens.k.end(), k.begin(), k.end());
    tokens.v.insert(tokens.v.end(), v.begin(), v.end());
  }
  return tokens;
}

Tokens slice(const Config& config, const Tokens& tokens, std::size_t begin, std::size_t count) {
  const std::size_t qo = width(config.shape.num_qo_heads, config);
  const std::size_t kv = width(config.shape.num_kv_heads, config);
  const std::size_t end = begin + count;
  const auto heads = static_cast<std::size_t>(config.shape.num_kv_heads);
  return {count,
          window(tokens.q, qo, begin, end, 0, qo),
          window(tokens.k, kv, begin, end, 0, kv),
          window(tokens.v, kv, begin, end, 0, kv),
          window(tokens.importance, heads, begin, end, 0, heads),
          window(tokens.importance_slope, heads, begin, end, 0, heads)};
}

Tokens shard(const Config& config, const Tokens& tokens, std::size_t first, std::size_t count) {
  const std::size_t qo = width(config.shape.num_qo_heads, config);
  const std::size_t kv = width(config.shape.num_kv_heads, config);
  const std::size_t group = qo / kv;
  const auto dim = static_cast<std::size_t>(config.shape.head_dim);
  const std::size_t n = tokens.count;
  const auto heads = static_cast<std::size_t>(config.shape.num_kv_heads);
  return {n,
          window(tokens.q, qo, 0, n, first * group * dim, count * group * dim),
          window(tokens.k, kv, 0, n, first * dim, count * dim),
          window(tokens.v, kv, 0, n, first * dim, count * dim),
          window(tokens.importance, heads, 0, n, first, count),
          window(tokens.importance_slope, heads, 0, n, first, count)};
}

}  // namespace hashevict::test
