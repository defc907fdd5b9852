// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/failure.hpp"
#include "cpu/cpu_backend.hpp"
#include "cpu/prefill_head.hpp"
#include "cpu/rows.hpp"

namespace hashevict::cpu {
namespace {

/// Whether this call fixes the centres of a sequence.
bool fixes_center(const core::Storage& storage, const core::LayerState& state, int32_t sequence, int32_t num_tokens) {
  return storage.settings.config.centering == HASHEVICT_CENTERING_PROMPT && num_tokens > 0 &&
         state.tokens_seen[sequence] == 0 && state.center_set[sequence] == core::kCenterUnset;
}

/// Refuses what cannot be done exactly in the sequence's present state.
void check_row(const core::Step& step, const core::Storage& storage, int32_t sequence, int64_t num_tokens) {
  const core::LayerState& state = storage.layer_state(step.layer);
  const core::LayerSettings& shape = storage.layer_settings(step.layer);
  const int32_t before = state.tokens_seen[sequence];
  if (before == 0 || num_tokens == 0) return;
  if (storage.settings.config.centering == HASHEVICT_CENTERING_PROMPT &&
      state.center_set[sequence] != core::kCenterGiven) {
    core::fail(HASHEVICT_INVALID_STATE,
               "prefill: sequence {} has seen {} tokens: expected an empty one, or a centre from set_center(), since "
               "config.centering is PROMPT",
               sequence, before);
  }
  if (step.prefill_mode != HASHEVICT_PREFILL_WINDOW || before + num_tokens <= shape.capacity) return;
  const int32_t window = core::query_window(step, shape);
  if (before > shape.capacity || num_tokens < window) {
    core::fail(HASHEVICT_INVALID_STATE,
               "prefill: sequence {} has seen {} tokens and gets {} more: mode WINDOW expects that none was evicted "
               "(capacity {}) and that a further chunk brings the last {} query tokens",
               sequence, before, num_tokens, shape.capacity, window);
  }
}

}  // namespace

void CpuBackend::prefill(const core::Step& step, hashevict_stream /*stream*/) {
  validate(step, core::Operation::prefill);
  const core::LayerState& state = storage_.layer_state(step.layer);
  for (int32_t row = 0; row < step.rows; ++row) {
    const int32_t sequence = step.sequence(row);
    if (sequence >= 0) check_row(step, storage_, sequence, step.end_token(row) - step.first_token(row));
  }
  executor_.for_each(num_heads_of(step, storage_), [&](int64_t item, int32_t worker) {
    const RowHead at = row_head(step, storage_, item);
    if (at.sequence < 0 || step.first_token(at.row) == step.end_token(at.row)) return;
    Prompt prompt{.head = make_head(storage_, step.layer, at.sequence, at.kv_head),
                  .step = &step,
                  .first_token = step.first_token(at.row),
                  .num_tokens = static_cast<int32_t>(step.end_token(at.row) - step.first_token(at.row)),
                  .before = state.tokens_seen[at.sequence]};
    prompt.head.prompt_length = 0;  // nothing is pinned against its own prompt
    const Scratch scratch = workspace_.scratch(worker);
    if (fixes_center(storage_, state, at.sequence, prompt.num_tokens)) set_centers(prompt, scratch);
    const bool fits = prompt.total() <= prompt.head.shape->capacity;
    if (fits || step.prefill_mode == HASHEVICT_PREFILL_REPLAY) {
      replay(prompt, Choice::rule, scratch);
    } else if (step.prefill_mode == HASHEVICT_PREFILL_RECENT && prompt.before > 0) {
      replay(prompt, Choice::oldest, scratch);
    } else {
      select_survivors(prompt, scratch, workspace_.select_scratch(worker));
    }
  });
  for (int32_t row = 0; row < step.rows; ++row) {
    const int32_t sequence = step.sequence(row);
    const auto num_tokens = static_cast<int32_t>(step.end_token(row) - step.first_token(row));
    if (sequence >= 0 && fixes_center(storage_, state, sequence, num_tokens)) {
      state.center_set[sequence] = core::kCenterFromPrompt;
    }
  }
  count_tokens(step, true);
}

}  // namespace hashevict::cpu
