// SPDX-License-Identifier: Apache-2.0
#include "cpu/workspace.hpp"

#include <algorithm>

#include "core/carver.hpp"
#include "cpu/attend_combine.hpp"
#include "cpu/attend_kernel.hpp"
#include "cpu/prefill_attend_kernel.hpp"
#include "cpu/scan_kernel.hpp"

namespace hashevict::cpu {
namespace {

/// The sizes that determine scratch memory.
struct Sizes {
  int64_t capacity = 0, padded_capacity = 0, code_bytes = 0;  ///< the maximum over heads
  int64_t group, head_dim, queries, candidates, tile_tokens, tile_queries;

  explicit Sizes(const core::Settings& settings)
      : group{settings.shape.group_size},
        head_dim{settings.shape.head_dim},
        queries{attend_tokens(settings.shape) * group},
        tile_tokens{prompt_tile_tokens(settings.shape.group_size)},
        tile_queries{prompt_tile_queries(settings.shape.group_size)} {
    for (const core::LayerSettings& layer : settings.layers) {
      capacity = std::max<int64_t>(capacity, layer.max_capacity);
      padded_capacity = core::round_up(capacity, core::kPadding);
      code_bytes = std::max<int64_t>(code_bytes, layer.rule.code_bytes);
    }
    // Scans from any position read whole vectors, so one more vector lies behind the last code.
    candidates = core::round_up(padded_capacity + settings.execution.max_batch_tokens, kScanSlots) + kScanSlots;
  }

  /// Floats of the partial results of one split, aligned.
  [[nodiscard]] int64_t split_floats() const {
    core::Carver split;
    split.take<float>({partial_floats(static_cast<int32_t>(queries), static_cast<int32_t>(head_dim))});
    return static_cast<int64_t>(split.end() / sizeof(float));
  }
};

/// Takes parts off memory that starts at `base`, or measures them if it is null.
class Parts {
 public:
  explicit Parts(void* base) : base_{base} {}

  template <class T>
  T* take(std::initializer_list<int64_t> extents) {
    const uint64_t offset = carver_.take<T>(extents);
    return base_ == nullptr ? nullptr : core::part_at<T>(base_, offset);
  }
  [[nodiscard]] uint64_t end() const { return carver_.end(); }

 private:
  void* base_;
  core::Carver carver_;
};

Scratch take_scratch(Parts& parts, const Sizes& s) {
  const int64_t rows = kEncodeTokens * (1 + s.group);
  return Scratch{.scores = parts.take<uint32_t>({s.candidates}),
                 .block_maxima = parts.take<uint32_t>({num_blocks(static_cast<int32_t>(s.padded_capacity))}),
                 .sources = parts.take<int32_t>({s.padded_capacity}),
                 .rows = parts.take<float>({rows, s.head_dim}),
                 .centered = parts.take<float>({rows, s.head_dim}),
                 .vector = parts.take<float>({s.head_dim}),
                 .codes = parts.take<uint8_t>({rows, s.code_bytes}),
                 .probe = parts.take<uint8_t>({s.code_bytes}),
                 .attend_queries = parts.take<float>({s.queries, s.head_dim}),
                 .attend_out = parts.take<float>({s.queries, s.head_dim}),
                 .attend_lse = parts.take<float>({s.queries}),
                 .attend_positions = parts.take<int32_t>({s.queries}),
                 .attend_kernel = parts.take<float>(
                     {scratch_floats(static_cast<int32_t>(s.queries), static_cast<int32_t>(s.head_dim))}),
                 .prompt_queries = parts.take<float>({s.tile_queries, s.head_dim}),
                 .prompt_sums = parts.take<float>({s.tile_queries, s.head_dim}),
                 .prompt_maxima = parts.take<float>({s.tile_queries}),
                 .prompt_weights = parts.take<float>({s.tile_queries}),
                 .prompt_tokens = parts.take<int32_t>({s.tile_queries}),
                 .prompt_logits = parts.take<float>({kPromptKeys, kPromptQueryStep}),
                 .prompt_out = parts.take<float>({s.tile_queries, s.head_dim}),
                 .prompt_lse = parts.take<float>({s.tile_queries}),
                 .prompt_rows = parts.take<float>({2, kPromptKeys, s.head_dim}),
                 .prompt_keys = parts.take<int32_t>({s.candidates}),
                 .prompt_deaths = parts.take<int32_t>({2, s.tile_tokens}),
                 .candidate_codes = parts.take<uint8_t>({s.candidates, s.code_bytes}),
                 .window_codes = parts.take<uint8_t>({s.capacity, s.group, s.code_bytes}),
                 .order = parts.take<uint64_t>({s.candidates})};
}

}  // namespace

int32_t attend_tokens(const core::Shape& shape) {
  constexpr int32_t kQueriesPerPass = 32;
  return std::max(1, kQueriesPerPass / shape.group_size);
}

Workspace::Workspace(const core::Settings& settings, void* memory) {
  const Sizes sizes(settings);
  Parts parts(memory);
  for (int32_t worker = 0; worker < settings.execution.num_workers; ++worker) {
    workers_.push_back(take_scratch(parts, sizes));
  }
  split_floats_ = sizes.split_floats();
  most_splits_ = num_splits(static_cast<int32_t>(sizes.capacity));
  partials_ = parts.take<float>({2, settings.execution.num_workers, most_splits_, split_floats_});
  max_batch_tokens_ = settings.execution.max_batch_tokens;
  taken_ = parts.take<int32_t>({settings.shape.num_kv_heads, max_batch_tokens_});
  seen_ = parts.take<uint8_t>({settings.shape.num_sequences});
  bytes_ = parts.end();
}

uint64_t Workspace::bytes(const core::Settings& settings) {
  return Workspace(settings, nullptr).bytes_;
}

}  // namespace hashevict::cpu
