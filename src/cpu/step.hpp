// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/batch.hpp"
#include "cpu/encode_head.hpp"
#include "cpu/workspace.hpp"

namespace hashevict::cpu {

/// The way to choose the victim of a full cache.
enum class Choice {
  rule,   ///< by the layer's rule
  oldest  ///< the oldest outside the sinks: prefill mode RECENT
};

/// Enters one token in the head's codes, positions, accumulators, importances and key sum. That is all of a step except
/// the key, the value and the sequence's counters.
TakenSlot place_token(const core::Head& head, const Token& token, const core::Importance& importance,
                      const Scratch& scratch, Choice choice);

/// Places tokens in a head in order: the only such loop, for evict, append, decode and replayed prompts. It calls
/// `placed(index, taken)` right after each token's step.
template <class Placed>
void place_tokens(const HeadTokens& tokens, Choice choice, const Scratch& scratch, const Placed& placed) {
  const bool with_queries = tokens.head.layer->rule.facts.needs_queries;
  for_each_token(tokens, with_queries, scratch, [&](int32_t index, const Token& token) {
    placed(index, place_token(tokens.head, token, importance_of(tokens, index, token.key), scratch, choice));
  });
}

}  // namespace hashevict::cpu
