// SPDX-License-Identifier: Apache-2.0
#include "kernels/prefill.cuh"

#include <algorithm>

#include "kernels/detail/clocks.cuh"
#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {
namespace {

/// Codes of the batch's keys or queries.
const char* encode_all(const PrefillParams& p, const Vectors& x, bool queries, const Queue& queue) {
  const Layer& layer = p.evict.layer;
  const int32_t bytes = layer.rule.hash_bits / 8;
  const int32_t group = queries ? layer.shape.group_size : 1;
  const int32_t heads = layer.shape.num_kv_heads * group;
  const EncodeParams params{.x = x,
                            .center = queries ? layer.state.query_centers : layer.state.key_centers,
                            .projection = layer.state.projection,
                            .codes = queries ? p.query_codes : p.key_codes,
                            .codes_stride = {int64_t{heads} * bytes, bytes, 1},
                            .tokens = p.evict.batch.tokens,
                            .heads = heads,
                            .heads_per_projection = layer.rule.num_projections > 1 ? group : INT32_MAX,
                            .head_dim = layer.shape.head_dim,
                            .hash_bits = layer.rule.hash_bits,
                            .batch = p.evict.batch};
  return launch_encode(params, queue);
}

const char* encode(const PrefillParams& p, const Queue& queue) {
  if (const char* const error = encode_all(p, p.evict.k, false, queue)) return error;
  if (p.mode != HASHEVICT_PREFILL_WINDOW && !p.evict.layer.rule.facts.needs_queries) return nullptr;
  return encode_all(p, p.evict.q, true, queue);
}

const char* set_centers(const PrefillParams& p, const Queue& queue) {
  if (p.by_prompt_mean == 0) return nullptr;
  const simt::Extents extents{p.evict.batch.rows * center_heads(p), 1, kCenterThreads,
                              simt::shared_bytes<float>(kCenterThreads)};
  return simt::launch(prefill_centers, extents, p, queue);
}

const char* weigh(const PrefillParams& p, const Queue& queue) {
  const Layer& layer = p.evict.layer;
  if (!layer.rule.weighs_keys) return nullptr;
  const int32_t blocks = core::num_parts(p.evict.batch.tokens, kWeighThreads);
  return simt::launch(prefill_weigh, {blocks, layer.shape.num_kv_heads, kWeighThreads, 0}, p, queue);
}

/// Updates all state except keys, values and counters.
const char* choose(const PrefillParams& p, const Queue& queue) {
  const Layer& layer = p.evict.layer;
  const int32_t rows = p.evict.batch.rows;
  return visit_bits(layer.rule.hash_bits, [&](auto bits) {
    constexpr int32_t kBits = decltype(bits)::value;
    const simt::Extents extents{rows, layer.shape.num_kv_heads, kChooseThreads, choose_bytes<kBits>(layer)};
    const char* error = scans_many_steps(layer) ? simt::launch(prefill_steps<kBits>, extents, p, queue) : nullptr;
    if (error == nullptr) error = simt::launch(prefill_choose<kBits>, extents, p, queue);
    const bool steps_alone = p.mode == HASHEVICT_PREFILL_REPLAY;
    if (error != nullptr || steps_alone || !layer.rule.facts.needs_no_steps) return error;
    const simt::Extents of_slots{rows * layer.num_splits.value, kAccumulateParts, kAccumulateThreads,
                                 accumulate_bytes<kBits>()};
    return simt::launch(prefill_accumulate<kBits>, of_slots, p, queue);
  });
}

/// Needs the slots as they were before the call, so it comes before store_survivors().
const char* attend(const PrefillParams& p, const Queue& queue) {
  return p.out.data == nullptr ? nullptr : launch_prefill_attend(p, queue);
}

const char* store_survivors(const PrefillParams& p, const Queue& queue) {
  const Layer& layer = p.evict.layer;
  const int32_t rows = p.evict.batch.rows;
  if (p.mode == HASHEVICT_PREFILL_WINDOW) {
    const simt::Extents extents{rows, 2 * layer.shape.num_kv_heads, kGatherThreads, 0};
    if (const char* const error = simt::launch(prefill_move, extents, p, queue)) return error;
  }
  const simt::Extents extents{rows * layer.num_splits.value, kGatherParts, kGatherThreads, 0};
  return simt::launch(prefill_gather, extents, p, queue);
}

}  // namespace

int32_t prompt_shared_bytes(const Layer& layer) {
  const int32_t choice =
      visit_bits(layer.rule.hash_bits, [&](auto bits) { return choose_bytes<decltype(bits)::value>(layer); });
  return std::max(choice, prompt_attention_shared_bytes(layer));
}

Prepared prepare_prefill(const Layer& layer) {
  return visit_bits(layer.rule.hash_bits, [&](auto bits) {
    constexpr int32_t kBits = decltype(bits)::value;
    return simt::all_of({prepare_encode(layer), simt::prepare(prefill_centers), simt::prepare(prefill_weigh),
                         simt::prepare(prefill_choose<kBits>), simt::prepare(prefill_steps<kBits>),
                         simt::prepare(prefill_accumulate<kBits>), simt::prepare(prefill_move),
                         simt::prepare(prefill_gather), simt::prepare(prefill_count), prepare_prefill_attend(layer)});
  });
}

const char* launch_prefill(const PrefillParams& given, const Queue& queue) {
  PrefillParams params = given;
  if (given.evict.layer.rule.weighs_keys) {  // importances come from weigh(), as if the tokens had brought them
    params.evict.importance = {given.importances, {given.evict.layer.shape.num_kv_heads, 1}};
  }
  for (const auto part : {set_centers, weigh, encode, choose, attend, store_survivors}) {
    if (const char* const error = part(params, queue)) return error;
  }
  const int32_t blocks = core::num_parts(params.evict.batch.rows, kCountThreads);
  return simt::launch(prefill_count, {blocks, 1, kCountThreads, 0}, params, queue);
}

HASHEVICT_CLOCKS_OF(prefill);

}  // namespace hashevict::kernels
