// SPDX-License-Identifier: Apache-2.0
#include "kernels/prefill.cuh"

#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {
namespace {

/// Codes of the batch's keys or queries.
const char* encode_all(const PrefillParams& p, const Vectors& x, bool queries, void* stream) {
  const Layer& layer = p.evict.layer;
  const int32_t bytes = layer.facts.hash_bits / 8;
  const int32_t group = queries ? layer.group_size : 1;
  const int32_t heads = layer.num_kv_heads * group;
  const EncodeParams params{.x = x,
                            .center = queries ? layer.state.query_centers : layer.state.key_centers,
                            .projection = layer.state.projection,
                            .codes = queries ? p.query_codes : p.key_codes,
                            .codes_stride = {int64_t{heads} * bytes, bytes, 1},
                            .tokens = p.evict.batch.tokens,
                            .heads = heads,
                            .heads_per_projection = layer.projection_per_head != 0 ? group : INT32_MAX,
                            .head_dim = layer.head_dim,
                            .hash_bits = layer.facts.hash_bits,
                            .batch = p.evict.batch};
  return launch_encode(params, stream);
}

const char* encode(const PrefillParams& p, void* stream) {
  if (const char* const error = encode_all(p, p.evict.k, false, stream)) return error;
  if (p.mode != HASHEVICT_PREFILL_WINDOW && !probes_queries(p.evict.layer.rule)) return nullptr;
  return encode_all(p, p.evict.q, true, stream);
}

const char* set_centers(const PrefillParams& p, void* stream) {
  if (p.by_prompt_mean == 0) return nullptr;
  const simt::Extents extents{p.evict.batch.rows * center_heads(p), 1, kCenterThreads,
                              simt::shared_bytes<float>(kCenterThreads)};
  return simt::launch(prefill_centers, extents, p, stream);
}

/// Everything that is left in the state but keys, values and counters.
const char* choose(const PrefillParams& p, void* stream) {
  const Layer& layer = p.evict.layer;
  const int32_t rows = p.evict.batch.rows;
  return visit_bits(layer.facts.hash_bits, [&](auto bits) {
    constexpr int32_t kBits = decltype(bits)::value;
    const simt::Extents extents{rows, layer.num_kv_heads, kChooseThreads, choose_bytes<kBits>(layer)};
    const char* const error = simt::launch(prefill_choose<kBits>, extents, p, stream);
    const bool steps_alone = p.mode == HASHEVICT_PREFILL_REPLAY;
    if (error != nullptr || steps_alone || layer.rule != core::RuleKind::superseded) return error;
    const int32_t tiles = (layer.capacity + kSupersedeThreads - 1) / kSupersedeThreads;
    const simt::Extents of_slots{rows * tiles, layer.num_kv_heads, kSupersedeThreads, supersede_bytes<kBits>()};
    return simt::launch(prefill_supersede<kBits>, of_slots, p, stream);
  });
}

const char* store_survivors(const PrefillParams& p, void* stream) {
  const Layer& layer = p.evict.layer;
  const int32_t rows = p.evict.batch.rows;
  if (p.mode == HASHEVICT_PREFILL_WINDOW) {
    const simt::Extents extents{rows, 2 * layer.num_kv_heads, kGatherThreads, 0};
    if (const char* const error = simt::launch(prefill_move, extents, p, stream)) return error;
  }
  const simt::Extents extents{rows * gather_blocks(layer.capacity), layer.num_kv_heads, kGatherThreads, 0};
  return simt::launch(prefill_gather, extents, p, stream);
}

}  // namespace

int32_t prompt_shared_bytes(const Layer& layer) {
  return visit_bits(layer.facts.hash_bits, [&](auto bits) { return choose_bytes<decltype(bits)::value>(layer); });
}

const char* launch_prefill(const PrefillParams& params, void* stream) {
  for (const auto part : {set_centers, encode, choose, store_survivors}) {
    if (const char* const error = part(params, stream)) return error;
  }
  const int32_t blocks = static_cast<int32_t>((int64_t{params.evict.batch.rows} + kCountThreads - 1) / kCountThreads);
  return simt::launch(prefill_count, {blocks, 1, kCountThreads, 0}, params, stream);
}

}  // namespace hashevict::kernels
