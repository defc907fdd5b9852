// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/batch.hpp"
#include "cpu/workspace.hpp"

namespace hashevict::cpu {

/// Fetches into the cache what the step of a head's first token reads first: its rows, and the first codes of the head.
/// Whoever calls it a head ahead hides a trip to memory, of which a step waits for several otherwise.
void fetch_step(const HeadTokens& tokens);

/// An encoded token of a head. Points into a worker's scratch memory.
struct Token {
  int32_t position;
  const float* key;            ///< [head_dim], fp32, as given
  const uint8_t* key_code;     ///< [code_bytes]
  const uint8_t* query_codes;  ///< [group, code_bytes], or nullptr if queries were not asked for
};

/// Loads and encodes tokens [first, first + count), count <= kEncodeTokens, into scratch.rows and scratch.codes: the
/// keys and, if `with_queries`, the group's queries.
void encode_tokens(const HeadTokens& tokens, int32_t first, int32_t count, bool with_queries, const Scratch& scratch);

/// Token `index` of the last encode_tokens() into `scratch`.
Token encoded_token(const core::Head& head, int32_t position, int32_t index, bool with_queries, const Scratch& scratch);

/// The importance that token `index` of a row brings, or gets from its key; only for rules that need one.
/// @param key [head_dim], fp32, as given; read by rules that weigh keys
core::Importance importance_of(const HeadTokens& tokens, int32_t index, const float* key);

/// Encodes all tokens and calls `body(index, token)` for each, in order.
template <class Body>
void for_each_token(const HeadTokens& tokens, bool with_queries, const Scratch& scratch, const Body& body) {
  for (int32_t first = 0; first < tokens.count; first += kEncodeTokens) {
    const int32_t count = std::min(kEncodeTokens, tokens.count - first);
    encode_tokens(tokens, first, count, with_queries, scratch);
    for (int32_t i = 0; i < count; ++i) {
      body(first + i, encoded_token(tokens.head, tokens.position + first + i, i, with_queries, scratch));
    }
  }
}

}  // namespace hashevict::cpu
