// SPDX-License-Identifier: Apache-2.0
#include "cpu/prefill_head.hpp"

#include "cpu/convert.hpp"

namespace hashevict::cpu {
namespace {

/// Mean over the prompt of one head of a tensor. The order of the sum is defined: fp32 within blocks of 256 tokens,
/// then over the blocks, so that devices can work on blocks side by side and still agree.
void mean_of(const core::TensorView& x, const Prompt& prompt, int64_t tensor_head, const Scratch& scratch,
             float* mean) {
  constexpr int32_t kBlockTokens = 256;
  const int32_t dim = prompt.head.config().head_dim;
  float* const block_sum = scratch.vector;
  float* const row = scratch.rows;
  std::fill_n(mean, dim, 0.0F);
  for (int32_t first = 0; first < prompt.num_tokens; first += kBlockTokens) {
    std::fill_n(block_sum, dim, 0.0F);
    for (int32_t i = first; i < std::min(first + kBlockTokens, prompt.num_tokens); ++i) {
      load_row(x.dtype, x.at(prompt.first_token + i, tensor_head), x.stride[2], row, dim);
      for (int32_t e = 0; e < dim; ++e) block_sum[e] += row[e];
    }
    for (int32_t e = 0; e < dim; ++e) mean[e] += block_sum[e];
  }
  for (int32_t e = 0; e < dim; ++e) mean[e] /= static_cast<float>(prompt.num_tokens);
}

}  // namespace

void set_centers(const Prompt& prompt, const Scratch& scratch) {
  const Head& head = prompt.head;
  mean_of(prompt.step->k, prompt, head.kv_head, scratch, head.key_center);
  if (!prompt.step->q) return;
  const int32_t group = head.settings().group_size;
  for (int32_t g = 0; g < group; ++g) {
    mean_of(prompt.step->q, prompt, int64_t{head.kv_head} * group + g, scratch,
            head.query_centers + int64_t{g} * head.config().head_dim);
  }
}

void replay(const Prompt& prompt, Choice choice, const Scratch& scratch) {
  const Head& head = prompt.head;
  const core::Step& step = *prompt.step;
  const bool with_queries = head.settings().uses_queries();
  std::fill_n(scratch.sources, head.shape->capacity, -1);
  for (int32_t first = 0; first < prompt.num_tokens; first += kEncodeTokens) {
    const int32_t count = std::min(kEncodeTokens, prompt.num_tokens - first);
    encode_tokens(head, step, prompt.first_token + first, count, with_queries, scratch);
    for (int32_t i = 0; i < count; ++i) {
      const Token token = encoded_token(head, prompt.before + first + i, i, with_queries, scratch);
      const Placement placement = place_token(head, token, scratch, choice);
      scratch.sources[placement.slot] = first + i;
      report(step, prompt.first_token + first + i, head.kv_head,
             choice == Choice::rule ? placement : Placement{-1, -1});
    }
  }
  const int32_t length = std::min(prompt.total(), head.shape->capacity);
  for (int32_t slot = 0; slot < length; ++slot) {
    if (scratch.sources[slot] < 0) continue;
    const int64_t token = prompt.first_token + scratch.sources[slot];
    store_rows(head, step, token, slot, scratch);
    if (choice == Choice::oldest) report(step, token, head.kv_head, {slot, -1});
  }
}

}  // namespace hashevict::cpu
