// SPDX-License-Identifier: Apache-2.0
#include "cpu/encode_head.hpp"

#include <algorithm>
#include <cstring>

#include "cpu/convert.hpp"
#include "cpu/encode_kernel.hpp"
#include "cpu/fetch.hpp"

namespace hashevict::cpu {
namespace {

/// Number of rows that encode_tokens() writes per token.
int32_t rows_per_token(const core::Head& head, bool with_queries) {
  return with_queries ? 1 + head.layer->shape.group_size : 1;
}

constexpr int64_t kFirstCodes = 2048;  ///< bytes; the scan fetches what follows

void fetch_row(const core::TensorView& x, int64_t token, int64_t head, int32_t dim) {
  if (x && x.stride[2] == 1) fetch_bytes(x.at(token, head), int64_t{dim} * size_of(x.dtype));
}

void load_token(const HeadTokens& tokens, int32_t index, bool with_queries, float* row) {
  const core::Step& step = *tokens.step;
  const core::Head& head = tokens.head;
  const int32_t dim = head.layer->shape.head_dim;
  const int64_t token = tokens.first + index;
  load_row(step.k.dtype, step.k.at(token, head.kv_head), step.k.stride[2], row, dim);
  const int32_t queries = rows_per_token(head, with_queries) - 1;
  const int64_t first_head = int64_t{head.kv_head} * queries;
  for (int32_t g = 0; g < queries; ++g) {
    row += dim;
    load_row(step.q.dtype, step.q.at(token, first_head + g), step.q.stride[2], row, dim);
  }
}

/// Subtracts each row's centre and returns the centred rows.
const float* center_rows(const core::Head& head, int32_t num_rows, int32_t per_token, const Scratch& scratch) {
  if (!head.layer->rule.centered()) return scratch.rows;
  const int32_t dim = head.layer->shape.head_dim;
  for (int32_t row = 0; row < num_rows; ++row) {
    const int32_t kind = row % per_token;
    const float* const center = kind == 0 ? head.key_centers : head.query_centers + int64_t{kind - 1} * dim;
    const float* const source = scratch.rows + int64_t{row} * dim;
    float* const target = scratch.centered + int64_t{row} * dim;
    for (int32_t e = 0; e < dim; ++e) target[e] = source[e] - center[e];
  }
  return scratch.centered;
}

}  // namespace

void fetch_step(const HeadTokens& tokens) {
  if (tokens.count == 0) return;
  const core::Step& step = *tokens.step;
  const core::Head& head = tokens.head;
  const core::RuleSettings& rule = head.layer->rule;
  const int32_t dim = head.layer->shape.head_dim;
  fetch_row(step.k, tokens.first, head.kv_head, dim);
  fetch_row(step.v, tokens.first, head.kv_head, dim);
  const int32_t queries = rows_per_token(head, rule.facts.needs_queries) - 1;
  for (int32_t g = 0; g < queries; ++g) fetch_row(step.q, tokens.first, int64_t{head.kv_head} * queries + g, dim);
  fetch_bytes(head.codes, std::min<int64_t>(kFirstCodes, int64_t{head.capacity} * rule.code_bytes));
}

void encode_tokens(const HeadTokens& tokens, int32_t first, int32_t count, bool with_queries, const Scratch& scratch) {
  const core::Head& head = tokens.head;
  const int32_t dim = head.layer->shape.head_dim;
  const int32_t per_token = rows_per_token(head, with_queries);
  const int32_t num_rows = count * per_token;
  for (int32_t i = 0; i < count; ++i) {
    load_token(tokens, first + i, with_queries, scratch.rows + int64_t{i} * per_token * dim);
  }
  encode_rows({.rows = center_rows(head, num_rows, per_token, scratch),
               .num_rows = num_rows,
               .projection = head.projection,
               .head_dim = dim,
               .hash_bits = head.layer->rule.hash_bits,
               .codes = scratch.codes});
}

core::Importance importance_of(const HeadTokens& tokens, int32_t index, const float* key) {
  const core::Head& head = tokens.head;
  const core::RuleSettings& rule = head.layer->rule;
  if (!rule.facts.needs_importance) return {};
  core::Importance importance{};
  const core::Step& step = *tokens.step;
  const int64_t token = tokens.first + index;
  if (rule.weighs_keys) {
    importance.value = weigh_key(head.importance_weights, key, head.layer->shape.head_dim);
  } else {
    std::memcpy(&importance.value, step.importance.at(token, head.kv_head), sizeof importance.value);
  }
  if (rule.importance_slopes) {
    std::memcpy(&importance.slope, step.importance_slope.at(token, head.kv_head), sizeof importance.slope);
  }
  return importance;
}

Token encoded_token(const core::Head& head, int32_t position, int32_t index, bool with_queries,
                    const Scratch& scratch) {
  const int64_t row = int64_t{index} * rows_per_token(head, with_queries);
  const int32_t bytes = head.layer->rule.code_bytes;
  const uint8_t* const codes = scratch.codes + row * bytes;
  return Token{.position = position,
               .key = scratch.rows + row * head.layer->shape.head_dim,
               .key_code = codes,
               .query_codes = with_queries ? codes + bytes : nullptr};
}

}  // namespace hashevict::cpu
