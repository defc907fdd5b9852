// SPDX-License-Identifier: Apache-2.0
#include "core/center.hpp"
#include "cpu/cpu_backend.hpp"
#include "cpu/prefill_head.hpp"

namespace hashevict::cpu {
namespace {

/// Whether a prompt sets the centres of its sequence.
bool fixes_center(const core::Layer& layer, int32_t sequence, int64_t num_tokens) {
  return layer.rule.centering == HASHEVICT_CENTERING_PROMPT && num_tokens > 0 &&
         core::tokens_seen(layer, sequence) == 0 && layer.state.center_set[sequence] == core::kCenterUnset;
}

/// Takes one prompt into one head, in the mode of the call.
void take_prompt(HeadTokens prompt, const Scratch& scratch) {
  const core::Layer& layer = *prompt.head.layer;
  const hashevict_prefill_mode mode = prompt.step->prefill_mode;
  prompt.head.prompt_length = 0;  // no position is pinned during its own prompt
  if (fixes_center(layer, prompt.head.sequence, prompt.count)) set_centers(prompt, scratch);
  const bool fits = prompt.end_position() <= prompt.head.capacity;
  if (fits || mode == HASHEVICT_PREFILL_REPLAY) {
    replay(prompt, Choice::rule, scratch);
  } else if (mode == HASHEVICT_PREFILL_RECENT && prompt.position > 0) {
    replay(prompt, Choice::oldest, scratch);
  } else {
    select_survivors(prompt, scratch);
  }
}

}  // namespace

void CpuBackend::prefill(const core::Step& step, hashevict_stream /*stream*/) {
  validate(step, core::Operation::prefill);
  if (!has_tokens(step)) return;
  const core::Layer& layer = storage_.layer(step.layer);
  for_each_head(layer, step.rows, [&](int64_t row, int32_t kv_head, int32_t worker) {
    const HeadTokens prompt = head_tokens(step, layer, static_cast<int32_t>(row), kv_head);
    if (prompt.count > 0) take_prompt(prompt, workspace_.scratch(worker));
  });
  for (int32_t row = 0; row < step.rows; ++row) {
    const int32_t sequence = step.sequence(row);
    if (sequence >= 0 && fixes_center(layer, sequence, step.end_token(row) - step.first_token(row))) {
      layer.state.center_set[sequence] = core::kCenterFromPrompt;
    }
  }
  count_tokens(step, true);
}

}  // namespace hashevict::cpu
