// SPDX-License-Identifier: Apache-2.0
#include "cpu/attend_head.hpp"

#include <algorithm>
#include <cstring>

#include "cpu/attend_combine.hpp"
#include "cpu/attend_kernel.hpp"
#include "cpu/convert.hpp"

namespace hashevict::cpu {
namespace {

int32_t group_of(const AttendItem& item) {
  return item.tokens.head.layer->shape.group_size;
}

/// From so many queries of a group on, products of bf16 are faster. Fewer wait for memory anyway, and then dots that
/// are much faster than the weighted sums leave less time to the prefetches among them.
constexpr int32_t kBfloatGroup = 3;

int32_t num_queries(const AttendItem& item) {
  return item.tokens.count * group_of(item);
}

/// A query's place in the batch.
struct QueryPlace {
  int64_t token;
  int64_t query_head;
};

QueryPlace place_of(const AttendItem& item, int32_t query) {
  const int32_t group = group_of(item);
  return {item.tokens.first + query / group, int64_t{item.tokens.head.kv_head} * group + query % group};
}

}  // namespace

void load_queries(const AttendItem& item, const Scratch& scratch) {
  const core::TensorView& q = item.tokens.step->q;
  const int32_t dim = item.tokens.head.layer->shape.head_dim;
  for (int32_t i = 0; i < num_queries(item); ++i) {
    const QueryPlace at = place_of(item, i);
    load_row(q.dtype, q.at(at.token, at.query_head), q.stride[2], scratch.attend_queries + int64_t{i} * dim, dim);
    scratch.attend_positions[i] = item.tokens.position + i / group_of(item);
  }
}

void attend_item_split(const AttendItem& item, int32_t split, float* partials, const Scratch& scratch) {
  const core::Head& head = item.tokens.head;
  const core::Layer& layer = *head.layer;
  const int32_t first_slot = split * kSplitSlots;
  const AttendSplit args{
      .queries = scratch.attend_queries,
      .num_queries = num_queries(item),
      .multiply_bfloat = item.tokens.step->q.dtype == core::DType::bfloat16 && group_of(item) >= kBfloatGroup,
      .format = layer.shape.format,
      .keys = layer.keys,
      .values = layer.values,
      .slots = head.address,
      .first_slot = first_slot,
      .last_slot = std::min(item.length, first_slot + kSplitSlots),
      .positions = item.masked ? head.positions : nullptr,
      .query_positions = item.masked ? scratch.attend_positions : nullptr,
      .softmax_scale = item.tokens.step->softmax_scale,
      .logit_soft_cap = item.tokens.step->logit_soft_cap,
      .partial = partials + split * partial_floats(num_queries(item), layer.shape.head_dim),
  };
  attend_split(args, scratch.attend_kernel);
}

void finish_item(const AttendItem& item, const float* partials, const Scratch& scratch) {
  const core::TensorView& out = item.tokens.step->out;
  const core::TensorView& lse = item.tokens.step->lse;
  const int32_t dim = item.tokens.head.layer->shape.head_dim;
  combine_splits(partials, num_splits(item.length), num_queries(item), dim, scratch.attend_out, scratch.attend_lse);
  for (int32_t i = 0; i < num_queries(item); ++i) {
    const QueryPlace at = place_of(item, i);
    const float* const row = scratch.attend_out + int64_t{i} * dim;
    store_row(out.dtype, row, out.at(at.token, at.query_head), out.stride[2], dim);
    if (lse) std::memcpy(lse.at(at.token, at.query_head), scratch.attend_lse + i, sizeof(float));
  }
}

void attend_item(const AttendItem& item, float* partials, const Scratch& scratch) {
  load_queries(item, scratch);
  for (int32_t split = 0; split < num_splits(item.length); ++split) attend_item_split(item, split, partials, scratch);
  finish_item(item, partials, scratch);
}

}  // namespace hashevict::cpu
