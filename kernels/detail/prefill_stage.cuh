// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_row.cuh"
#include "kernels/detail/prefill_slots.cuh"

/// Inputs of the steps of a few tokens, staged in shared memory before the steps run.
namespace hashevict::kernels {

inline constexpr int32_t kChunkTokens = 8;   ///< tokens of a chunk, at most
inline constexpr int32_t kChunkCodes = 264;  ///< codes of a chunk, at most, unless a single token has more
inline constexpr int32_t kWideTokens = 32;   ///< tokens of a wide chunk (prefill_bests.cuh): one a lane

/// Codes per token: the key's, then those of the queries or the one that all slots are measured against.
HASHEVICT_HOST_DEVICE inline int32_t codes_of_token(core::Probe probe, int32_t group_size) {
  if (probe == core::Probe::queries) return 1 + group_size;
  return probe == core::Probe::mean_key || probe == core::Probe::zero ? 2 : 1;
}

/// Extents of a chunk.
struct ChunkShape {
  int32_t tokens;
  int32_t codes_of_token;
  int32_t words;        ///< words of all codes, of two chunks if they are wide
  int32_t floats;       ///< floats of the means of kChunkTokens tokens
  int32_t importances;  ///< floats of the importances
};

/// @param wide a chunk of kWideTokens tokens, whatever its codes
template <int32_t kBits>
HASHEVICT_HOST_DEVICE inline ChunkShape chunk_shape(const Layer& layer, bool wide) {
  const core::Probe probe = layer.rule.facts.probe;
  const int32_t codes = codes_of_token(probe, layer.shape.group_size);
  const int32_t most = codes < kChunkCodes ? kChunkCodes / codes : 1;
  const int32_t few = most < kChunkTokens ? most : kChunkTokens;
  const int32_t tokens = wide ? kWideTokens : few;
  const int32_t floats = probe == core::Probe::mean_key ? kChunkTokens * layer.shape.head_dim : 0;
  return {tokens, codes, (wide ? 2 : 1) * tokens * codes * kCodeWords<kBits>, floats,
          layer.rule.facts.needs_importance ? 2 * tokens : 0};
}

/// A row of a prompt, as the block of one head sees it.
struct Prompt {
  const PrefillParams& params;
  const PrefillRow& row;
  const Head& head;

  [[nodiscard]] HASHEVICT_DEVICE const Layer& layer() const { return params.evict.layer; }
  [[nodiscard]] HASHEVICT_DEVICE const core::RuleFacts& rule() const { return layer().rule.facts; }
  [[nodiscard]] HASHEVICT_DEVICE int64_t token(int32_t index) const { return int64_t{row.first_token} + index; }
};

/// Element `e` of the key of the `index`-th token.
HASHEVICT_DEVICE float key_element(const Prompt& prompt, int32_t index, int32_t e) {
  const Vectors& k = prompt.params.evict.k;
  const int64_t vector = prompt.token(index) * k.stride[0] + prompt.head.kv_head * k.stride[1];
  return load_element(k.data, k.dtype, vector + e * k.stride[2]);
}

template <int32_t kBits>
HASHEVICT_DEVICE Code<kBits> key_code(const Prompt& prompt, int32_t index) {
  return load_code<kBits>(encoded_key(prompt.params, prompt.token(index), prompt.head.kv_head), 0);
}

template <int32_t kBits>
HASHEVICT_DEVICE Code<kBits> query_code(const Prompt& prompt, int32_t index, int32_t query) {
  return load_code<kBits>(encoded_query(prompt.params, prompt.token(index), prompt.head.kv_head, query), 0);
}

/// Initial accumulator of a new token, for any type.
HASHEVICT_DEVICE uint32_t start_of(const Layer& layer) {
  return core::visit_rule(layer.rule.kind, [](auto example) -> uint32_t {
    using Rule = decltype(example);
    if constexpr (core::kHasAccumulator<Rule>) {
      return Rule::start();
    } else {
      return 0;
    }
  });
}

/// A chunk of tokens in a block's shared memory. A wide one lies beside another: the one before it or behind it.
struct Chunk {
  simt::SharedArray<uint32_t> codes;     ///< [tokens, codes_of_token, code words] of one or two chunks
  simt::SharedArray<float> means;        ///< [kChunkTokens, head_dim] centred; for probe mean_key only
  simt::SharedArray<float> importances;  ///< [tokens, 2] values and slopes, for rules that need them
  int32_t tokens;                        ///< tokens of a chunk, at most
  int32_t codes_of_token;
  int32_t begin = 0;  ///< of its tokens in `codes`

  /// The wide chunk of a parity.
  [[nodiscard]] HASHEVICT_DEVICE Chunk of(int32_t parity) const {
    return {codes, means, importances, tokens, codes_of_token, parity * tokens};
  }
};

template <int32_t kBits>
HASHEVICT_DEVICE Chunk take_chunk(simt::SharedMemory& memory, const Layer& layer, bool wide) {
  const ChunkShape shape = chunk_shape<kBits>(layer, wide);
  const auto codes = memory.take<uint32_t>(shape.words);
  const auto means = memory.take<float>(shape.floats);
  return {codes, means, memory.take<float>(shape.importances), shape.tokens, shape.codes_of_token};
}

/// Adds keys of up to kChunkTokens tokens of the chunk, from its `begin`-th on, to the running sum in order, and
/// encodes the mean after each key that needs it.
template <int32_t kBits>
HASHEVICT_DEVICE void stage_some_means(const Prompt& prompt, const Chunk& chunk, int32_t first, int32_t begin,
                                       int32_t count) {
  const Layer& layer = prompt.layer();
  const int32_t e = simt::thread_index();
  if (e < layer.shape.head_dim) {
    float sum = simt::load(prompt.head.key_sums + e);
    for (int32_t i = 0; i < count; ++i) {
      const int32_t index = first + begin + i;
      sum = simt::add(sum, key_element(prompt, index, e));
      const float mean = simt::divide(sum, static_cast<float>(prompt.row.before + index + 1));
      chunk.means.store(i * layer.shape.head_dim + e, centered(layer, prompt.head, 0, e, mean));
    }
    simt::store(prompt.head.key_sums + e, sum);
  }
  simt::block_sync();
  if (prompt.row.plan != Plan::by_rule) return;
  for (int32_t unit = simt::warp(); unit < count * kCodeWords<kBits>; unit += kChooseWarps) {
    const int32_t i = unit / kCodeWords<kBits>;
    const int32_t word = unit % kCodeWords<kBits>;
    if (!prompt.rule().accumulates && prompt.row.before + first + begin + i < prompt.head.capacity) continue;
    const uint32_t bits =
        project_word<kBits>(chunk.means, i * layer.shape.head_dim, layer.shape.head_dim, prompt.head.projection, word);
    const int32_t code = (chunk.begin + begin + i) * chunk.codes_of_token + 1;
    if (simt::lane() == 0) chunk.codes.store(code * kCodeWords<kBits> + word, bits);
  }
}

/// Stages the codes of the means after the chunk's tokens.
template <int32_t kBits>
HASHEVICT_DEVICE void stage_means(const Prompt& prompt, const Chunk& chunk, int32_t first, int32_t count) {
  HASHEVICT_NO_UNROLL
  for (int32_t begin = 0; begin < count; begin += kChunkTokens) {
    if (begin > 0) simt::block_sync();  // the means before have been encoded
    const int32_t left = count - begin;
    stage_some_means<kBits>(prompt, chunk, first, begin, left < kChunkTokens ? left : kChunkTokens);
  }
}

/// Stages the code of zeros for every token of the chunk.
template <int32_t kBits>
HASHEVICT_DEVICE void stage_zeros(const Chunk& chunk, int32_t count) {
  for (int32_t i = simt::thread_index(); i < count; i += kChooseThreads) {
    chunk.codes.store_many(((chunk.begin + i) * chunk.codes_of_token + 1) * kCodeWords<kBits>, Code<kBits>{}.words);
  }
}

/// Stages the importances of the chunk's tokens.
HASHEVICT_DEVICE void stage_importances(const Prompt& prompt, const Chunk& chunk, int32_t first, int32_t count) {
  for (int32_t i = simt::thread_index(); i < count; i += kChooseThreads) {
    const core::Importance importance =
        given_importance(prompt.params.evict, prompt.head.kv_head, prompt.token(first + i));
    chunk.importances.store(2 * i, importance.value);
    chunk.importances.store(2 * i + 1, importance.slope);
  }
}

/// All threads stage tokens [first, first + count) of the prompt. Ends with a barrier.
template <int32_t kBits>
HASHEVICT_DEVICE void stage_chunk(const Prompt& prompt, const Chunk& chunk, int32_t first, int32_t count) {
  const int32_t given = prompt.rule().probe == core::Probe::queries ? chunk.codes_of_token : 1;
  for (int32_t i = simt::thread_index(); i < count * given; i += kChooseThreads) {
    const int32_t index = i / given;
    const int32_t n = i % given;
    const Code<kBits> code =
        n == 0 ? key_code<kBits>(prompt, first + index) : query_code<kBits>(prompt, first + index, n - 1);
    chunk.codes.store_many(((chunk.begin + index) * chunk.codes_of_token + n) * kCodeWords<kBits>, code.words);
  }
  if (prompt.rule().probe == core::Probe::mean_key) stage_means<kBits>(prompt, chunk, first, count);
  if (prompt.rule().probe == core::Probe::zero) stage_zeros<kBits>(chunk, count);
  if (prompt.rule().needs_importance) stage_importances(prompt, chunk, first, count);
  simt::block_sync();
}

/// The n-th code of a token of the chunk.
template <int32_t kBits>
HASHEVICT_DEVICE Code<kBits> staged_code(const Chunk& chunk, int32_t index, int32_t n) {
  Code<kBits> code;
  chunk.codes.load_many(((chunk.begin + index) * chunk.codes_of_token + n) * kCodeWords<kBits>, code.words);
  return code;
}

}  // namespace hashevict::kernels
