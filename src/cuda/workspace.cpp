// SPDX-License-Identifier: Apache-2.0
#include "cuda/workspace.hpp"

#include <algorithm>

#include "core/carver.hpp"

namespace hashevict::cuda {

Workspace::Workspace(const core::Settings& settings, void* memory) : layout_{lay_out(settings)}, memory_{memory} {}

Workspace::Layout Workspace::lay_out(const core::Settings& settings) {
  const hashevict_config& c = settings.config;
  const auto largest =
      std::max_element(settings.layers.begin(), settings.layers.end(),
                       [](const auto& a, const auto& b) { return a.padded_capacity < b.padded_capacity; });
  const int64_t pairs = settings.sequences() * settings.heads();
  const int64_t splits = num_splits(largest->capacity);
  const int64_t tokens = settings.max_batch_tokens;
  Layout layout{};
  core::Carver attend;
  layout.states = attend.take<float>({pairs, splits, settings.group_size, 2 + c.head_dim});
  layout.keys = attend.take<uint64_t>({pairs, splits});
  layout.slots = attend.take<int32_t>({pairs, splits});
  layout.logits = attend.take<float>({pairs, splits, settings.group_size});
  core::Carver prefill;
  layout.key_codes = prefill.take<uint8_t>({tokens, c.num_kv_heads, settings.code_bytes});
  layout.query_codes = prefill.take<uint8_t>({tokens, c.num_qo_heads, settings.code_bytes});
  const auto slots = static_cast<int64_t>(core::checked_product({settings.sequences(), largest->padded_capacity}));
  layout.scores = prefill.take<uint32_t>({settings.heads(), slots + tokens});
  layout.total = std::max(attend.end(), prefill.end());
  return layout;
}

kernels::Partials Workspace::partials(int32_t capacity) const {
  return {.states = core::part_at<float>(memory_, layout_.states),
          .keys = core::part_at<uint64_t>(memory_, layout_.keys),
          .slots = core::part_at<int32_t>(memory_, layout_.slots),
          .logits = core::part_at<float>(memory_, layout_.logits),
          .num_splits = num_splits(capacity)};
}

void Workspace::lend(kernels::PrefillParams& params) const {
  params.key_codes = core::part_at<uint8_t>(memory_, layout_.key_codes);
  params.query_codes = core::part_at<uint8_t>(memory_, layout_.query_codes);
  params.scores = core::part_at<uint32_t>(memory_, layout_.scores);
}

uint64_t Workspace::bytes(const core::Settings& settings) {
  return lay_out(settings).total;
}

}  // namespace hashevict::cuda
