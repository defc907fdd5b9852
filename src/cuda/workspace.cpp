// SPDX-License-Identifier: Apache-2.0
#include "cuda/workspace.hpp"

#include <algorithm>

#include "core/carver.hpp"

namespace hashevict::cuda {

Workspace::Workspace(const core::Settings& settings, void* memory) : layout_{lay_out(settings)}, memory_{memory} {}

Workspace::Layout Workspace::lay_out(const core::Settings& settings) {
  const core::Shape& shape = settings.shape;
  int64_t splits = 0;
  int64_t padded = 0;
  int32_t code_bytes = 0;
  bool weighs_keys = false;
  for (const core::LayerSettings& layer : settings.layers) {
    splits = std::max<int64_t>(splits, layer.num_splits.value);
    padded = std::max(padded, layer.padded_slots);
    code_bytes = std::max(code_bytes, layer.rule.code_bytes);
    weighs_keys = weighs_keys || layer.rule.weighs_keys;
  }
  const int64_t items = shape.num_sequences;
  const int64_t tokens = settings.execution.max_batch_tokens;
  Layout layout{};
  core::Carver attend;
  layout.values = attend.take<float>({items, splits, shape.group_size, shape.head_dim});
  layout.maxima = attend.take<float>({items, splits, shape.group_size});
  layout.sums = attend.take<float>({items, splits, shape.group_size});
  layout.keys = attend.take<uint64_t>({items, splits});
  layout.slots = attend.take<int32_t>({items, splits});
  layout.logits = attend.take<float>({items, splits, shape.group_size});
  core::Carver prefill;
  layout.key_codes = prefill.take<uint8_t>({tokens, shape.num_kv_heads, code_bytes});
  layout.query_codes = prefill.take<uint8_t>({tokens, shape.num_qo_heads, code_bytes});
  layout.importances = prefill.take<float>({weighs_keys ? tokens : 0, shape.num_kv_heads});
  const uint64_t scores = core::checked_sum(core::checked_product({shape.num_sequences, padded}),
                                            core::checked_product({shape.num_kv_heads, tokens}));
  layout.scores = prefill.take<uint32_t>({static_cast<int64_t>(scores)});
  layout.total = std::max(attend.end(), prefill.end());
  return layout;
}

kernels::Partials Workspace::partials() const {
  return {.values = core::part_at<float>(memory_, layout_.values),
          .maxima = core::part_at<float>(memory_, layout_.maxima),
          .sums = core::part_at<float>(memory_, layout_.sums),
          .keys = core::part_at<uint64_t>(memory_, layout_.keys),
          .slots = core::part_at<int32_t>(memory_, layout_.slots),
          .logits = core::part_at<float>(memory_, layout_.logits)};
}

void Workspace::lend(kernels::PrefillParams& params) const {
  params.key_codes = core::part_at<uint8_t>(memory_, layout_.key_codes);
  params.query_codes = core::part_at<uint8_t>(memory_, layout_.query_codes);
  params.importances = core::part_at<float>(memory_, layout_.importances);
  params.scores = core::part_at<uint32_t>(memory_, layout_.scores);
}

uint64_t Workspace::bytes(const core::Settings& settings) {
  return lay_out(settings).total;
}

}  // namespace hashevict::cuda
