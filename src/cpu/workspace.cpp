// SPDX-License-Identifier: Apache-2.0
#include "cpu/workspace.hpp"

#include <algorithm>

#include "core/carver.hpp"
#include "cpu/attend_kernel.hpp"
#include "cpu/scan_kernel.hpp"

namespace hashevict::cpu {

namespace {

/// The largest layer decides.
core::LayerSettings largest_layer(const core::Settings& settings) {
  return *std::max_element(settings.layers.begin(), settings.layers.end(),
                           [](const auto& a, const auto& b) { return a.capacity < b.capacity; });
}

}  // namespace

int32_t attend_tokens(const core::Settings& settings) {
  constexpr int32_t kQueriesPerPass = 32;
  return std::max(1, kQueriesPerPass / settings.group_size);
}

Workspace::Workspace(const core::Settings& settings, void* memory)
    : layout_{lay_out(settings)}, memory_{static_cast<unsigned char*>(memory)} {}

Workspace::Layout Workspace::lay_out(const core::Settings& settings) {
  const core::LayerSettings layer = largest_layer(settings);
  const int32_t dim = settings.config.head_dim;
  const int64_t group = settings.group_size;
  const int64_t code_bytes = settings.code_bytes;
  const int64_t candidates =
      core::round_up(int64_t{layer.padded_capacity} + settings.max_batch_tokens, kScanSlots) + kScanSlots;
  const int32_t queries = attend_tokens(settings) * settings.group_size;
  const int64_t splits = (layer.capacity + kSplitSlots - 1) / kSplitSlots;
  Layout layout{};
  core::Carver worker;
  layout.scores = worker.take<uint32_t>({candidates});
  layout.sources = worker.take<int32_t>({layer.padded_capacity});
  layout.rows = worker.take<float>({kEncodeTokens, 1 + group, dim});
  layout.centered = worker.take<float>({kEncodeTokens, 1 + group, dim});
  layout.vector = worker.take<float>({dim});
  layout.codes = worker.take<uint8_t>({kEncodeTokens, 1 + group, code_bytes});
  layout.probe = worker.take<uint8_t>({code_bytes});
  layout.attend_queries = worker.take<float>({queries, dim});
  layout.attend_out = worker.take<float>({queries, dim});
  layout.attend_lse = worker.take<float>({queries});
  layout.attend_positions = worker.take<int32_t>({queries});
  layout.attend_kernel = worker.take<float>({scratch_floats(queries, dim)});
  layout.select_codes = worker.take<uint8_t>({candidates, code_bytes});
  layout.select_query_codes = worker.take<uint8_t>({layer.capacity, group, code_bytes});
  layout.select_order = worker.take<uint64_t>({candidates});
  layout.select_starts = worker.take<core::NewToken>({candidates});
  layout.worker_bytes = worker.end();

  core::Carver all;
  all.take<unsigned char>({settings.num_workers, static_cast<int64_t>(layout.worker_bytes)});
  core::Carver area;
  area.take<float>({splits, partial_floats(queries, dim)});
  layout.partial_area_bytes = area.end();
  layout.partials = all.take<unsigned char>({2, settings.num_workers, static_cast<int64_t>(layout.partial_area_bytes)});
  layout.seen = all.take<uint8_t>({settings.sequences()});
  layout.total = all.end();
  return layout;
}

uint64_t Workspace::bytes(const core::Settings& settings) {
  return lay_out(settings).total;
}

Scratch Workspace::scratch(int32_t worker) const {
  void* const base = memory_ + static_cast<uint64_t>(worker) * layout_.worker_bytes;
  return Scratch{
      .scores = core::part_at<uint32_t>(base, layout_.scores),
      .sources = core::part_at<int32_t>(base, layout_.sources),
      .rows = core::part_at<float>(base, layout_.rows),
      .centered = core::part_at<float>(base, layout_.centered),
      .vector = core::part_at<float>(base, layout_.vector),
      .codes = core::part_at<uint8_t>(base, layout_.codes),
      .probe = core::part_at<uint8_t>(base, layout_.probe),
      .attend_queries = core::part_at<float>(base, layout_.attend_queries),
      .attend_out = core::part_at<float>(base, layout_.attend_out),
      .attend_lse = core::part_at<float>(base, layout_.attend_lse),
      .attend_positions = core::part_at<int32_t>(base, layout_.attend_positions),
      .attend_kernel = core::part_at<float>(base, layout_.attend_kernel),
  };
}

SelectScratch Workspace::select_scratch(int32_t worker) const {
  void* const base = memory_ + static_cast<uint64_t>(worker) * layout_.worker_bytes;
  return SelectScratch{
      .codes = core::part_at<uint8_t>(base, layout_.select_codes),
      .query_codes = core::part_at<uint8_t>(base, layout_.select_query_codes),
      .order = core::part_at<uint64_t>(base, layout_.select_order),
      .starts = core::part_at<core::NewToken>(base, layout_.select_starts),
  };
}

float* Workspace::partials(int64_t area) const {
  return core::part_at<float>(memory_, layout_.partials + static_cast<uint64_t>(area) * layout_.partial_area_bytes);
}

uint8_t* Workspace::seen() const {
  return core::part_at<uint8_t>(memory_, layout_.seen);
}

}  // namespace hashevict::cpu
