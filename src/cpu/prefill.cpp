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

/// How a prompt comes into a head.
enum class Way {
  replay,          ///< one step after the other, by the rule
  replace_oldest,  ///< likewise, but each replaces the oldest
  select           ///< all at once
};

Way way_of(const HeadTokens& prompt) {
  const bool fits = prompt.end_position() <= prompt.head.capacity;
  const hashevict_prefill_mode mode = prompt.step->prefill_mode;
  if (fits || mode == HASHEVICT_PREFILL_REPLAY) return Way::replay;
  return mode == HASHEVICT_PREFILL_RECENT && prompt.position > 0 ? Way::replace_oldest : Way::select;
}

Choice choice_of(const HeadTokens& prompt) {
  return way_of(prompt) == Way::replay ? Choice::rule : Choice::oldest;
}

/// All of a prompt that is selected at once. One worker computes the head's attention, since only its scratch memory
/// knows the selection, which needs the queries that attention may overwrite.
void select(const HeadTokens& prompt, const Scratch& scratch) {
  select_survivors(prompt, scratch);
  if (prompt.step->out) {
    const int32_t tiles = num_prompt_tiles(*prompt.head.layer, prompt.count);
    for (int32_t tile = 0; tile < tiles; ++tile) attend_prompt(prompt, tile, scratch, nullptr);
  }
  settle_survivors(prompt, scratch);
}

}  // namespace

/// Three passes over the heads: decide which tokens stay, attend, store. The first pass reads all queries before
/// attention may overwrite them, the second all keys of the cache before the third overwrites some. Without attention
/// one pass does it all.
void CpuBackend::prefill(const core::Step& step, hashevict_stream /*stream*/) {
  validate(step, core::Operation::prefill);
  const core::Layer& layer = storage_.layer(step.layer);
  const auto prompt_of = [&](int64_t row, int32_t kv_head) {
    HeadTokens prompt = head_tokens(step, layer, static_cast<int32_t>(row), kv_head);
    prompt.head.prompt_length = 0;  // no position is pinned during its own prompt
    return prompt;
  };
  const auto store = [&](const HeadTokens& prompt, int32_t worker) {
    store_survivors(prompt, choice_of(prompt), workspace_.scratch(worker),
                    workspace_.taken(prompt.head.kv_head, prompt.first));
  };
  for_each_head(layer, step.rows, [&](int64_t row, int32_t kv_head, int32_t worker) {
    const HeadTokens prompt = prompt_of(row, kv_head);
    const Scratch& scratch = workspace_.scratch(worker);
    if (prompt.count == 0) return;
    if (fixes_center(layer, prompt.head.sequence, prompt.count)) set_centers(prompt, scratch);
    if (way_of(prompt) == Way::select) return select(prompt, scratch);
    replay(prompt, choice_of(prompt), scratch, workspace_.taken(kv_head, prompt.first));
    if (!step.out) store(prompt, worker);
  });
  if (step.out) {
    attend_prompts(step);
    for_each_head(layer, step.rows, [&](int64_t row, int32_t kv_head, int32_t worker) {
      const HeadTokens prompt = prompt_of(row, kv_head);
      if (prompt.count > 0 && way_of(prompt) != Way::select) store(prompt, worker);
    });
  }
  for (int32_t row = 0; row < step.rows; ++row) {
    const int32_t sequence = step.sequence(row);
    if (sequence >= 0 && fixes_center(layer, sequence, step.end_token(row) - step.first_token(row))) {
      layer.state.center_set[sequence] = core::kCenterFromPrompt;
    }
  }
  count_tokens(step, true);
}

/// Workers share the tiles of all prompts that were not selected at once. The last tiles of a prompt see most keys, so
/// they come first.
void CpuBackend::attend_prompts(const core::Step& step) {
  const core::Layer& layer = storage_.layer(step.layer);
  const int32_t tiles = num_prompt_tiles(layer, longest_row(step));
  for_each_head(layer, int64_t{step.rows} * tiles, [&](int64_t item, int32_t kv_head, int32_t worker) {
    const auto row = static_cast<int32_t>(item % step.rows);
    const auto tile = tiles - 1 - static_cast<int32_t>(item / step.rows);
    const auto count = static_cast<int32_t>(step.end_token(row) - step.first_token(row));
    if (tile >= num_prompt_tiles(layer, count)) return;
    const HeadTokens prompt = head_tokens(step, layer, row, kv_head);
    if (prompt.count == 0 || way_of(prompt) == Way::select) return;
    attend_prompt(prompt, tile, workspace_.scratch(worker), workspace_.taken(kv_head, prompt.first));
  });
}

}  // namespace hashevict::cpu
