// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <hashevict/cache.hpp>
#include <vector>

#include "cli/budget.hpp"
#include "trace.hpp"

namespace hashevict::cli {

/// The options of a replay.
struct ReplayOptions {
  std::vector<Budget> budgets;  ///< one for all heads, one a layer, or one a KV head, layer by layer
  /// Policy, bits, protected zones, seed, backend, threads. The trace supplies the shape.
  Config config;
  /// The leading tokens that form the prompt; 0: every token is a decode step.
  int64_t prompt = 0;
  PrefillMode prefill_mode = PrefillMode::replay;
  int32_t prefill_window = 32;
};

/// The decisions and the attention of one layer. T tokens, H KV heads, C slots of the head that has most.
struct ReplayLayer {
  int32_t capacity = 0;             ///< C
  std::vector<int32_t> capacities;  ///< `[H]` the slots of each head
  std::vector<int32_t> slots;       ///< `[T, H]`: slot that each token was written to, -1 if it was dropped at once
  std::vector<int32_t> victims;     ///< `[T, H]`: position evicted, -1 if none
  std::vector<float> out;           ///< `[T, num_qo_heads, head_dim]`: attention after each step
  std::vector<int32_t> positions;   ///< `[H, C]` at the end, -1 where empty
  std::vector<uint8_t> codes;       ///< `[H, C, hash_bits / 8]` at the end, 0 where empty
};

/// The result of a replay.
struct ReplayResult {
  std::vector<ReplayLayer> layers;
};

/**
 * Sends a trace through a bounded cache.
 *
 * In mode `replay`, prompt tokens are decode steps by definition: a second cache runs the steps one by one for `out`,
 * and must agree with the prefill. In the modes `window` and `recent`, `out` of a prompt token is full causal attention
 * over the prompt, and `slots` are the survivors' slots after prefill.
 *
 * @throws Error for options that do not fit the trace, and for attention that overflows; internal if prefill and steps
 * disagree
 */
ReplayResult replay(const Trace& trace, const ReplayOptions& options);

/// Writes a result under the names `layers.i.slots`, `.victims`, `.out`, `.positions`, `.codes`. The file appears
/// complete or not at all. @throws Error
void write_replay(const ReplayResult& result, const Trace& trace, const std::filesystem::path& path);

}  // namespace hashevict::cli
