// SPDX-License-Identifier: Apache-2.0
#include "cpu/attend_head.hpp"

#include <algorithm>
#include <cstring>

#include "cpu/attend_kernel.hpp"
#include "cpu/convert.hpp"

namespace hashevict::cpu {
namespace {

int32_t num_queries(const AttendItem& item) {
  return item.num_tokens * item.head.settings().group_size;
}

}  // namespace

void load_queries(const AttendItem& item, const core::Step& step, const Scratch& scratch) {
  const int32_t dim = item.head.config().head_dim;
  const int32_t group = item.head.settings().group_size;
  for (int32_t i = 0; i < num_queries(item); ++i) {
    const int64_t query_head = int64_t{item.head.kv_head} * group + i % group;
    load_row(step.q.dtype, step.q.at(item.first_token + i / group, query_head), step.q.stride[2],
             scratch.attend_queries + int64_t{i} * dim, dim);
    scratch.attend_positions[i] = item.first_position + i / group;
  }
}

void attend_item_split(const AttendItem& item, const core::Step& step, int32_t split, float* partials,
                       const Scratch& scratch) {
  const Head& head = item.head;
  const int32_t dim = head.config().head_dim;
  const int32_t first_slot = split * kSplitSlots;
  const AttendSplit args{
      .queries = scratch.attend_queries,
      .num_queries = num_queries(item),
      .head_dim = dim,
      .dtype = head.settings().dtype,
      .keys = head.keys,
      .values = head.values,
      .slots = head.address,
      .first_slot = first_slot,
      .last_slot = std::min(item.length, first_slot + kSplitSlots),
      .positions = item.masked ? head.positions : nullptr,
      .query_positions = item.masked ? scratch.attend_positions : nullptr,
      .softmax_scale = step.softmax_scale,
      .logit_soft_cap = step.logit_soft_cap,
      .partial = partials + split * partial_floats(num_queries(item), dim),
  };
  attend_split(args, scratch.attend_kernel);
}

void finish_item(const AttendItem& item, const core::Step& step, const float* partials, const Scratch& scratch) {
  const int32_t dim = item.head.config().head_dim;
  const int32_t group = item.head.settings().group_size;
  combine_splits(partials, num_splits(item.length), num_queries(item), dim, scratch.attend_out, scratch.attend_lse);
  for (int32_t i = 0; i < num_queries(item); ++i) {
    const int64_t token = item.first_token + i / group;
    const int64_t query_head = int64_t{item.head.kv_head} * group + i % group;
    store_row(step.out.dtype, scratch.attend_out + int64_t{i} * dim, step.out.at(token, query_head), step.out.stride[2],
              dim);
    if (step.lse) std::memcpy(step.lse.at(token, query_head), scratch.attend_lse + i, sizeof(float));
  }
}

void attend_item(const AttendItem& item, const core::Step& step, float* partials, const Scratch& scratch) {
  load_queries(item, step, scratch);
  for (int32_t split = 0; split < num_splits(item.length); ++split) {
    attend_item_split(item, step, split, partials, scratch);
  }
  finish_item(item, step, partials, scratch);
}

}  // namespace hashevict::cpu
