// SPDX-License-Identifier: Apache-2.0
#include "cpu/prefill_head.hpp"

#include <algorithm>

#include "cpu/convert.hpp"
#include "cpu/head.hpp"

namespace hashevict::cpu {
namespace {

/// Mean over the prompt of one head of a tensor. The order of the sum is defined: fp32 within blocks of 256 tokens,
/// then over the blocks. So devices can sum blocks side by side and get the same bits.
void mean_of(const core::TensorView& x, const HeadTokens& prompt, int64_t tensor_head, const Scratch& scratch,
             float* mean) {
  constexpr int32_t kBlockTokens = 256;
  const int32_t dim = prompt.head.layer->shape.head_dim;
  float* const block_sum = scratch.vector;
  float* const row = scratch.rows;
  std::fill_n(mean, dim, 0.0F);
  for (int32_t first = 0; first < prompt.count; first += kBlockTokens) {
    std::fill_n(block_sum, dim, 0.0F);
    for (int32_t i = first; i < std::min(first + kBlockTokens, prompt.count); ++i) {
      load_row(x.dtype, x.at(prompt.first + i, tensor_head), x.stride[2], row, dim);
      for (int32_t e = 0; e < dim; ++e) block_sum[e] += row[e];
    }
    for (int32_t e = 0; e < dim; ++e) mean[e] += block_sum[e];
  }
  for (int32_t e = 0; e < dim; ++e) mean[e] /= static_cast<float>(prompt.count);
}

}  // namespace

void set_centers(const HeadTokens& prompt, const Scratch& scratch) {
  const Head& head = prompt.head;
  mean_of(prompt.step->k, prompt, head.kv_head, scratch, head.key_centers);
  if (!prompt.step->q) return;
  const int32_t group = head.layer->shape.group_size;
  for (int32_t g = 0; g < group; ++g) {
    mean_of(prompt.step->q, prompt, int64_t{head.kv_head} * group + g, scratch,
            head.query_centers + int64_t{g} * head.layer->shape.head_dim);
  }
}

void replay(const HeadTokens& prompt, Choice choice, const Scratch& scratch, int32_t* taken) {
  place_tokens(prompt, choice, scratch, [&](int32_t index, const TakenSlot& own) {
    taken[index] = own.slot;
    // RECENT reports where the survivors end up; its steps are no decisions of the rule.
    report(prompt, index, choice == Choice::rule ? own : TakenSlot{kNone, kNone});
  });
}

void store_survivors(const HeadTokens& prompt, Choice choice, const Scratch& scratch, const int32_t* taken) {
  const Head& head = prompt.head;
  const int32_t capacity = head.capacity;
  std::fill_n(scratch.sources, capacity, kNone);
  for (int32_t index = 0; index < prompt.count; ++index) scratch.sources[taken[index]] = index;
  const int32_t length = std::min(prompt.end_position(), capacity);
  for (int32_t slot = 0; slot < length; ++slot) {
    const int32_t index = scratch.sources[slot];
    if (index == kNone) continue;
    store_rows(head, *prompt.step, prompt.first + index, slot, scratch);
    if (choice == Choice::oldest) report(prompt, index, {slot, kNone});
  }
}

}  // namespace hashevict::cpu
