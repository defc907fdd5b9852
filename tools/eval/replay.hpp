// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <hashevict/cache.hpp>
#include <vector>

#include "budget.hpp"
#include "trace.hpp"

namespace hashevict::eval {

/// What to replay, and how.
struct ReplayOptions {
  std::vector<Budget> budgets;  ///< one for all layers, or one a layer
  /// Policy, bits, protected zones, seed, backend, threads; the fields of shape are taken from the trace.
  Config config;
  /// Leading tokens that come as one prompt; 0: every token is a decode step.
  int64_t prompt = 0;
  PrefillMode prefill_mode = PrefillMode::replay;
  int32_t prefill_window = 32;
};

/// What one layer came to. T tokens, H KV heads, C slots.
struct ReplayLayer {
  int32_t capacity = 0;            ///< C
  std::vector<int32_t> slots;      ///< `[T, H]`: slot that each token was written to, -1 if it was dropped at once
  std::vector<int32_t> victims;    ///< `[T, H]`: position evicted, -1 if none
  std::vector<float> out;          ///< `[T, num_qo_heads, head_dim]`: attention after each step
  std::vector<int32_t> positions;  ///< `[H, C]` at the end, -1 where empty
  std::vector<uint8_t> codes;      ///< `[H, C, hash_bits / 8]` at the end, 0 where empty
};

/// What a trace came to.
struct ReplayResult {
  std::vector<ReplayLayer> layers;
};

/**
 * Sends a trace through a bounded cache.
 *
 * Prompt tokens in mode `replay` are decode steps by definition: the prompt is taken in by one prefill, its steps are
 * also done one after the other beside it for `out`, and both must agree. In the modes `window` and `recent`, `out` of
 * a prompt token is full causal attention over the prompt, and `slots` tells where the survivors lie after prefill.
 *
 * @throws Error for options that do not fit the trace; internal if prefill and steps disagree
 */
ReplayResult replay(const Trace& trace, const ReplayOptions& options);

/// Writes a result under the names `layers.i.slots`, `.victims`, `.out`, `.positions`, `.codes`. The file appears
/// complete or not at all. @throws Error
void write_replay(const ReplayResult& result, const Trace& trace, const std::filesystem::path& path);

}  // namespace hashevict::eval
