// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "core/bounds.hpp"
#include "core/center.hpp"
#include "core/failure.hpp"
#include "core/query_window.hpp"
#include "core/validate.hpp"

namespace hashevict::core {
namespace {

void check_rows(const Step& step, const Settings& settings, uint8_t* seen) {
  constexpr const char* kOffsets = "args.batch.cu_seqlens";
  std::fill_n(seen, settings.shape.num_sequences, uint8_t{0});
  if (step.cu_seqlens != nullptr) {
    require_equal({kOffsets, "", 0}, step.cu_seqlens[0], 0);
    require_equal({kOffsets, "", step.rows}, step.cu_seqlens[step.rows], step.tokens, ", the number of tokens");
  }
  for (int32_t row = 0; row < step.rows; ++row) {
    require_in_range({kOffsets, "", row + 1}, step.end_token(row), step.first_token(row), step.tokens,
                     ", from the offset before it to the number of tokens");
    const int32_t sequence = step.sequence(row);
    if (sequence == -1) continue;
    const Field field{"args.batch.row_to_sequence", "", row};
    require_in_range(field, sequence, -1, settings.shape.num_sequences - 1);
    require(seen[sequence] == 0, "args.batch.row_to_sequence[{}] = {}: expected each sequence in one row only", row,
            sequence);
    seen[sequence] = 1;
  }
}

/// Queries belong to the sequence's last positions, so the sequence must have seen that many tokens. With several
/// queries, no step since the first may have evicted a key that the first must see.
void check_queries(const Step& step, const Layer& layer, int32_t row) {
  const int32_t sequence = step.sequence(row);
  const int64_t queries = step.end_token(row) - step.first_token(row);
  const int32_t seen = tokens_seen(layer, sequence);
  const int32_t most = std::max(seen, 1);  // 1 for an empty sequence, too: its attention is zero
  require(queries <= most,
          "args.batch: row {} brings {} query tokens: expected at most {}, since sequence {} has seen {} tokens", row,
          queries, most, sequence, seen);
  if (queries <= 1 || seen <= layer.min_capacity) return;
  fail(HASHEVICT_INVALID_STATE,
       "attend: row {} brings {} query tokens: expected at most 1, since sequence {} has seen {} tokens and a KV head "
       "of layer {} has a capacity of {}: keys that earlier queries must see were evicted",
       row, queries, sequence, seen, step.layer, layer.min_capacity);
}

/// Refuses an importance, or a slope, that is not finite.
void check_importances(const Step& step, const Settings& settings, int32_t row) {
  for (const auto& [name, tensor] :
       {std::pair{"args.importance", &step.importance}, std::pair{"args.importance_slope", &step.importance_slope}}) {
    if (!*tensor) continue;
    for (int64_t token = step.first_token(row); token < step.end_token(row); ++token) {
      for (int32_t head = 0; head < settings.shape.num_kv_heads; ++head) {
        float value = 0.0F;
        std::memcpy(&value, tensor->at(token, head), sizeof value);
        require(std::isfinite(value), "{}[{}][{}] = {}: expected a finite number", name, token, head, value);
      }
    }
  }
}

/// Refuses a prompt if the present state of its sequence rules out an exact result.
void check_prompt(const Step& step, const Settings& settings, const Layer& layer, int32_t row) {
  const int32_t sequence = step.sequence(row);
  const int64_t tokens = step.end_token(row) - step.first_token(row);
  const int32_t before = tokens_seen(layer, sequence);
  if (before == 0 || tokens == 0) return;
  if (layer.rule.centering == HASHEVICT_CENTERING_PROMPT && layer.state.center_set[sequence] != kCenterGiven) {
    fail(HASHEVICT_INVALID_STATE,
         "prefill: sequence {} has seen {} tokens: expected an empty one, or a centre from set_center(), since "
         "{}.centering is PROMPT",
         sequence, before, rule_name(settings, step.layer));
  }
  if (step.prefill_mode != HASHEVICT_PREFILL_WINDOW) return;
  const std::span<const HeadSettings> heads = settings.heads_of(step.layer);
  for (std::size_t kv_head = 0; kv_head < heads.size(); ++kv_head) {
    const HeadSettings& head = heads[kv_head];
    const int32_t window = query_window(step, head);
    if (before + tokens <= head.capacity || (before <= head.capacity && tokens >= window)) continue;
    fail(
        HASHEVICT_INVALID_STATE,
        "prefill: sequence {} has seen {} tokens and gets {} more: mode WINDOW expects that none was evicted (capacity "
        "{} in layer {}, KV head {}) and that a further chunk brings the last {} query tokens",
        sequence, before, tokens, head.capacity, step.layer, kv_head, window);
  }
}

}  // namespace

void validate_batch_contents(const Step& step, const Settings& settings, const CacheMemory& memory, const Layer& layer,
                             Operation operation, uint8_t* seen) {
  check_rows(step, settings, seen);
  const int32_t capacity = layer.max_capacity;
  for (int32_t row = 0; row < step.rows; ++row) {
    const int32_t sequence = step.sequence(row);
    if (sequence < 0) continue;
    check_importances(step, settings, row);
    const int64_t tokens = step.end_token(row) - step.first_token(row);
    const int64_t before = tokens_seen(layer, sequence);
    if (operation == Operation::attend) {
      if (step.attend_queries == HASHEVICT_QUERIES_LAST) check_queries(step, layer, row);
      validate_pages(settings, memory, sequence, static_cast<int32_t>(std::min<int64_t>(before, capacity)));
      continue;
    }
    require(before + tokens <= INT32_MAX, "args.batch: row {} brings sequence {} to {} tokens: expected at most {}",
            row, sequence, before + tokens, INT32_MAX);
    validate_pages(settings, memory, sequence, static_cast<int32_t>(std::min<int64_t>(before + tokens, capacity)));
    if (operation == Operation::prefill) check_prompt(step, settings, layer, row);
  }
}

}  // namespace hashevict::core
