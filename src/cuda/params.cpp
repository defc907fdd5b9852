// SPDX-License-Identifier: Apache-2.0
#include "cuda/params.hpp"

namespace hashevict::cuda {
namespace {

kernels::State state_params(const core::Storage& storage, int32_t layer) {
  const core::LayerState& s = storage.layer_state(layer);
  const bool centered = storage.settings.centered();
  return {.codes = s.codes,
          .positions = s.positions,
          .accumulators = s.accumulators,
          .key_sums = s.key_sums,
          .bit_counts = s.bit_counts,
          .key_centers = centered ? s.key_centers : nullptr,
          .query_centers = centered ? s.query_centers : nullptr,
          .lengths = s.lengths,
          .tokens_seen = s.tokens_seen,
          .prompt_lengths = s.prompt_lengths,
          .center_set = s.center_set,
          .tickets = s.tickets,
          .projection = s.projection};
}

kernels::Slots slots_params(const core::Storage& storage, int32_t layer) {
  const core::KvLayout& layout = storage.kv_layout(layer);
  return {.keys = storage.keys(layer),
          .values = storage.values(layer),
          .dtype = static_cast<int32_t>(storage.settings.dtype),
          .page_size = storage.settings.config.page_size,
          .sequence_stride = layout.sequence_stride,
          .head_stride = layout.head_stride,
          .slot_stride = layout.slot_stride,
          .page_stride = layout.page_stride,
          .block_table = storage.memory.block_table,
          .block_table_stride = storage.memory.block_table_stride,
          .block_table_offsets = storage.memory.block_table_offsets};
}

}  // namespace

kernels::Layer layer_params(const core::Storage& storage, int32_t layer) {
  const core::Settings& settings = storage.settings;
  const hashevict_config& c = settings.config;
  const core::LayerSettings& shape = storage.layer_settings(layer);
  return {.state = state_params(storage, layer),
          .kv = slots_params(storage, layer),
          .rule = core::rule_kind(c),
          .facts = {.token_position = 0,
                    .hash_bits = c.hash_bits,
                    .decay_shift = c.score_decay_shift,
                    .layer = layer,
                    .kv_head = c.kv_head_offset,
                    .seed = c.seed},
          .num_kv_heads = c.num_kv_heads,
          .group_size = settings.group_size,
          .head_dim = c.head_dim,
          .capacity = shape.capacity,
          .padded_capacity = shape.padded_capacity,
          .num_sink_tokens = shape.num_sink_tokens,
          .recent_window = shape.recent_window,
          .oldest_first = c.tie == HASHEVICT_TIE_OLDEST ? 1 : 0,
          .projection_per_head = c.projection_per_head,
          .pin_prompt = c.pin_prompt};
}

kernels::Batch batch_params(const core::Step& step, const core::Settings& settings) {
  return {.row_to_sequence = step.row_to_sequence,
          .cu_seqlens = step.cu_seqlens,
          .rows = step.rows,
          .tokens = static_cast<int32_t>(step.tokens),
          .num_sequences = settings.config.num_sequences};
}

kernels::EvictParams evict_params(const core::Step& step, const core::Settings& settings, const kernels::Layer& layer,
                                  bool store) {
  return {.layer = layer,
          .batch = batch_params(step, settings),
          .q = vectors(step.q),
          .k = vectors(step.k),
          .v = vectors(step.v),
          .slots = numbers<int32_t>(step.slots),
          .victims = numbers<int32_t>(step.victims),
          .store = store ? 1 : 0};
}

}  // namespace hashevict::cuda
